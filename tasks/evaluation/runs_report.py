"""The report of many runs (a study, a sweep, several nights) as data and as Markdown; `runs_view` makes its page.

Everything follows from the runs and, where there are answers to the same examples, from which of them were right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.evaluation.confounds import confounds
from tasks.evaluation.findings import Finding, Question, answer_questions
from tasks.evaluation.runs import Outcomes, Run
from tasks.evaluation.runs_tables import Table, final_table, metrics_table, progression_table, trials_table
from tasks.evaluation.telling_apart import Apart, tell_apart

SCHEMA_VERSION = 1


class RunsReport(BaseModel):
    """Runs compared with one another, and everything that follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    title: str
    description: str = ""
    created: str = Field("", description="when, as ISO 8601")
    facts: dict[str, str] = Field(default_factory=dict, description="what all runs share: data, prompt, test, seed")
    varies: list[str] = Field(default_factory=list, description="paths of the recipe that were studied")
    reference: str = Field(description="the run that every other is held against for what differs")
    runs: list[Run]
    trials: list[Run] = Field(default_factory=list, description="all trials behind the runs, where there are more")
    apart: Apart
    differs: dict[str, list[str]] = Field(description="run -> what differs from the reference besides what was studied")
    findings: list[Finding] = Field(default_factory=list)
    left_out: dict[str, str] = Field(default_factory=dict, description="run -> why it was not run at this scale")
    tables: list[Table]


def compare_runs(
    title: str,
    runs: Sequence[Run],
    outcomes: Outcomes,
    *,
    varies: Sequence[str] = (),
    reference: str = "",
    trials: Sequence[Run] = (),
    questions: Sequence[Question] = (),
    facts: Mapping[str, str] | None = None,
    left_out: Mapping[str, str] | None = None,
    description: str = "",
    created: str = "",
) -> RunsReport:
    """Compare runs; `outcomes` says for each which examples it got right. The reference is the first unless named.

    Raises UserError for no run at all, for two of one name, and for a reference that is none of them.
    """
    names = [run.name for run in runs]
    if not runs:
        raise UserError("nothing to compare: there is no run yet")
    if len(set(names)) < len(names):
        raise UserError(f"two runs have the same name: {', '.join(sorted(names))}")
    if reference and reference not in names:
        raise UserError(f"the reference {reference!r} is none of the runs: {', '.join(names)}")
    against = next((run for run in runs if run.name == reference), _first(runs))
    apart = tell_apart([run for run in runs if run.finished], outcomes)
    differs = {run.name: confounds(run, against, varies) for run in runs if run is not against and run.finished}
    differs = {name: found for name, found in differs.items() if found}
    tables = [final_table(runs, apart, differs)]
    if any(run.candidates > 0 for run in trials or runs):
        tables.append(progression_table(trials or runs))
    if any(run.metrics for run in runs):
        tables.append(metrics_table(runs))
    tables.append(trials_table(trials or runs))
    return RunsReport(
        title=title,
        description=description,
        created=created,
        facts=dict(facts or {}),
        varies=list(varies),
        reference=against.name,
        runs=list(runs),
        trials=list(trials),
        apart=apart,
        differs=differs,
        findings=answer_questions(questions, runs, apart, outcomes, varies),
        left_out=dict(left_out or {}),
        tables=tables,
    )


def _first(runs: Sequence[Run]) -> Run:
    """The first run that trained something, for there is more to differ in; else the first."""
    return next((run for run in runs if run.candidates > 0), runs[0])


def group_sentences(report: RunsReport) -> list[str]:
    """What the test set can and cannot tell apart, in sentences."""
    titles = {run.name: run.title for run in report.runs}
    judged = [name for group in report.apart.groups for name in group]
    if len(set(judged)) < 2:
        return []
    rules = {pair.basis for pair in report.apart.pairs}
    said = [
        f"{report.apart.letter_of(group)}: {_listed([titles[name] for name in group])} cannot be told apart."
        for group in report.apart.groups
        if len(group) > 1
    ]
    if not said:
        said = ["Every run is told apart from every other."]
    if "paired answers" in rules:
        said.append("Pairs are tested on the same questions (McNemar's exact mid-p), corrected for all pairs (Holm).")
    if "intervals" in rules:
        said.append("Where answers are missing, two runs count as apart only if their 95% intervals do not overlap.")
    return said


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def report_markdown(report: RunsReport) -> str:
    """The report as one Markdown file."""
    parts = [f"# {report.title}\n"]
    parts += [f"{report.description}\n"] if report.description else []
    if report.facts:
        parts.append("".join(f"- {name}: {text}\n" for name, text in report.facts.items()))
    if report.findings:
        parts.append("## Findings\n\n" + "".join(map(_finding, report.findings)))
    if sentences := group_sentences(report):
        parts.append("## What the test set can tell\n\n" + "".join(f"- {text}\n" for text in sentences))
    parts += [table.markdown() for table in report.tables]
    if report.left_out:
        parts.append("## Not run here\n\n" + "".join(f"- {name}: {why}\n" for name, why in report.left_out.items()))
    return "\n".join(parts)


def _finding(finding: Finding) -> str:
    marked = f" **Confounded:** {'; '.join(finding.confounds)}." if finding.confounds else ""
    return f"- **{finding.ask}** {finding.answer}{marked}\n"
