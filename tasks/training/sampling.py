"""Which rows a stage trains on: a difficulty filter, a sample, and a replay of what earlier stages taught.

Deterministic: rows are ordered by a hash of seed and id, so the same rows are drawn on any machine and adding rows
changes a sample as little as possible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from infra.errors import UserError
from tasks.data.example import Example
from tasks.training.spec import SftStage, TrainingSpec


def _shuffled(examples: Sequence[Example], salt: str) -> list[Example]:
    return sorted(examples, key=lambda e: hashlib.sha256(f"{salt}|{e.id}".encode()).digest())


def stage_rows(spec: TrainingSpec, index: int, train: Sequence[Example]) -> list[Example]:
    """The rows of stage `index`: its own difficulties plus the replayed share of earlier ones.

    Raises UserError when no row is left.
    """
    stage = spec.stages[index]
    own = _shuffled([e for e in train if e.difficulty in stage.data.difficulty], f"{spec.seed}-{stage.name}")
    earlier = {d for before in spec.stages[:index] for d in before.data.difficulty} - set(stage.data.difficulty)
    past = _shuffled([e for e in train if e.difficulty in earlier], f"{spec.seed}-{stage.name}-replay")
    total = stage.data.max_samples or len(own)
    replayed = past[: _replay_count(stage, total, len(own))]
    rows = own[: total - len(replayed) if stage.data.max_samples else total] + replayed
    if not rows:
        raise UserError(
            f"stage {stage.name}: no training row has difficulty {' or '.join(stage.data.difficulty)}; "
            "change data.difficulty of the stage or add rows"
        )
    return _shuffled(rows, f"{spec.seed}-{stage.name}-order")


def _replay_count(stage: SftStage, total: int, own: int) -> int:
    if stage.data.max_samples:
        return round(total * stage.data.replay)
    # Without a fixed size the own rows all stay, and replay is added on top so that its share comes out right.
    return round(own * stage.data.replay / (1 - stage.data.replay))
