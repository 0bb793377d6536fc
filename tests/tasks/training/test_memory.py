"""What a machine has for a stage: what does not fit is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import NightshiftError, UserError
from tasks.training.memory import check_room
from tasks.training.preflight import check_gradients


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    check_room("a", 10, 20, 10**6, tmp_path)
    with pytest.raises(
        UserError, match=r"stage a needs about 30\.0 GB of memory in its smallest batches and there are 16\.0 GB; lower"
    ) as told:
        check_room("a", 30 * 10**9, 16 * 10**9, 10**6, tmp_path)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="of disk for checkpoints"):
        check_room("a", 10, 20, 10**15, tmp_path)


def test_weights_that_no_gradient_reaches_are_found() -> None:
    import torch

    model = torch.nn.Linear(2, 1)
    with pytest.raises(NightshiftError, match="no gradient reaches"):
        check_gradients(model)
    (model(torch.ones(1, 2)) * 0).sum().backward()
    with pytest.raises(NightshiftError, match="no gradient reaches"):
        check_gradients(model)
    model(torch.ones(1, 2)).sum().backward()
    check_gradients(model)
