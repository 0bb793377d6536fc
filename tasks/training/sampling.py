"""Which rows a stage trains on: a difficulty filter, a sample, and a replay of what earlier stages taught.

Deterministic: rows are ordered by a hash of seed and id, so the same rows are drawn on any machine. Rows are drawn
several of one schema at a time (`share_prefix`), because rows of one schema share its tokens in a training sequence;
rows added to a schema may so change which of its rows are drawn together.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from infra.errors import UserError
from tasks.data.example import Example
from tasks.training.spec import AnyStage, TrainingSpec


def _shuffled(examples: Sequence[Example], salt: str) -> list[Example]:
    return sorted(examples, key=lambda e: hashlib.sha256(f"{salt}|{e.id}".encode()).digest())


def _drawn(examples: Sequence[Example], salt: str, together: int) -> list[Example]:
    """The examples in random order, in lots of `together` over one schema; what a schema has left is a smaller lot."""
    waiting: dict[str, list[Example]] = defaultdict(list)
    lots = []
    for example in _shuffled(examples, salt):
        lot = waiting[example.schema]
        lot.append(example)
        if len(lot) == together:
            lots.append(waiting.pop(example.schema))
    lots += waiting.values()
    # Not in the order they were completed, which favours large schemas: in one of their own.
    lots.sort(key=lambda lot: hashlib.sha256(f"{salt}|lot|{lot[0].id}".encode()).digest())
    return [example for lot in lots for example in lot]


def stage_rows(spec: TrainingSpec, index: int, train: Sequence[Example]) -> list[Example]:
    """The rows of stage `index`: its own difficulties plus the replayed share of earlier ones.

    Raises UserError when no row is left.
    """
    stage = spec.stages[index]
    together = spec.share_prefix
    own = _drawn([e for e in train if e.difficulty in stage.data.difficulty], f"{spec.seed}-{stage.name}", together)
    earlier = {d for before in spec.stages[:index] for d in before.data.difficulty} - set(stage.data.difficulty)
    past = _drawn([e for e in train if e.difficulty in earlier], f"{spec.seed}-{stage.name}-replay", together)
    total = stage.data.max_samples or len(own)
    replayed = past[: _replay_count(stage, total, len(own))]
    rows = own[: total - len(replayed) if stage.data.max_samples else total] + replayed
    if not rows:
        raise UserError(
            f"stage {stage.name}: no training row has difficulty {' or '.join(stage.data.difficulty)}; "
            "change data.difficulty of the stage or add rows"
        )
    return _shuffled(rows, f"{spec.seed}-{stage.name}-order")


def _replay_count(stage: AnyStage, total: int, own: int) -> int:
    if stage.data.max_samples:
        return round(total * stage.data.replay)
    # Without a fixed size the own rows all stay, and replay is added on top so that its share comes out right.
    return round(own * stage.data.replay / (1 - stage.data.replay))
