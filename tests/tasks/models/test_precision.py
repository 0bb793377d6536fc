"""Precision as a table."""

from __future__ import annotations

import pytest

from tasks.models.precision import Device, Precision, choose_precision

BF16, FP16, FP32 = Precision("bfloat16", "bfloat16"), Precision("float16", "float16"), Precision("float32", None)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device("cuda", (7, 5), True, "Tesla T4"), FP16),
        (Device("cuda", (8, 9), True, "NVIDIA L4"), BF16),
        (Device("cuda", (9, 0), True, "NVIDIA H100"), BF16),
        (Device("cpu", fast_bf16=True), BF16),
        (Device("cpu", fast_bf16=False), FP32),
        (Device("mps"), FP32),
    ],
)
def test_precision_follows_the_hardware(device: Device, expected: Precision) -> None:
    assert choose_precision(device) == expected
