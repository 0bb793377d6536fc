"""Validation: examples go through a Great Expectations checkpoint, and rows that it names go into quarantine.

The reasons of a quarantined row are those of the expectations that name it among their unexpected rows: take an
expectation out of the suite and its rows are kept. Unreadable records keep the reasons of the reader.

All rows are judged as one batch, so that duplicates, conflicts and shares are those of the whole; their features are
computed in chunks, and of a chunk only the columns of the frame stay: numbers and states, about 200 bytes a row.

Limits: the frame is in memory, as the examples are; a source's `max_rows` bounds both. An expectation that Great
Expectations could not evaluate is an error, never a pass.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import NightshiftError
from tasks.data.containers import excerpt
from tasks.data.example import Example
from tasks.data.frame import COLUMNS, DEFAULT_LIMITS, Repeats, TokenCounter, feature_rows
from tasks.data.held import Undrawn
from tasks.data.mapping import BadRecord
from validation.gx import check, open_project
from validation.originals import original_rows
from validation.result import Outcome, ValidationResult
from validation.spec import ValidationSpec
from validation.suite import build_batch_suite, build_suite

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outcome", "ValidationResult", "validate_examples"]

_NUMBERS = ("question_chars", "schema_chars", "sql_chars", "question_tokens", "schema_tokens", "result_rows")
_INDEX = ("record", "row", "id")  # how unexpected rows are named: to us, and to readers of the Data Docs
_ABSENT = math.nan  # a number that is not there, in the frame
_CHUNK = 20_000  # examples whose features are held as rows at once


def validate_examples(
    examples: Sequence[Example],
    bad_records: Sequence[BadRecord],
    spec: ValidationSpec,
    docs_dir: Path | None = None,
    *,
    count_tokens: TokenCounter | None = None,
    project: Path | None = None,
    undrawn: Sequence[Undrawn] = (),
) -> ValidationResult:
    """Check every row; with `docs_dir`, Data Docs are written there (`index.html`).

    `count_tokens` is the model's tokenizer, for limits in tokens; `project` keeps the Great Expectations project for
    later suites; `undrawn` says what was left out of the sources before. Rows are accounted for: kept + quarantined =
    examples + bad_records. Raises NightshiftError when an expectation cannot be evaluated.
    """
    if spec.counts_tokens and count_tokens is None:
        raise NightshiftError("question_tokens and schema_tokens need the tokenizer of a model")
    frame = _frame(examples, bad_records, spec, count_tokens)
    with open_project(docs_dir, project) as context:
        outcomes, unexpected = check(context, build_suite(spec), frame, _INDEX)
        quarantined = _quarantined(examples, bad_records, unexpected)
        counts = _counts(len(frame), len(quarantined))
        outcomes += check(context, build_batch_suite(spec), counts, ())[0]
    return ValidationResult(
        success=all(outcome.success for outcome in outcomes if outcome.scope == "batch"),
        rows=len(frame),
        kept=[example for record, example in enumerate(examples) if record not in unexpected],
        quarantined=quarantined,
        reasons=dict(Counter(reason for bad in quarantined for reason in bad.reasons).most_common()),
        expectations=outcomes,
        docs=str(docs_dir / "index.html") if docs_dir else None,
        undrawn=tuple(undrawn),
    )


def _frame(
    examples: Sequence[Example], bad_records: Sequence[BadRecord], spec: ValidationSpec, counter: TokenCounter | None
) -> pd.DataFrame:
    """The frame of examples, followed by a row of nulls for every unreadable record."""
    import numpy as np
    import pandas as pd

    limits, earlier = replace(DEFAULT_LIMITS, seconds=spec.seconds), Repeats()
    columns: dict[str, Any] = {name: array("d") if name in _NUMBERS else [] for name in COLUMNS}
    for start in range(0, len(examples), _CHUNK):
        chunk = examples[start : start + _CHUNK]
        rows = feature_rows(chunk, execute=spec.execute, limits=limits, count_tokens=counter, earlier=earlier)
        for name, cells in columns.items():
            cells.extend(_ABSENT if name in _NUMBERS and row[name] is None else row[name] for row in rows)
    for name, cells in columns.items():
        cells.extend([_ABSENT if name in _NUMBERS else None] * len(bad_records))
    everything = (*examples, *bad_records)
    columns |= {
        "record": range(len(everything)),
        "id": [item.id for item in everything],
        "row": [item.row for item in everything],
        "readable": ["yes"] * len(examples) + [None] * len(bad_records),
    }
    kinds = dict.fromkeys(_NUMBERS, "float64") | {"record": "int64", "row": "int64"}
    return pd.DataFrame(
        {name: np.asarray(columns.pop(name), dtype=kinds.get(name, "object")) for name in list(columns)}, copy=False
    )


def _counts(rows: int, quarantined: int) -> pd.DataFrame:
    import pandas as pd

    share = quarantined / rows if rows else 0.0
    return pd.DataFrame({"rows": [rows], "kept": [rows - quarantined], "quarantined_share": [share]})


def _quarantined(
    examples: Sequence[Example], bad_records: Sequence[BadRecord], unexpected: dict[int, list[str]]
) -> list[BadRecord]:
    """All rejected rows, files in order of appearance and rows by number."""
    rejected = list(bad_records)
    found = {record: examples[record] for record in unexpected if record < len(examples)}
    originals = original_rows((example.file, example.row) for example in found.values())
    for record, example in found.items():
        text = originals.get((example.file, example.row)) or _text(example)
        rejected.append(BadRecord(example.file, example.row, example.id, tuple(unexpected[record]), text))
    files: dict[str, int] = {}
    for item in (*examples, *bad_records):
        files.setdefault(item.file, len(files))
    return sorted(rejected, key=lambda bad: (files[bad.file], bad.row))


def _text(example: Example) -> str:
    """The canonical row as JSON, what people look for first at its head."""
    row = {name: value for name, value in example.to_row().items() if value and name not in ("file", "row", "id")}
    first = {name: row.pop(name, "") for name in ("question", "sql")}
    return excerpt(json.dumps(first | row, ensure_ascii=False))
