"""Precision follows the hardware: a pure rule from what the device can do to the dtype of weights and arithmetic.

What is trained is always float32; this is about the frozen base, the matrix products and the kernels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tasks.models.families import PRODUCTS, Attention

Dtype = Literal["bfloat16", "float16", "float32"]


@dataclass(frozen=True, slots=True)
class Device:
    """What decides the precision: the kind of device, its CUDA capability, and fast bf16 on a CPU."""

    kind: Literal["cuda", "mps", "cpu"]
    capability: tuple[int, int] = (0, 0)
    fast_bf16: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Precision:
    """Dtype of the base's weights and of autocast (None: no autocast), the attention kernel, and whether TF32 products
    and Liger's fused kernels are used."""

    weights: Dtype
    autocast: Dtype | None
    attention: Attention = "sdpa"
    tf32: bool = False
    liger: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with the model: whether all its weights are trained, whether its family bears float16, and
    whether rows share prefixes (their mask is a matrix, which FlashAttention does not take)."""

    trains_all: bool = False
    float16: bool = True
    mask_matrix: bool = True


ANSWERING = Work()


def choose_precision(device: Device, work: Work = ANSWERING, installed: Collection[str] = ()) -> Precision:
    """The rule as a table; `installed` names the optional kernels that are there (flash_attn, liger_kernel).

    device           adapters                  all weights               kernels
    H100, L4, A100   bf16 base, bf16 autocast  fp32 base, bf16 autocast  TF32; FlashAttention and Liger where installed
    T4               fp16 base, fp16 autocast  fp32 base, fp16 autocast  SDPA
    CPU with bf16    bf16 base, bf16 autocast  fp32 base, bf16 autocast  products (tasks.models.attention)
    CPU, MPS         fp32                      fp32                      SDPA

    What is trained is float32 everywhere: with float16 gradients underflow and with bfloat16 small steps are lost. A
    family whose activations leave float16's range (T5, Gemma) stays in float32 where there is no bfloat16.
    """
    ampere = device.kind == "cuda" and device.capability >= (8, 0)
    product: Dtype | None = None
    if ampere or (device.kind == "cpu" and device.fast_bf16):
        product = "bfloat16"
    elif device.kind == "cuda" and work.float16:
        product = "float16"
    attention: Attention = PRODUCTS if device.kind == "cpu" and product else "sdpa"
    if ampere and "flash_attn" in installed and not work.mask_matrix:
        attention = "flash_attention_2"
    return Precision(
        weights="float32" if work.trains_all or product is None else product,
        autocast=product,
        attention=attention,
        tf32=ampere,
        liger=ampere and "liger_kernel" in installed,
    )


def installed_kernels() -> set[str]:
    """Which optional kernel packages this machine has."""
    return {name for name in ("flash_attn", "liger_kernel") if find_spec(name) is not None}


def probe_device() -> Device:
    """The device of this machine: CUDA, else Apple's MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.get_device_capability(), True, torch.cuda.get_device_name())
    if torch.backends.mps.is_available():
        return Device("mps", name="Apple GPU")
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    return Device("cpu", fast_bf16="avx512_bf16" in flags or "amx_bf16" in flags, name="CPU")
