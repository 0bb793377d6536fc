"""The table of GPU classes: complete, named the way clusters name them."""

from __future__ import annotations

from typing import get_args

import pytest

from infra.errors import UserError
from infra.gpu import CLASSES, LABEL_KEYS, POOLS, SPOT_LABELS, Platform, class_of_device, gpu_class


def test_every_gpu_has_labels_on_every_platform_and_no_two_share_one() -> None:
    assert set(LABEL_KEYS) == set(get_args(Platform))
    gpus = [item for item in CLASSES if item.is_gpu]
    assert len(gpus) == 5
    for platform in LABEL_KEYS:
        names = [label for gpu in gpus for label in gpu.labels[platform]]
        assert len(names) == len(set(names)) >= len(gpus), platform
    assert set(SPOT_LABELS) == set(LABEL_KEYS) - {"gpu-operator"}


def test_precision_follows_the_class_as_the_trainer_chooses_it() -> None:
    from tasks.models.precision import Device, choose_precision

    for gpu in CLASSES:
        if gpu.capability is not None:
            assert gpu.dtype == choose_precision(Device("cuda", gpu.capability)).autocast
    assert "bfloat16" not in gpu_class("gpu-t4").dtypes


def test_pools_go_from_small_to_large_and_a_wrong_name_is_told_the_nearest() -> None:
    memory = [gpu_class(pool).memory_gib for pool in POOLS]
    assert memory == sorted(memory)
    assert [gpu_class(pool).pool for pool in POOLS] == list(POOLS)
    with pytest.raises(UserError, match="did you mean 'gpu-h100'"):
        gpu_class("gpu-h10")


def test_a_device_is_known_by_the_name_that_pytorch_gives_it() -> None:
    names = {"Tesla T4": "T4", "NVIDIA L4": "L4", "NVIDIA H100 80GB HBM3": "H100", "NVIDIA A100-SXM4-80GB": "A100"}
    for device, name in {**names, "NVIDIA H200": "H200", "CPU": "CPU"}.items():
        found = class_of_device(device)
        assert found is not None
        assert found.name == name
    for stranger in ("NVIDIA L40S", "Apple GPU", ""):
        assert class_of_device(stranger) is None
