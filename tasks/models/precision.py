"""Precision follows the hardware: a pure rule from what the device can do to the dtype of weights and arithmetic.

Trained weights (adapters) are always float32; this is about the frozen base and the matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    """Dtype of the frozen base weights, and of autocast (None: no autocast)."""

    weights: Dtype
    autocast: Dtype | None


def choose_precision(device: Device) -> Precision:
    """bf16 where the hardware multiplies it fast (Ampere and later, AMX or AVX512-BF16); fp16 autocast on a T4;
    float32 elsewhere."""
    if device.kind == "cuda":
        return Precision("bfloat16", "bfloat16") if device.capability >= (8, 0) else Precision("float16", "float16")
    if device.kind == "cpu" and device.fast_bf16:
        return Precision("bfloat16", "bfloat16")
    return Precision("float32", None)


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
