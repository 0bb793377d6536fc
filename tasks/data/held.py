"""How many rows of a source are held: at most so many, drawn while its stream is read.

The rows whose ids hash lowest are drawn, and stay in their order: the same rows on any machine, nearly the same ones
when others are added, equal ids together. Whether a row was drawn can be told from its id alone.

Memory: a quarter more rows than `most` while the stream is read. Limits: rows are counted, not their bytes; a record of
a text file has at most 16 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tasks.data.strata import hashed


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_Named)


@dataclass(frozen=True, slots=True)
class Undrawn:
    """A source that has more rows than are held of it: `rows` of them were read and left out."""

    source: str
    rows: int
    held: int

    def told(self) -> str:
        """The line for people."""
        return (
            f"{self.source}: {self.held:,} of {self.held + self.rows:,} rows drawn by a hash of their ids, "
            f"{self.rows:,} left out (max_rows)"
        )


def draw_rows(rows: Iterable[Row], most: int | None) -> tuple[list[Row], int]:
    """At most `most` of `rows` (None: all), and how many were read."""
    held: list[Row] = []
    read, bound = 0, 1.0
    slack = (most or 0) // 4 + 1
    for row in rows:
        read += 1
        if bound < 1 and _place(row) >= bound:
            continue
        held.append(row)
        if most is not None and len(held) == most + slack:
            held, bound = _lowest(held, most)
    if most is not None and len(held) > most:
        held, _ = _lowest(held, most)
    return held, read


def _lowest(rows: list[Row], most: int) -> tuple[list[Row], float]:
    """The `most` rows of lowest place, of equal ones the first; and the place from which later rows are too high."""
    places = [_place(row) for row in rows]
    order = sorted(range(len(rows)), key=places.__getitem__)[:most]
    bound = places[order[-1]]
    order.sort()
    return [rows[index] for index in order], bound


def _place(row: _Named) -> float:
    return hashed(f"held|{row.id}")
