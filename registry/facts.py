"""Facts of a night: what it measured besides the scorecards, so that gates can ask about memory, cost and data.

Pure: the outcomes that the night's steps left in the store go in, numbers come out. What a step did not record is
absent, and a gate on an absent fact fails. Limits: `cost` knows one price for all hours of a night.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Fact:
    """One number of a night: which direction is better, and its range."""

    id: str
    direction: Literal["higher", "lower"]
    description: str
    low: float = 0.0
    high: float = math.inf


FACTS: dict[str, Fact] = {
    fact.id: fact
    for fact in (
        Fact("peak_memory_mb", "lower", "the most memory that any training stage held, MiB (the GPU's where one is)"),
        Fact("compute_hours", "lower", "hours that training and evaluation took, reused stages included"),
        Fact("cost", "lower", "compute_hours times release.price_per_hour"),
        Fact("adapter_mb", "lower", "size of the adapter's files, MiB"),
        Fact("training_rows", "higher", "rows of the training split"),
        Fact("quarantined_share", "lower", "share of the night's rows that were quarantined", high=1.0),
    )
}


def gather_facts(
    prepared: Mapping[str, Any],
    trained: Mapping[str, Any],
    evaluated: Mapping[str, Any],
    adapter_bytes: int | None = None,
    price_per_hour: float | None = None,
) -> dict[str, float]:
    """The facts that the outcomes of prepare, train and evaluate contain; a fact they lack is left out."""
    facts: dict[str, float] = {}
    stages = trained.get("stages") or []
    peaks = [stage.get("peak_memory_mb") for stage in stages]
    if peaks and all(_is_number(peak) and peak > 0 for peak in peaks):
        facts["peak_memory_mb"] = float(max(peaks))
    seconds = [stage.get("seconds") for stage in stages] + [evaluated.get("seconds")]
    if stages and all(_is_number(value) for value in seconds):
        facts["compute_hours"] = sum(seconds) / 3600
        if price_per_hour is not None:
            facts["cost"] = facts["compute_hours"] * price_per_hour
    if adapter_bytes:
        facts["adapter_mb"] = adapter_bytes / 2**20
    rows = ((prepared.get("manifest") or {}).get("splits") or {}).get("train")
    if _is_number(rows):
        facts["training_rows"] = float(rows)
    checked = prepared.get("validation") or {}
    if _is_number(checked.get("rows")) and checked["rows"] > 0 and _is_number(checked.get("quarantined")):
        facts["quarantined_share"] = checked["quarantined"] / checked["rows"]
    return facts


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
