"""Strata: rows that belong together by difficulty and length of evidence, and samples that keep their shares.

A sample takes every stratum in proportion, and a larger sample of the same rows contains every smaller one. Rows are
ordered by a hash of seed and id, so that the same rows are drawn on any machine.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

from tasks.data.example import Example

Stratum = Literal["difficulty", "evidence"]

# Words of evidence from which the next bucket begins: little or none, a sentence, several.
_EVIDENCE_BOUNDS = (10, 25)
EVIDENCE_BUCKETS = ("0-9", "10-24", "25+")

Item = TypeVar("Item")


def evidence_bucket(evidence: str) -> str:
    """The bucket of an evidence by its number of words."""
    return EVIDENCE_BUCKETS[bisect_right(_EVIDENCE_BOUNDS, len(evidence.split()))]


def stratum_of(example: Example, strata: Iterable[Stratum]) -> str:
    """The name of the stratum that an example is in."""
    values = {"difficulty": example.difficulty, "evidence": evidence_bucket(example.evidence)}
    return "|".join(values[name] for name in strata)


def hashed(text: str) -> float:
    """A number in [0, 1) that only `text` decides; which rows are drawn hangs on it, so that it must not change."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def positions(
    items: Sequence[Item], key: Callable[[Item], str], stratum: Callable[[Item], str], seed: str
) -> list[float]:
    """For each item its place in [0, 1) within its stratum: the places of a stratum are evenly spread over [0, 1).

    Items below a bound are therefore that share of every stratum, to within one item.
    """
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(stratum(item), []).append(index)
    places = [0.0] * len(items)
    for name, members in groups.items():
        members.sort(key=lambda index: (hashed(f"{seed}|{key(items[index])}"), key(items[index])))
        # A shift of its own for every stratum, else all small strata would round to the same side.
        shift = hashed(f"{seed}|{name}")
        for rank, index in enumerate(members):
            places[index] = (rank + shift) / len(members)
    return places


def stratified_sample(examples: Sequence[Example], count: int, strata: Sequence[Stratum], seed: str) -> list[Example]:
    """`count` examples with the strata in proportion, in their order; all when there are fewer."""
    if count >= len(examples):
        return list(examples)
    places = positions(examples, lambda e: e.id, lambda e: stratum_of(e, strata), seed)
    order = sorted(range(len(examples)), key=lambda index: (places[index], examples[index].id))
    taken = set(order[:count])
    return [e for index, e in enumerate(examples) if index in taken]


def shares(values: Iterable[str]) -> dict[str, float]:
    """The share of each value, sorted by value; empty for no values."""
    counts = Counter(values)
    total = counts.total()
    return {value: round(count / total, 6) for value, count in sorted(counts.items())}
