"""Batches that fit: what a forward pass holds is found by trying downward, the global batch stays as written.

Before a stage starts its estimate decides; when memory runs out all the same, the stage starts again in smaller batches
from what it started from, or from its last whole checkpoint. On a CPU the system may end the process instead: there the
estimate is all there is.
"""

from __future__ import annotations

import gc
from typing import Any

from infra.errors import UserError
from tasks.training.engine import Engine, Prepared
from tasks.training.job import StageJob
from tasks.training.memory import check_room, device_memory, is_out_of_memory
from tasks.training.stage_memory import loaded_memory


def fit_batch(engine: Engine, stage: StageJob, model: Any, prepared: Prepared) -> int:
    """Bytes the stage will need, after `engine.fitted` was made small enough for this machine's memory.

    Raises UserError when even single sequences do not fit, or the disk is too small.
    """

    def estimate() -> int:
        return loaded_memory(engine.training, stage.spec, model, engine.precision, prepared.train.rows).total

    needed, available = estimate(), device_memory(model)
    while needed > available and (smaller := engine.training.smaller(stage.spec)) is not None:
        engine.fitted = smaller
        needed = estimate()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    check_room(stage.spec.name, needed, available, trained, engine.work)
    return needed


def take_less(engine: Engine, stage: StageJob, error: RuntimeError) -> None:
    """Let the stage go on in smaller batches after memory ran out; its global batch, and so its course, stays."""
    if not is_out_of_memory(error):
        raise error
    engine.fitted = engine.training.smaller(stage.spec)
    if engine.fitted is None:
        raise UserError(
            f"stage {stage.spec.name}: memory ran out with a single sequence a batch; lower training.max_length, or "
            "set training.gradient_checkpointing"
        ) from None
    engine.drop_base()


def release_memory() -> None:
    """Give back what a stage that broke off held; the error that ended it, and so its frames, must be gone."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
