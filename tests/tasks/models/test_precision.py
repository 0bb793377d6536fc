"""Precision as a table."""

from __future__ import annotations

import pytest

from tasks.models.precision import Device, Precision, Work, choose_precision

T4 = Device("cuda", (7, 5), True, "Tesla T4")
L4 = Device("cuda", (8, 9), True, "NVIDIA L4")
H100 = Device("cuda", (9, 0), True, "NVIDIA H100")
CPU, OLD_CPU, MPS = Device("cpu", fast_bf16=True), Device("cpu"), Device("mps")
ALL, NARROW, ROWS_ALONE = Work(trains_all=True), Work(float16=False), Work(mask_matrix=False)
KERNELS = {"flash_attn", "liger_kernel"}


@pytest.mark.parametrize(
    ("device", "work", "installed", "expected"),
    [
        (T4, Work(), KERNELS, Precision("float16", "float16")),
        (T4, ALL, (), Precision("float32", "float16")),
        (T4, NARROW, (), Precision("float32", None)),  # T5 and Gemma overflow in float16
        (L4, Work(), (), Precision("bfloat16", "bfloat16", "sdpa", tf32=True)),
        (L4, ALL, (), Precision("float32", "bfloat16", "sdpa", tf32=True)),
        (L4, NARROW, (), Precision("bfloat16", "bfloat16", "sdpa", tf32=True)),
        (H100, ROWS_ALONE, KERNELS, Precision("bfloat16", "bfloat16", "flash_attention_2", tf32=True, liger=True)),
        (H100, Work(), KERNELS, Precision("bfloat16", "bfloat16", "sdpa", tf32=True, liger=True)),  # a mask is a matrix
        (H100, ROWS_ALONE, (), Precision("bfloat16", "bfloat16", "sdpa", tf32=True)),
        (CPU, Work(), KERNELS, Precision("bfloat16", "bfloat16", "products")),
        (CPU, ALL, (), Precision("float32", "bfloat16", "products")),
        (OLD_CPU, Work(), (), Precision("float32", None)),
        (MPS, Work(), (), Precision("float32", None)),
    ],
)
def test_precision_follows_hardware_and_work(device: Device, work: Work, installed: set, expected: Precision) -> None:
    assert choose_precision(device, work, installed) == expected
