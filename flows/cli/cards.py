"""What commands about scorecards share: reading examples, printing a scorecard, writing JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import UserError

if TYPE_CHECKING:
    from tasks.data.example import Example
    from tasks.evaluation.scorecard import Scorecard


def read_rows(pattern: str) -> list[Example]:
    """The examples of a file, a glob or a folder; raises UserError for the first record that is none."""
    from tasks.data.ingest import read_sources
    from tasks.data.sources import FileSource

    read = read_sources([FileSource(path=pattern, max_rows=None)])
    for bad in read.bad:
        raise UserError(f"{bad.file} row {bad.row}: {', '.join(bad.reasons)}; run nightshift validate for all")
    return read.examples


def show_card(title: str, card: Scorecard) -> None:
    """Print a scorecard: metrics with intervals, error classes, output health, gold, rules."""
    from flows.cli.show import table
    from tasks.evaluation.report_tables import judged_by

    shown = [(name, f"{i.value:.4f}", f"{i.low:.4f} to {i.high:.4f}", i.n) for name, i in card.metrics.items() if i.n]
    table(title, ("metric", "value", "95% interval", "n"), shown)
    if card.errors:
        table(
            "How wrong answers are wrong",
            ("class", "examples"),
            [(n.replace("_", " "), c) for n, c in card.errors.items()],
        )
    unhealthy = [(n.replace("_", " "), f"{i.value:.1%}") for n, i in card.health.items() if i.value]
    if unhealthy:
        table("The answers as texts", ("", "share"), unhealthy)
    gold = card.gold
    print(f"gold: {gold.ok} with rows, {gold.empty} without (weak), {gold.failed} that do not run (not counted)")
    print(judged_by(card))
    if card.compatibility:
        others = ", ".join(f"{name} {i.value:.4f}" for name, i in card.compatibility.items())
        print(f"other evaluators would say, for published numbers only: {others}")


def write_json(out: Path | None, text: str) -> bool:
    """Write or print the JSON; whether it was printed, so that nothing else may be."""
    if out is not None and str(out) == "-":
        print(text)
        return True
    if out is not None:
        out.write_text(text, encoding="utf-8")
    return False
