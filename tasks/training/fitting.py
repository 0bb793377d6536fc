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
from tasks.training.memory import Shape, check_room, device_memory, estimate_memory, is_out_of_memory, shape_of
from tasks.training.preflight import sequence_tokens


def fit_batch(engine: Engine, stage: StageJob, model: Any, prepared: Prepared) -> int:
    """Bytes the stage will need, after `engine.fitted` was made small enough for this machine's memory.

    Raises UserError when even single sequences do not fit, or the disk is too small.
    """
    shape, available = shape_of(model), device_memory(model)
    estimate = _estimate(engine, stage, shape, prepared)
    while estimate > available and (smaller := engine.training.smaller(stage.spec)) is not None:
        engine.fitted = smaller
        estimate = _estimate(engine, stage, shape, prepared)
    check_room(stage.spec.name, estimate, available, shape, engine.work)
    return estimate


def _estimate(engine: Engine, stage: StageJob, shape: Shape, prepared: Prepared) -> int:
    rows, training = prepared.train.rows, engine.training
    longest = max(map(sequence_tokens, rows)) or training.max_length
    taught = max(sum(row["completion_mask"]) if "completion_mask" in row else longest // 2 for row in rows)
    # Rows that share a prefix repeat nothing but what differs: an answer and, roughly, a question as long.
    more = training.share_of(stage.spec) - 1
    return estimate_memory(shape, stage.spec, training, longest + 2 * more * taught, taught * (1 + more))


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
