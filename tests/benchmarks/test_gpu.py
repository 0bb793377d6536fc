"""`make bench-gpu`: its command runs whole where there is no GPU, its arithmetic is that of the textbook."""

from __future__ import annotations

import re

import pytest

from tasks.models import precision
from tasks.models.precision import Device
from tasks.models.shape import shape_of
from tests.benchmarks.gpu import main, row_flops
from tests.tasks.training.sizes import QWEN3_06


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(precision, "probe_device", lambda: Device("cpu"))
    assert main([]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1
    assert "no CUDA GPU" in told[0]


def test_a_rows_operations_are_six_a_weight_and_token_and_a_third_less_with_frozen_weights() -> None:
    shape = shape_of(QWEN3_06)
    full, lora = (row_flops(shape, 195, 195, tune) for tune in ("full", "lora"))
    # Every token taught: the rule of thumb of 6 a weight, the tied embeddings counted once, and attention beside it.
    attention = 6 * shape.layers * shape.queries * 195**2
    assert full == pytest.approx(6 * shape.parameters * 195 + attention, rel=1e-3)
    assert 0.66 < lora / full < 0.7
    assert row_flops(shape, 195, 44, "full") < 0.85 * full  # the vocabulary is taken at taught positions alone


@pytest.mark.night
def test_the_tiny_form_trains_both_ways(capsys: pytest.CaptureFixture) -> None:
    assert main(["--tiny"]) == 0
    told = capsys.readouterr().out
    assert "rows of 195 tokens, 44 of them taught; 4 steps of 4 rows" in told
    for side in ("full", "lora"):
        rates = re.search(rf"^{side} +([\d.]+) +([\d.]+) +(\d+) +n/a", told, re.MULTILINE)
        assert rates is not None
        assert all(float(rate) > 0 for rate in rates.groups())
