"""Validation: examples go through a Great Expectations checkpoint, and rows that it names go into quarantine.

The reasons of a quarantined row are those of the expectations that name it among their unexpected rows: take an
expectation out of the suite and its rows are kept. Unreadable records keep the reasons of the reader.

Limits: one batch in memory. An expectation that Great Expectations could not evaluate is an error, never a pass.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import NightshiftError
from tasks.data.containers import excerpt
from tasks.data.example import Example
from tasks.data.frame import COLUMNS, DEFAULT_LIMITS, FeatureRow, feature_rows
from tasks.data.sources import BadRecord
from validation.result import Outcome, Quarantined, ValidationResult
from validation.spec import ValidationSpec
from validation.suite import build_batch_suite, build_suite

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outcome", "Quarantined", "ValidationResult", "validate_examples"]

_NUMBERS = ("question_chars", "schema_chars", "sql_chars", "result_rows")
_INDEX = ("record", "row", "id")  # how unexpected rows are named: to us, and to readers of the Data Docs


def validate_examples(
    examples: Sequence[Example], bad_records: Sequence[BadRecord], spec: ValidationSpec, docs_dir: Path | None = None
) -> ValidationResult:
    """Check every row; with `docs_dir`, Data Docs are written there (`index.html`).

    Rows are accounted for: kept + quarantined = examples + bad_records. Raises NightshiftError when an expectation
    cannot be evaluated.
    """
    limits = DEFAULT_LIMITS.model_copy(update={"seconds": spec.seconds})
    frame = _frame(feature_rows(examples, execute=spec.execute, limits=limits), examples, bad_records)
    with _context(docs_dir) as context:
        outcomes, unexpected = _check(context, build_suite(spec), frame, _INDEX)
        quarantined = _quarantined(examples, bad_records, unexpected)
        counts = _counts(len(frame), len(quarantined))
        outcomes += _check(context, build_batch_suite(spec), counts, ())[0]
    return ValidationResult(
        success=all(outcome.success for outcome in outcomes if outcome.scope == "batch"),
        rows=len(frame),
        kept=[example for record, example in enumerate(examples) if record not in unexpected],
        quarantined=quarantined,
        reasons=dict(Counter(reason for bad in quarantined for reason in bad.reasons).most_common()),
        expectations=outcomes,
        docs=str(docs_dir / "index.html") if docs_dir else None,
    )


def _frame(rows: Sequence[FeatureRow], examples: Sequence[Example], bad_records: Sequence[BadRecord]) -> pd.DataFrame:
    """The frame of examples, followed by a row of nulls for every unreadable record."""
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] + [None] * len(bad_records) for name in COLUMNS}
    everything = (*examples, *bad_records)
    columns |= {
        "record": list(range(len(everything))),
        "id": [item.id for item in everything],
        "row": [item.row for item in everything],
        "readable": ["yes"] * len(rows) + [None] * len(bad_records),
    }
    kinds = dict.fromkeys(_NUMBERS, "float64") | {"record": "int64", "row": "int64"}
    return pd.DataFrame({name: pd.Series(cells, dtype=kinds.get(name, "object")) for name, cells in columns.items()})


def _counts(rows: int, quarantined: int) -> pd.DataFrame:
    import pandas as pd

    share = quarantined / rows if rows else 0.0
    return pd.DataFrame({"rows": [rows], "kept": [rows - quarantined], "quarantined_share": [share]})


@contextmanager
def _context(docs_dir: Path | None) -> Iterator[Any]:
    """A throw-away Great Expectations project; its Data Docs are copied to `docs_dir` at the end."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when great_expectations is imported: nothing is sent anywhere
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in ("great_expectations", "great_expectations.data_context.types.base"):  # the second sets its own level
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="nightshift-gx-") as folder:
        if docs_dir is None:
            context = gx.get_context(mode="ephemeral")
        else:
            context = gx.get_context(mode="file", project_root_dir=folder)
            sites = context.variables.data_docs_sites or {}
            for name, site in sites.items():
                context.update_data_docs_site(name, {**site, "show_how_to_buttons": False})
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        yield context
        if docs_dir is not None:
            _write_docs(context, Path(folder), docs_dir)


def _write_docs(context: Any, project: Path, docs_dir: Path) -> None:
    context.build_data_docs()
    sites = [path.parent for path in project.rglob("data_docs/local_site/index.html")]
    if len(sites) != 1:
        raise NightshiftError(f"Great Expectations wrote {len(sites)} Data Docs sites where one is expected")
    # Its animated tutorials weigh 3 MB and explain Great Expectations, not the data.
    shutil.copytree(sites[0], docs_dir, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.gif"))


def _check(
    context: Any, suite: Any, frame: pd.DataFrame, index: Sequence[str]
) -> tuple[list[Outcome], dict[int, list[str]]]:
    """Run one suite over one frame: (outcomes, record -> reasons of the row expectations that it breaks)."""
    import great_expectations as gx

    name = suite.name
    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    definition = gx.ValidationDefinition(name=name, data=batch, suite=context.suites.add(suite))
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": list(index),
            "return_unexpected_index_query": False,
        },
    )
    found = context.checkpoints.add(checkpoint).run(
        batch_parameters={"dataframe": frame}, run_id=gx.RunIdentifier(run_name="nightshift")
    )
    outcomes: list[Outcome] = []
    unexpected: dict[int, list[str]] = {}
    for result in next(iter(found.run_results.values())).results:
        outcome, records = _outcome(result)
        outcomes.append(outcome)
        for record in records:
            unexpected.setdefault(record, []).append(outcome.reason)
    return outcomes, unexpected


def _outcome(result: Any) -> tuple[Outcome, list[int]]:
    config = result.expectation_config
    reason, scope = config.meta["reason"], config.meta["scope"]
    problem = _problem(result.exception_info)
    if problem:
        raise NightshiftError(f"expectation {reason} ({config.type}) could not be evaluated: {problem}")
    records: list[int] = []
    if scope == "row":
        records = sorted({int(item["record"]) for item in result.result.get("unexpected_index_list") or ()})
        if bool(records) == bool(result.success):
            raise NightshiftError(f"expectation {reason} ({config.type}) does not name the rows that break it")
    count = len(records) if scope == "row" else int(not result.success)
    return Outcome(config.type, reason, scope, bool(result.success), count), records


def _problem(info: dict[str, Any] | None) -> str:
    """The message of an exception inside an expectation; Great Expectations nests them by metric."""
    for entry in (info or {}, *(value for value in (info or {}).values() if isinstance(value, dict))):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "unknown error")
    return ""


def _quarantined(
    examples: Sequence[Example], bad_records: Sequence[BadRecord], unexpected: dict[int, list[str]]
) -> list[Quarantined]:
    """All rejected rows, files in order of appearance and rows by number."""
    rejected = [Quarantined(bad.file, bad.row, bad.id, bad.reasons, bad.original) for bad in bad_records]
    for record, reasons in unexpected.items():
        if record < len(examples):
            example = examples[record]
            rejected.append(Quarantined(example.file, example.row, example.id, tuple(reasons), _text(example)))
    files: dict[str, int] = {}
    for item in (*examples, *bad_records):
        files.setdefault(item.file, len(files))
    return sorted(rejected, key=lambda bad: (files[bad.file], bad.row))


def _text(example: Example) -> str:
    """The canonical row as JSON, what people look for first at its head."""
    row = {name: value for name, value in example.to_row().items() if value and name not in ("file", "row", "id")}
    first = {name: row.pop(name, "") for name in ("question", "sql")}
    return excerpt(json.dumps(first | row, ensure_ascii=False))
