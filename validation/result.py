"""The outcome of a validation, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.data.example import Example
from tasks.data.held import Undrawn
from tasks.data.mapping import BadRecord

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one expectation: `unexpected` counts the rows that broke it (0 or 1 for one of the batch).

    `observed` is the figure that an expectation of the batch judged, where it judged one.
    """

    name: str
    reason: str
    scope: str
    success: bool
    unexpected: int
    observed: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What a validation found: rows = kept + quarantined; `reasons` counts a row under each of its reasons.

    `undrawn` rows came before all that: they were read, and left out because their source has more than its `max_rows`.
    `success`: every expectation of the batch holds and the quarantined share is within the limit.
    """

    success: bool
    rows: int
    kept: list[Example]
    quarantined: list[BadRecord]
    reasons: dict[str, int]
    expectations: list[Outcome]
    docs: str | None
    undrawn: tuple[Undrawn, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The `validate` document of the command line."""
        return {
            "schema_version": SCHEMA_VERSION,
            "success": self.success,
            "rows": self.rows,
            "kept": len(self.kept),
            "quarantined": len(self.quarantined),
            "undrawn": sum(left.rows for left in self.undrawn),
            "reasons": dict(self.reasons),
            "quarantine": [
                {"file": bad.file, "row": bad.row, "id": bad.id, "reasons": list(bad.reasons)}
                for bad in self.quarantined
            ],
            "expectations": [outcome.to_json() for outcome in self.expectations],
            "docs": self.docs,
        }
