"""Great Expectations at work: a project, a checkpoint over a frame, Data Docs.

A project is thrown away at the end, or kept in a folder, so that a later suite of the same night shares its Data Docs.
An expectation that could not be evaluated is an error, never a pass.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import NightshiftError
from validation.result import Outcome

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def open_project(docs_dir: Path | None, project: Path | None = None) -> Iterator[Any]:
    """A Great Expectations project; with `docs_dir` its Data Docs are written there at the end.

    `project` is a folder in which it stays for a later suite, so that one set of Data Docs shows both; without
    `docs_dir` nothing is written and `project` is not used. Raises NightshiftError when there are no Data Docs."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when great_expectations is imported: nothing is sent anywhere
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in ("great_expectations", "great_expectations.data_context.types.base"):  # the second sets its own level
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="nightshift-gx-") as scratch:
        folder = scratch if project is None else str(project)
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


def check(
    context: Any, suite: Any, frame: pd.DataFrame, index: Sequence[str]
) -> tuple[list[Outcome], dict[int, list[str]]]:
    """Run one suite over one frame: (outcomes, record -> reasons of the row expectations that it breaks)."""
    import great_expectations as gx

    name = suite.name
    source = context.data_sources.add_or_update_pandas(name)
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    definition = gx.ValidationDefinition(name=name, data=batch, suite=context.suites.add_or_update(suite))
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add_or_update(definition)],
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": list(index),
            "return_unexpected_index_query": False,
        },
    )
    found = context.checkpoints.add_or_update(checkpoint).run(
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
    observed = result.result.get("observed_value") if scope == "batch" else None
    figure = round(float(observed), 4) if isinstance(observed, (int, float)) else None
    return Outcome(config.type, reason, scope, bool(result.success), count, figure), records


def _problem(info: dict[str, Any] | None) -> str:
    """The message of an exception inside an expectation; Great Expectations nests them by metric."""
    for entry in (info or {}, *(value for value in (info or {}).values() if isinstance(value, dict))):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "unknown error")
    return ""
