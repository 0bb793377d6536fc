"""Unsloth as an optional backend: the same LoRA recipe on one CUDA GPU through its patched model code and kernels.

It is imported before transformers, TRL and PEFT, which it patches (Unsloth documentation). Limits: adapters of causal
models alone; while training it drops the attention mask and relies on padding on the right, so that rows which share a
prefix would see each other, which `tasks.training.spec` refuses.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.errors import NightshiftError, UserError, first_line
from tasks.models.precision import Device, Precision

# Without its dependencies: this release wants transformers, TRL and datasets older than Nightshift pins.
INSTALL = "pip install --no-deps unsloth==2026.10.9 unsloth_zoo==2026.10.9"


def import_unsloth(device: Device) -> Any:
    """The package; UserError in one line where it cannot be had: without CUDA, not installed, or broken.

    Call it before anything imports transformers.
    """
    if device.kind != "cuda":
        raise UserError("training.backend=unsloth needs a CUDA GPU, which this machine lacks; leave backend out")
    if find_spec("unsloth") is None:
        raise UserError(
            f"training.backend=unsloth needs the package unsloth, which is not installed: {INSTALL} "
            "(docs/training.md says what was tried), or leave backend out"
        )
    try:
        import unsloth
    except Exception as error:  # it patches other packages when it is imported, and fails in their many ways
        raise UserError(
            f"training.backend=unsloth: the package unsloth does not work here: {type(error).__name__}: "
            f"{first_line(error)}; leave backend out"
        ) from error
    return unsloth


def load_base(folder: Path, precision: Precision, four_bit: bool, max_length: int, checkpointing: bool) -> Any:
    """The language model of a folder, frozen, for sequences of up to `max_length` tokens; see `import_unsloth`."""
    import torch
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(folder),
        max_seq_length=max_length,
        dtype=getattr(torch, precision.weights),
        load_in_4bit=four_bit,
        use_gradient_checkpointing="unsloth" if checkpointing else False,
        use_exact_model_name=True,  # never weights of its own in place of these
        local_files_only=True,
    )
    return model


def add_adapter(base: Any, settings: dict[str, Any], checkpointing: bool, seed: int, before: Path | None) -> Any:
    """`base` with a trainable LoRA adapter: fresh with `settings` (names of PEFT's LoraConfig), or that of `before`.

    Trained weights are float32. Raises NightshiftError when the adapter of `before` has other settings.
    """
    from unsloth import FastLanguageModel

    model = FastLanguageModel.get_peft_model(
        base, use_gradient_checkpointing="unsloth" if checkpointing else False, random_state=seed, **settings
    )
    if before is not None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        try:
            set_peft_model_state_dict(model, load_file(before / "adapter_model.safetensors"))
        except RuntimeError as error:
            raise NightshiftError(f"the adapter to start from has another training.lora: {first_line(error)}") from None
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model
