"""Loading tokenizers, base models and adapters. A missing or mismatched adapter is an error, never the base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.errors import NightshiftError, UserError, first_line
from tasks.models.precision import Precision, choose_precision, probe_device


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


def load_base(folder: Path, precision: Precision | None = None) -> Any:
    """The causal language model of a folder on this machine's device, in the precision its hardware suits."""
    import torch
    from transformers import AutoModelForCausalLM

    device = probe_device()
    dtype = getattr(torch, (precision or choose_precision(device)).weights)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(f"model in {folder} cannot be loaded: {first_line(error)}") from None
    return model.to(device.kind)


def load_adapter(base: Any, folder: Path, name: str = "default", trainable: bool = False) -> Any:
    """`base` with the adapter of `folder` on it (a PeftModel); raises NightshiftError when it does not fit."""
    from peft import PeftModel

    if not (folder / "adapter_config.json").is_file():
        raise NightshiftError(f"adapter folder {folder.name} has no adapter_config.json")
    try:
        return PeftModel.from_pretrained(base, folder, adapter_name=name, is_trainable=trainable)
    except (ValueError, RuntimeError, OSError) as error:
        raise NightshiftError(f"adapter does not fit the base model: {first_line(error)}") from error
