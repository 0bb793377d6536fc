"""What an outline consists of: plain data, read off a query by `tasks.sql.outline`, compared in `tasks.evaluation`."""

from __future__ import annotations

from dataclasses import dataclass

LITERAL = "?"  # what stands for every literal


@dataclass(frozen=True, slots=True)
class Condition:
    """One leaf of WHERE, HAVING or ON: `negated operator(left, right)`, with the literals and queries it holds."""

    negated: bool
    operator: str
    left: str
    right: tuple[str, ...]
    literals: tuple[str, ...] = ()
    queries: tuple[Outline, ...] = ()

    @property
    def joins(self) -> tuple[str, str] | None:
        """The two columns, sorted, where this says that columns of two tables are equal."""
        if self.operator != "eq" or self.negated or len(self.right) != 1:
            return None
        one, two = sorted((self.left, self.right[0]))
        plain = all("." in side and "(" not in side and side != LITERAL for side in (one, two))
        return (one, two) if plain else None


@dataclass(frozen=True, slots=True)
class Output:
    """One output column: its text without DISTINCT, and the aggregates in it."""

    text: str
    aggregates: tuple[str, ...] = ()
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """One SELECT, and through `operator` and `other` the rest of a set operation."""

    tables: tuple[str, ...]
    derived: tuple[Outline, ...]
    sides: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    distinct: bool
    outputs: tuple[Output, ...]
    on: tuple[Condition, ...]
    where: tuple[Condition, ...]
    connectors: frozenset[str]
    group: tuple[str, ...]
    having: tuple[Condition, ...]
    order: tuple[tuple[str, bool], ...]
    limit: str | None
    common: tuple[Outline, ...] = ()
    operator: str = ""
    other: Outline | None = None
