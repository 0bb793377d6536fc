"""LoRA's factor applied where it is cheap: to the few values between its two matrices, not to the whole output.

PEFT multiplies the output of B by alpha / r, a pass over memory as wide as the layer, and another in the backward pass:
a fiftieth of a step on a CPU. B is linear, so the product may be taken before it. Where the factor is a power of two
not a bit of any result changes, else only its rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def scale_inside(model: Any) -> Iterator[None]:
    """While it lasts, plain LoRA layers of `model` scale before B; others (DoRA, several adapters) stay as they are."""
    from peft.tuners.lora.layer import Linear

    layers = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    for layer in layers:
        layer.forward = _forward_of(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own again


def _is_plain(layer: Any) -> bool:
    """One adapter, without a variant and without a bias in B, which the factor would have to reach as well."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    return len(names) == 1 and not layer.lora_variant and not layer.merged and layer.lora_B[names[0]].bias is None


def _forward_of(layer: Any) -> Any:
    plain = layer.forward
    (name,) = (name for name in layer.active_adapters if name in layer.lora_A)
    a, b, dropout, factor = (part[name] for part in (layer.lora_A, layer.lora_B, layer.lora_dropout, layer.scaling))

    def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.disable_adapters or layer.merged or args or kwargs:
            return plain(x, *args, **kwargs)
        result = layer.base_layer(x)
        inner = a(dropout(layer._cast_input_dtype(x, a.weight.dtype)))
        return (result + b(inner * factor)).to(result.dtype)

    return forward
