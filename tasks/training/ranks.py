"""Several trainer processes that train one model: which of them this is, and how they wait for each other.

torchrun or `accelerate launch` start them and tell each its place by environment (RANK, WORLD_SIZE); how gradients are
shared, and a model divided, is the business of transformers' Trainer. Only the first process writes and reports.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from infra.errors import UserError


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes and reports."""
    return int(os.environ.get("RANK", "0")) == 0


def check_gpus(processes: int, gpus: int) -> None:
    """Raise UserError where fewer GPUs are visible than there are processes, each of which needs one."""
    if processes > gpus:
        raise UserError(
            f"training.processes is {processes}, but {gpus} GPUs are visible on this machine: lower it, take a machine "
            "with more, or show them all (CUDA_VISIBLE_DEVICES)"
        )


def begin(processes: int, cpu: bool, sharded: bool = False) -> None:
    """Meet the others, each on its own GPU; `processes` is how many the recipe asks for, and what it was planned for.

    `sharded`: they will divide the model among them.

    Raises UserError when another number was started, or there are fewer GPUs.
    """
    if count() != processes:
        raise UserError(
            f"started as {count()} trainer processes, but training.processes is {processes}: the batches would differ"
        )
    if processes > 1 and not cpu:
        import torch

        check_gpus(processes, torch.cuda.device_count())
    if processes > 1:
        from accelerate import PartialState

        if sharded:
            # As `accelerate launch` says it: whole states are gathered on CPUs, for which GPUs alone have no channel.
            os.environ.update(ACCELERATE_USE_FSDP="true", FSDP_STATE_DICT_TYPE="FULL_STATE_DICT")
        PartialState(cpu=cpu)


def wait_for_all() -> None:
    """Return when every process has come here."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def summed(values: Mapping[str, int]) -> dict[str, int]:
    """Each value summed over all processes."""
    if count() == 1:
        return dict(values)
    import torch
    from accelerate import PartialState
    from torch.distributed import all_reduce

    total = torch.tensor(list(values.values()), dtype=torch.int64, device=PartialState().device)
    all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))
