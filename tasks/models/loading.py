"""Loading tokenizers, base models and adapters. A missing or mismatched adapter is an error, never the base model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.errors import NightshiftError, UserError, first_line
from tasks.models.attention import register_products
from tasks.models.families import PRODUCTS, family_of, start_decoder
from tasks.models.precision import Device, Precision, choose_precision, probe_device

ADAPTER_CONFIG = "adapter_config.json"


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, padding on the left as batched generation needs."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer in {folder}: {first_line(error)}") from None
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(folder: Path, precision: Precision | None = None, four_bit: str = "") -> Any:
    """The language model of a folder on this machine's device, in the precision its hardware suits.

    `four_bit` (nf4 or fp4; empty: not) holds the linear layers' weights in four bits. Raises UserError when it cannot
    be loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    device = probe_device()
    chosen = precision or choose_precision(device)
    try:
        family = family_of(AutoConfig.from_pretrained(folder))
        kind = AutoModelForSeq2SeqLM if family.architecture == "seq2seq" else AutoModelForCausalLM
        attention = family.attention or chosen.attention
        # SDPA is what transformers takes by itself wherever a family has it.
        own = attention == "sdpa" or (attention == PRODUCTS and family.architecture == "seq2seq")
        given: dict[str, Any] = {} if own else {"attn_implementation": attention}
        register_products()
        if four_bit:
            place = 0 if device.kind == "cuda" else device.kind
            given |= {"quantization_config": _four_bit(four_bit, chosen, device), "device_map": {"": place}}
        model = kind.from_pretrained(folder, dtype=getattr(torch, chosen.weights), use_safetensors=True, **given)
    except (OSError, ValueError) as error:
        raise UserError(f"model in {folder} cannot be loaded: {first_line(error)}") from None
    start_decoder(model)
    return model if four_bit else model.to(device.kind)


def _four_bit(kind: str, precision: Precision, device: Device) -> Any:
    """Weights in four bits with doubly quantised constants (Dettmers et al. 2023, arXiv:2305.14314)."""
    import torch
    from transformers import BitsAndBytesConfig

    require(f"quantize={kind}", lacks_four_bit(device), "leave quantize out")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, precision.autocast or precision.weights),
    )


def lacks_four_bit(device: Device) -> str:
    """What this machine lacks for weights in four bits; empty when it has everything. A CPU can hold them, too."""
    return _lacks_bitsandbytes() if device.kind in ("cuda", "cpu") else "CUDA"


def lacks_eight_bit(device: Device) -> str:
    """What this machine lacks for optimisers in eight bits; empty when it has everything."""
    return _lacks_bitsandbytes() if device.kind == "cuda" else "CUDA"


def _lacks_bitsandbytes() -> str:
    return "" if find_spec("bitsandbytes") is not None else "bitsandbytes (pip install nightshift-sql[gpu])"


def require(what: str, lacking: str, otherwise: str) -> None:
    """Raise UserError where something is `lacking` for `what`."""
    if lacking:
        raise UserError(f"{what} needs {lacking}, which this machine lacks; {otherwise}")


def is_whole_model(folder: Path) -> bool:
    """Whether an adapter folder holds a full model (after full fine-tuning) instead of an adapter on its base."""
    return (folder / "config.json").is_file() and not (folder / ADAPTER_CONFIG).is_file()


def load_adapter(base: Any, folder: Path, trainable: bool = False, precision: Precision | None = None) -> Any:
    """`base` with the adapter of `folder` on it; where the folder holds a whole model, that model.

    Raises NightshiftError when there is none or it does not fit.
    """
    if is_whole_model(folder):
        return load_base(folder, precision)
    from peft import PeftModel

    if not (folder / ADAPTER_CONFIG).is_file():
        raise NightshiftError(f"adapter folder {folder.name} has no {ADAPTER_CONFIG}")
    try:
        # What only answers computes in the base's own precision, as autocast did in training; in float32 an adapter
        # makes reading prompts three times slower on a CPU.
        return PeftModel.from_pretrained(base, folder, is_trainable=trainable, autocast_adapter_dtype=trainable)
    except (ValueError, RuntimeError, OSError) as error:
        raise NightshiftError(f"adapter does not fit the base model: {first_line(error)}") from error


def without_adapter(model: Any) -> Any:
    """The base model below an adapter, as it was; a model without one is returned as it is."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    return model.get_base_model() if model.active_peft_config.is_prompt_learning else model.unload()
