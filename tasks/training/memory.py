"""The memory and disk that a machine has for a stage, whether they are enough, and what was held at most.

What a stage will need is estimated in `tasks.training.stage_memory`. Limits: the estimate knows neither fragmentation
nor a kernel's own buffers; the measured peak beside it says how far it was off.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from infra.errors import UserError

_CHECKPOINTS = 3  # two are kept while a third is written
_CHECKPOINT_BYTES = 12  # a trained weight and the optimiser's two averages


def device_memory(model: Any) -> int:
    """Bytes of the device that the model lies on: the GPU's, else the machine's."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)


def check_room(name: str, estimate: int, available: int, trained: int, folder: Path) -> None:
    """Raise UserError when a stage will not fit into memory, or checkpoints of `trained` weights not onto the disk."""
    if estimate > available:
        raise UserError(
            f"stage {name} needs about {_gb(estimate)} of memory in its smallest batches and there are "
            f"{_gb(available)}; lower training.max_length, or set training.gradient_checkpointing"
        )
    needed, free = _CHECKPOINTS * trained * _CHECKPOINT_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"stage {name} needs about {_gb(needed)} of disk for checkpoints and there are {_gb(free)} free"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is used up; not all of PyTorch's errors for it have a class."""
    import torch

    told = ("out of memory", "ALLOC_FAILED", "can't allocate memory")  # of CUDA, of cuBLAS, of PyTorch on a CPU
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in told)


def forget_peak() -> None:
    """Start a new measurement; on a CPU the peak is the process's own and cannot be reset."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> int:
    """Bytes held at most: of the GPU where there is one, else by this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
