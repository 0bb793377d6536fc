"""What `nightshift compare` takes for runs: reports of studies, recorded trials, whole sweeps and studies by their key.

report.json                  of an earlier comparison or study: its runs, and what it studied
0.json, a folder of such     recorded trials (`sweeps/KEY/trials` of the store)
KEY                          a sweep or a study in the store
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.runs import as_run, outcomes_of
from infra.errors import NotFound, UserError
from infra.store import Store
from tasks.evaluation.findings import Question
from tasks.evaluation.runs import Run
from tasks.evaluation.runs_report import RunsReport, compare_runs
from tasks.training.trials import TrialResult, read_trials

_KEY = re.compile(r"[0-9a-f]{16}(-\d+)?")


@dataclass(frozen=True)
class Gathered:
    """Runs and what is known of the experiment they belong to."""

    title: str
    runs: list[Run]
    trials: list[Run] = field(default_factory=list)
    varies: tuple[str, ...] = ()
    reference: str = ""
    questions: tuple[Question, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    description: str = ""


def gather(subjects: Sequence[Path], store: Store) -> Gathered | None:
    """The runs behind `subjects`; None when none of them is of runs. Raises UserError when only some are."""
    found = [_gather(subject, store) for subject in subjects]
    if not any(found):
        return None
    for subject, one in zip(subjects, found, strict=True):
        if one is None:
            raise UserError(f"{subject} is no run: compare runs with runs, answers with answers")
    kept = [one for one in found if one is not None]
    return kept[0] if len(kept) == 1 else _together(kept)


def compare_gathered(found: Gathered, store: Store, varies: Sequence[str], reference: str) -> RunsReport:
    """The comparison of gathered runs, question by question where the store has their scorecards."""
    return compare_runs(
        found.title,
        found.runs,
        outcomes_of(found.runs, store),
        varies=varies or found.varies,
        reference=reference or found.reference,
        trials=found.trials,
        questions=found.questions,
        facts=found.facts,
        left_out=found.left_out,
        description=found.description,
    )


def _gather(subject: Path, store: Store) -> Gathered | None:
    if subject.is_dir():
        documents = [_document(path) for path in sorted(subject.glob("*.json"))]
        trials = [trial for document in documents if (trial := _trial(document))]
        if not trials:
            raise UserError(f"{subject} holds no recorded trials (N.json)")
        return _of_trials(str(subject), sorted(trials, key=lambda trial: trial.number), store)
    if subject.is_file():
        document = _document(subject)
        report, trial = _report(document), _trial(document)
        if report is not None:
            return _of_report(report)
        return _of_trials(subject.stem, [trial], store) if trial is not None else None
    if not _KEY.fullmatch(str(subject)):
        return None
    return _in_store(str(subject), store)


def _in_store(key: str, store: Store) -> Gathered:
    try:
        report = _report(store.read_json(f"studies/{key}/report.json"))
    except NotFound:
        report = None
    if report is not None:
        return _of_report(report)
    if not (trials := read_trials(store, key)):
        raise UserError(f"the store has no study and no sweep {key} with a recorded trial")
    return _of_trials(key, trials, store)


def _of_report(report: RunsReport) -> Gathered:
    return Gathered(
        title=report.title,
        runs=report.runs,
        trials=report.trials,
        varies=tuple(report.varies),
        reference=report.reference,
        questions=tuple(Question(ask=found.ask, one=found.one, other=found.other) for found in report.findings),
        facts=report.facts,
        left_out=report.left_out,
        description=report.description,
    )


def _of_trials(title: str, trials: Sequence[TrialResult], store: Store) -> Gathered:
    """Trials by what they tried: the values are all that their documents say of their recipes."""
    runs = [_trial_run(trial, store) for trial in trials]
    varies = sorted({path for trial in trials for path in trial.values})
    return Gathered(title=f"Trials of {title}", runs=runs, varies=tuple(varies))


def _trial_run(trial: TrialResult, store: Store) -> Run:
    told = {"name": f"{trial.number}", "label": trial.name, "settings": trial.values, "stage": f"{trial.stage + 1}"}
    return as_run(trial, None, store, **told)


def _together(found: Sequence[Gathered]) -> Gathered:
    """Several experiments as one, their runs' names kept apart by the place of the experiment."""
    runs = []
    for place, one in enumerate(found, start=1):
        for run in one.runs:
            named = {"name": f"{place}-{run.name}", "label": f"{run.title} ({place})"}
            runs.append(run.model_copy(update=named))
    titles = {f"({place})": one.title for place, one in enumerate(found, start=1)}
    varies = sorted({path for one in found for path in one.varies})
    whole = Gathered(title=f"{len(runs)} runs of {len(found)} experiments", runs=runs, varies=tuple(varies))
    return replace(whole, facts=titles)


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        return None


def _report(document: Any) -> RunsReport | None:
    """A report of runs; the document of `nightshift study --json` holds one."""
    if isinstance(document, dict) and "comparison" in document:
        document = document["comparison"]
    if not isinstance(document, dict) or "apart" not in document:
        return None
    try:
        return RunsReport.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"the report of runs is not of this version: {place}: {first['msg']}") from None


def _trial(document: Any) -> TrialResult | None:
    try:
        return TrialResult.model_validate(document)
    except ValidationError:
        return None
