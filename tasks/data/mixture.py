"""The mixture: how much of the training rows each source gives.

Without weights every row is there once. With weights, sources are drawn in exactly their proportions: as long as it
takes to see every row of every source once, but never so long that the rows of one source repeat more than `max_repeat`
times. Drawing goes on from pass to pass through a source, each pass in an order of its own; draws of the sources are
evenly interleaved. Splits come first: what is repeated here is training data alone.

Deterministic: order comes from hashes of seed and id, never from a random state.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.data.example import Example
from tasks.data.rewording import reworded
from tasks.data.strata import Stratum, hashed, shares, stratified_sample, stratum_of

REPEAT = "#"  # the second draw of row x has the id x#2


class SourceShare(BaseModel):
    """What a source says about its part in training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float | None = Field(
        None, gt=0, description="its part of the training rows, relative to the other sources; all of them or none"
    )
    max_samples: int | None = Field(None, ge=1, description="training rows taken from it at most")


class MixtureSpec(BaseModel):
    """How training rows are drawn from the sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_repeat: float = Field(4.0, ge=1, description="times that one row may be drawn, on average over its source")
    max_rows: int | None = Field(None, ge=1, description="training rows drawn in all; as many as there are when absent")
    stratify: tuple[Stratum, ...] = Field(
        ("difficulty", "evidence"), description="what a sample of a source keeps the shares of"
    )
    reword_repeats: bool = Field(
        False, description="ask in other words where a row is repeated and a rule fits; its SQL stays the answer"
    )
    seed: int = Field(42, description="seed of samples and order")


class SourceDraws(BaseModel):
    """What one source gave: `epochs` is how often its rows were seen on average."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(description="training rows it has, after max_samples")
    weight: float = Field(description="its share of all draws, as asked; of its rows where no weight is given")
    draws: int
    epochs: float
    wanted_epochs: float = Field(description="passes it would take to see every row of every source at these weights")


@dataclass(frozen=True, slots=True)
class Mixed:
    """Training rows in their final order, with repeats; `unused` are ids of rows that were not drawn.

    `repeats` names the row that a repeat repeats. `shares` compares: stratum -> value -> share of the training rows
    before and after they were drawn.
    """

    rows: list[Example]
    draws: dict[str, SourceDraws]
    unused: list[str]
    repeats: dict[str, str] = field(default_factory=dict)
    shares: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    @property
    def distinct(self) -> int:
        """How many different rows were drawn."""
        return len(self.rows) - len(self.repeats)

    def origin(self, id: str) -> str:
        """The id of the row that was drawn as `id`."""
        return self.repeats.get(id, id)

    def warning(self, spec: MixtureSpec) -> str:
        """What people should know about the weights; empty when every row is in the mixture."""
        empty = [name for name, draws in self.draws.items() if draws.rows == 0]
        if empty:
            return f"source {empty[0]} has a weight but no training row: the others share its part"
        if spec.max_rows is not None and len(self.rows) >= spec.max_rows:
            return ""  # the recipe's own limit ended it, not a source that ran out
        name, most = max(self.draws.items(), key=lambda item: item[1].wanted_epochs, default=("", None))
        if most is None or most.wanted_epochs <= spec.max_repeat:
            return ""
        return (
            f"source {name} would be seen {most.wanted_epochs:.1f} times at its weight; the mixture ends at "
            f"{most.epochs:.1f} and leaves {len(self.unused):,} rows unused: lower its weight or "
            "raise max_repeat"
        )


def plan_draws(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    max_repeat: float,
    max_rows: int | None = None,
) -> dict[str, SourceDraws]:
    """How many rows to draw of each source: until the last one is exhausted, or one was seen `max_repeat` times.

    A source without rows gives none, and its weight counts for nothing.
    """
    empty = SourceDraws(rows=0, weight=0.0, draws=0, epochs=0.0, wanted_epochs=0.0)
    none = {name: empty for name, size in sizes.items() if size == 0}
    sizes = {name: size for name, size in sizes.items() if size}
    if not sizes:
        return none
    total = sum(weights[name] for name in sizes)
    share = {name: weights[name] / total for name in sizes}
    exhausted = max(size / share[name] for name, size in sizes.items())
    longest = min(exhausted, *(max_repeat * size / share[name] for name, size in sizes.items()))
    if max_rows is not None:
        longest = min(longest, max_rows)
    draws = {name: int(longest * share[name]) for name in sizes}
    # Largest remainders get what rounding down has left over, so that the total is exact.
    order = sorted(sizes, key=lambda name: draws[name] - longest * share[name])
    for name in order[: round(longest) - sum(draws.values())]:
        draws[name] += 1
    return none | {
        name: SourceDraws(
            rows=size,
            weight=round(share[name], 6),
            draws=draws[name],
            epochs=round(draws[name] / size, 4),
            wanted_epochs=round(exhausted * share[name] / size, 4),
        )
        for name, size in sizes.items()
    }


def mix(train: Sequence[Example], spec: MixtureSpec, sources: Mapping[str, SourceShare]) -> Mixed:
    """The training rows as `spec` and the `sources`' own weights and limits want them; names are those of examples."""
    groups: dict[str, list[Example]] = {}
    for example in train:
        groups.setdefault(example.source, []).append(example)
    for name, share in sources.items():
        if share.max_samples is not None and name in groups:
            groups[name] = stratified_sample(groups[name], share.max_samples, spec.stratify, f"{spec.seed}|{name}")
    weights = {name: share.weight for name, share in sources.items() if share.weight is not None}
    rows, plan = _weighted(groups, weights, spec) if weights else _natural(train, groups, spec)
    known = {example.id for example in train}
    drawn = {row.id for row in rows}
    repeats = {row.id: row.id.rpartition(REPEAT)[0] for row in rows if row.id not in known}
    unused = [example.id for example in train if example.id not in drawn]
    return Mixed(rows, plan, unused, repeats, _compared(train, rows, spec.stratify))


def _compared(
    before: Sequence[Example], after: Sequence[Example], strata: Sequence[Stratum]
) -> dict[str, dict[str, tuple[float, float]]]:
    found = {}
    for name in strata:
        old, new = (shares(stratum_of(example, (name,)) for example in rows) for rows in (before, after))
        found[name] = {value: (old.get(value, 0.0), new.get(value, 0.0)) for value in sorted({*old, *new})}
    return found


def _natural(
    train: Sequence[Example], groups: Mapping[str, list[Example]], spec: MixtureSpec
) -> tuple[list[Example], dict[str, SourceDraws]]:
    """Every row once, in the order of the data."""
    sampled = {example.id for group in groups.values() for example in group}
    rows = [example for example in train if example.id in sampled]
    if spec.max_rows is not None:
        rows = stratified_sample(rows, spec.max_rows, spec.stratify, f"{spec.seed}")
    counts = dict.fromkeys(groups, 0)
    for row in rows:
        counts[row.source] += 1
    total = sum(map(len, groups.values()))
    return rows, {
        name: SourceDraws(
            rows=len(group),
            weight=round(len(group) / total, 6),
            draws=counts[name],
            epochs=round(counts[name] / len(group), 4),
            wanted_epochs=1.0,
        )
        for name, group in groups.items()
        if group
    }


def _weighted(
    groups: Mapping[str, list[Example]], weights: Mapping[str, float], spec: MixtureSpec
) -> tuple[list[Example], dict[str, SourceDraws]]:
    lacking = [name for name in groups if name not in weights]
    if lacking:
        raise UserError(f"source {lacking[0]} has no weight but others have: give all that are trained on one, or none")
    sizes = {name: len(groups.get(name, ())) for name in weights}
    plan = plan_draws(sizes, weights, spec.max_repeat, spec.max_rows)
    streams = (_places(order, name, groups.get(name, []), plan[name], spec) for order, name in enumerate(weights))
    return [row for _, _, row in heapq.merge(*streams, key=lambda place: place[:2])], plan


def _places(
    order: int, name: str, rows: list[Example], draws: SourceDraws, spec: MixtureSpec
) -> Iterator[tuple[float, int, Example]]:
    """The draws of one source, evenly spread over [0, 1)."""
    for number, row in enumerate(_passes(name, rows, draws.draws, spec)):
        yield (number + 0.5) / draws.draws, order, row


def _passes(name: str, rows: list[Example], draws: int, spec: MixtureSpec) -> Iterator[Example]:
    left, number = draws, 0
    while left > 0:
        number += 1
        seed = f"{spec.seed}|{name}|{number}"
        # The last, broken pass takes a sample that keeps the strata's shares.
        taken = stratified_sample(rows, left, spec.stratify, seed) if left < len(rows) else rows
        for row in sorted(taken, key=lambda row: (hashed(f"{seed}|order|{row.id}"), row.id)):
            yield row if number == 1 else _repeat(row, number, spec)
        left -= len(taken)


def _repeat(row: Example, number: int, spec: MixtureSpec) -> Example:
    question = reworded(row.question, number - 1) if spec.reword_repeats else row.question
    return replace(row, id=f"{row.id}{REPEAT}{number}", question=question)
