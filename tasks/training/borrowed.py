"""A live policy lent to a preference trainer of TRL, and given back as it was.

DPO's and GRPO's trainers replace the model's forward, switch its dropout off for good and put a frozen copy of its
adapter (`ref`) beside it. The next stage, and the file that is written, must see none of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from infra.errors import UserError

REFERENCE = "ref"


@contextmanager
def borrowed(model: Any) -> Iterator[Any]:
    """Lend `model`, a base with one adapter, to a trainer; afterwards only its weights differ.

    Raises UserError for a model whose weights are all trained: its reference would be a second whole model.
    """
    import torch
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        raise UserError("dpo and grpo train an adapter, whose frozen copy is the reference: use training.tune: lora")
    inner = model.get_base_model()
    forward = vars(inner).get("forward")
    dropout = {module: module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    try:
        yield model
    finally:
        if forward is None:
            vars(inner).pop("forward", None)
        else:
            inner.forward = forward
        for module, share in dropout.items():
            module.p = share
        if REFERENCE in model.peft_config:
            model.delete_adapter(REFERENCE)
            model.set_adapter("default")
