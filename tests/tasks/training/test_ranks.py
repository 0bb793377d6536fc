"""Several trainer processes: refused where there are fewer GPUs, divided only where that is possible."""

from __future__ import annotations

import pytest

from infra.errors import UserError
from tasks.training.ranks import check_gpus
from tasks.training.spec import TrainingSpec


@pytest.mark.parametrize("gpus", [0, 1, 3])
def test_each_process_needs_a_gpu(gpus: int) -> None:
    with pytest.raises(UserError, match=rf"training.processes is 4, but {gpus} GPUs are visible"):
        check_gpus(4, gpus)
    check_gpus(4, 4)


def training(**changes: object) -> TrainingSpec:
    stage = {"name": "one", "global_batch": 4} | dict(changes.pop("stage", {}))
    return TrainingSpec.model_validate({"share_prefix": 1, "per_device_batch": 2, "stages": [stage]} | changes)


def test_a_model_is_divided_among_all_processes() -> None:
    assert training(processes=2, sharding="fsdp").shards == 2
    assert training(processes=2).shards == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "among several processes: set processes"),
        ({"processes": 2, "quantize": "nf4"}, "cannot divide weights in 4 bits"),
        ({"processes": 2, "stage": {"method": "seq2seq"}}, "seq2seq cannot be divided among processes"),
    ],
)
def test_what_cannot_be_divided_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        training(sharding="fsdp", **changes)
