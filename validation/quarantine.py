"""The quarantine: rejected rows as JSON Lines for programs, as a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.data.mapping import BadRecord
from validation.result import ValidationResult

_CELL = 80
_LINE = 200


def write_quarantine(path: Path, quarantined: Sequence[BadRecord]) -> None:
    """Write one object a row: file, row, id, reasons and original. An empty quarantine is an empty file."""
    with path.open("w", encoding="utf-8") as handle:
        for bad in quarantined:
            handle.write(json.dumps(asdict(bad), ensure_ascii=False) + "\n")


def quarantine_table(result: ValidationResult) -> str:
    """A validation in Markdown: the count, broken expectations of the batch, and a table of reasons with an example."""
    lines = [f"**{len(result.kept):,} of {result.rows:,} rows kept, {len(result.quarantined):,} quarantined.**", ""]
    lines += [line for left in result.undrawn for line in (_cell(left.told(), _LINE), "")]
    broken = [outcome.reason for outcome in result.expectations if outcome.scope == "batch" and not outcome.success]
    if broken:
        lines += [f"The data contract is broken: {', '.join(broken)}.", ""]
    if result.reasons:
        lines += ["| reason | rows | first | its text |", "| --- | ---: | --- | --- |"]
    for reason, count in result.reasons.items():
        first = next(bad for bad in result.quarantined if reason in bad.reasons)
        place = _cell(f"{Path(first.file).name} {first.row}")
        lines.append(f"| {reason} | {count:,} | {place} | {_cell(first.original)} |")
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str, most: int = _CELL) -> str:
    """`text` on one line, short, and without what Markdown or HTML would act upon."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    short = line if len(line) <= most else line[: most - 1] + "…"
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "'")):
        short = short.replace(sign, harmless)
    return short
