"""Many runs on the command line: gathered, compared, shown, written, logged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import UserError

if TYPE_CHECKING:
    from tasks.evaluation.runs_report import RunsReport


def compare_runs_of(
    subjects: Sequence[Path],
    varies: Sequence[str],
    reference: str,
    markdown_out: Path | None,
    log: str,
    json_out: Path | None,
    html_out: Path | None,
) -> bool:
    """Compare `subjects` if they are runs; whether they were."""
    from flows.cli.cards import write_json
    from flows.compared import compare_gathered, gather
    from infra.settings import load_settings

    store = load_settings().open_store()
    found = gather(subjects, store)
    if found is None:
        if varies or reference or markdown_out or log:
            raise UserError("--varies, --reference, --markdown and --log are for runs: these subjects are answers")
        return False
    report = compare_gathered(found, store, varies, reference)
    if html_out is not None:
        from tasks.evaluation.runs_view import render_runs

        html_out.write_text(render_runs(report), encoding="utf-8")
    if markdown_out is not None:
        from tasks.evaluation.runs_report import report_markdown

        markdown_out.write_text(report_markdown(report), encoding="utf-8")
    if log:
        _log(report, log)
    if not write_json(json_out, report.model_dump_json(indent=2)):
        show_runs(report)
    return True


def _log(report: RunsReport, experiment: str) -> None:
    """Keep the report as a run of an MLflow experiment; the same comparison is the same run."""
    from flows.cli.connect import connected
    from infra import tracking
    from infra.hashing import fingerprint
    from tasks.evaluation.runs_report import report_markdown
    from tasks.evaluation.runs_view import render_runs

    connected()
    content = report.model_dump(mode="json")
    run = tracking.night_run(experiment, fingerprint(content), report.title)
    tracking.log_text(run, render_runs(report), "report.html")
    tracking.log_text(run, report_markdown(report), "report.md")
    tracking.log_text(run, report.model_dump_json(indent=1), "report.json")
    tracking.finish(run, "FINISHED")


def show_runs(report: RunsReport) -> None:
    """Print a comparison of runs: its figures, what the test set can tell, its findings."""
    from flows.cli.show import table
    from tasks.evaluation.runs_report import group_sentences

    final = report.tables[0]
    named = {"run": "run", "trained weights": "weights", "samples/s": "rows/s", "peak memory": "memory"}
    named |= {"time": "time", "cost": "cost", "score": "score", "group": "group"}
    kept = [n for n, name in enumerate(final.columns) if name in named]
    table(report.title, [named[final.columns[n]] for n in kept], [[row[n] for n in kept] for row in final.rows])
    for sentence in group_sentences(report):
        print(sentence)
    titles = {run.name: run.title for run in report.runs}
    for name, found in report.differs.items():
        print(f"{titles[name]} differs from {titles[report.reference]} besides what was studied: {'; '.join(found)}")
    for run in report.runs:
        if not run.finished:
            print(f"{run.title} {run.status}: {run.error}")
    for finding in report.findings:
        marked = f" Confounded: {'; '.join(finding.confounds)}." if finding.confounds else ""
        print(f"\n{finding.ask} {finding.verdict}.\n  {finding.answer}{marked}")
