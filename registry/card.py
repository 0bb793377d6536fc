"""The model card: what a version is, what it was taught, how it did, where it fails; as Markdown and as a page.

One list of sections is written twice, so that both say the same. After Mitchell et al., "Model Cards for Model
Reporting" (2019). Pure: facts in, text out.

Limits: MLflow keeps 5,000 characters as a version's description, so that `short` leaves out whole sections, last first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from registry.verdict import Verdict
from tasks.data.page import render_page
from tasks.evaluation.charts import Curve, loss_chart, spark
from tasks.evaluation.perplexity import perplexity
from tasks.evaluation.report_tables import judged_by
from tasks.evaluation.scorecard import ExampleOutcome, Interval, Scorecard
from tasks.evaluation.slices import in_order

LONGEST_DESCRIPTION = 5000
_HEADLINE = ("execution_accuracy", "execution_accuracy_nonvacuous", "exact_match", "parses", "runs")
_SHOWN_FAILURES = 5
_WEAKEST = 8
_FEWEST = 5  # examples a slice must have to be called weak


class CardFacts(BaseModel):
    """What the card is made of, besides scorecards and verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str
    version: str
    created: str
    description: str
    licence: str = Field(description="as the recipe states it; empty: not stated")
    base_model: str
    base_revision: str
    lineage: dict[str, str] = Field(description="what it descends from: night, run, dataset, adapter, code")
    sources: list[dict[str, Any]] = Field(description="the recipe's sources")
    manifest: dict[str, Any] = Field(description="summary of the dataset: accounting, splits, difficulty, mixture")
    stages: list[dict[str, Any]] = Field(description="what each stage reported, curve included")
    recipe: dict[str, Any] = Field(description="training and prompt settings, flat")


class Section(BaseModel):
    """A part of the card: sentences, a table (header first) and quoted code."""

    model_config = ConfigDict(frozen=True)

    title: str
    text: list[str] = []
    table: list[list[str]] = []
    failures: list[dict[str, str]] = []
    curve: bool = False


def build_card(facts: CardFacts, cards: Mapping[str, Scorecard], verdict: Verdict) -> list[Section]:
    """The sections, most important first; `cards` by role, the challenger's is needed."""
    own = cards["challenger"]
    return [
        _use(facts, verdict),
        _scores(own, cards),
        _gates(verdict),
        _failures(own),
        _data(facts),
        _training(facts),
        Section(title="Recipe", table=[["setting", "value"], *([k, str(v)] for k, v in facts.recipe.items())]),
        Section(title="Lineage", table=[["what", "which"], *([k, v] for k, v in facts.lineage.items())]),
    ]


def to_markdown(facts: CardFacts, sections: Sequence[Section]) -> str:
    """The card as Markdown."""
    return "\n".join([f"# {facts.release} version {facts.version}", "", *map(_section_as_markdown, sections)])


def headline(cards: Mapping[str, Scorecard], verdict: Verdict) -> str:
    """The version in one line, which is all that MLflow's list of versions shows of it."""
    named = {"challenger": "", "base": "base model ", "champion": f"version {verdict.champion_version} "}
    found = {role: cards[role].metrics["execution_accuracy"] for role in named if role in cards}
    values = ", ".join(f"{named[role]}{interval.value:.3f}" for role, interval in found.items())
    return f"{verdict.status.replace('_', ' ')}: execution accuracy {values} (n={found['challenger'].n})"


def short(first: str, facts: CardFacts, sections: Sequence[Section], rest: str) -> str:
    """The line `first`, as much of the card as a description in MLflow holds, and where the `rest` is."""
    kept = list(sections)
    while True:
        text = to_markdown(facts, kept).split("\n", 2)[2]  # MLflow's page already carries the title
        text = f"{first}\n\n{text}"
        text = f"{text}\nThe whole card: {rest}" if len(kept) < len(sections) else text
        if len(text) <= LONGEST_DESCRIPTION or len(kept) == 1:
            return text[:LONGEST_DESCRIPTION]
        kept.pop()


def to_page(facts: CardFacts, sections: Sequence[Section]) -> str:
    """The card as one self-contained HTML page."""
    curves = [Curve(stage["name"], [(step, loss) for step, loss in stage["curve"]]) for stage in facts.stages]
    return render_page("registry", "card.html.j2", {"facts": facts, "sections": sections, "curve": loss_chart(curves)})


def _use(facts: CardFacts, verdict: Verdict) -> Section:
    against = f"version {verdict.champion_version}" if verdict.champion_version else "no champion, as the first version"
    pinned = facts.base_revision or "not pinned: the reference names a branch"
    return Section(
        title="What it is",
        text=[
            facts.description,
            f"An adapter for {facts.base_model.partition('#')[0]} (revision {pinned}) that writes one SQLite query for "
            "a question over a schema. It is an adapter only: the base model is loaded separately and checked.",
            f"Judged {facts.created}: {verdict.status.replace('_', ' ')}, against {against}.",
            f"Licence: {facts.licence or 'not stated in the recipe (release.licence); ask before you pass it on'}.",
            "Not for: databases whose answers nobody looks at, changing data, or schemas far larger than its prompts.",
        ],
    )


def _scores(own: Scorecard, cards: Mapping[str, Scorecard]) -> Section:
    roles = [role for role in ("base", "champion") if role in cards]
    metrics = [metric for metric in _HEADLINE if metric in own.metrics]
    rows = [
        [metric, _interval(own.metrics[metric]), *(_interval(cards[role].metrics.get(metric)) for role in roles)]
        for metric in metrics
    ]
    gold = own.gold
    return Section(
        title="Scorecard",
        text=[
            f"{own.n} test questions ({own.test_fingerprint}); values with their 95% intervals. Gold: {gold.ok} with "
            f"rows, {gold.empty} empty, {gold.failed} broken and not counted. A right answer is one by these "
            f"{judged_by(own) or 'rules: not recorded'}."
        ],
        table=[["metric", "this version", *roles], *rows],
    )


def _gates(verdict: Verdict) -> Section:
    rows = [[gate.id, gate.status.replace("_", " "), gate.evidence] for gate in verdict.gates]
    return Section(title="Gates", table=[["gate", "outcome", "evidence"], *rows])


def _failures(own: Scorecard) -> Section:
    weak = [
        (values["execution_accuracy"], f"{dimension}: {name}")
        for dimension, slices in own.slices.items()
        for name, values in slices.items()
        if "execution_accuracy" in values and values["execution_accuracy"].n >= _FEWEST
    ]
    weakest = sorted(weak, key=lambda pair: (pair[0].value, pair[0].high))[:_WEAKEST]
    classes = sorted(own.errors.items(), key=lambda pair: -pair[1])
    text = [f"Wrong answers by class: {', '.join(f'{name} {count}' for name, count in classes if count) or 'none'}."]
    wrong = [example for example in own.examples if example.execution_match is False]
    return Section(
        title="Known failures",
        text=text,
        table=[["weakest slices", "execution accuracy"], *([name, _interval(value)] for value, name in weakest)],
        failures=[_failure(example) for example in _spread(wrong)],
    )


def _spread(wrong: Sequence[ExampleOutcome]) -> list[ExampleOutcome]:
    """A few wrong answers, of different classes first."""
    seen: set[str | None] = set()
    first = [e for e in wrong if e.error_class not in seen and not seen.add(e.error_class)]
    return [*first, *(e for e in wrong if e not in first)][:_SHOWN_FAILURES]


def _failure(example: ExampleOutcome) -> dict[str, str]:
    return {
        "question": example.question,
        "answered": example.sql or "nothing",
        "expected": example.gold,
        "why": example.error_class or example.status,
    }


def _data(facts: CardFacts) -> Section:
    manifest = facts.manifest
    counts = ", ".join(f"{k} {v}" for k, v in manifest["accounting"].items() if isinstance(v, int))
    text = [f"Rows: {counts}."]
    for source in facts.sources:
        about = ", ".join(f"{k}: {v}" for k, v in source.items() if v not in ("", None, {}, []))
        text.append(f"Source: {about}.")
    for name, draws in (manifest.get("mixture") or {}).items():
        text.append(f"Mixture: {name}: {', '.join(f'{k} {_figure(v)}' for k, v in draws.items())}.")
    levels = in_order("difficulty", list({level for row in manifest["difficulty"].values() for level in row}))
    table = [["split", "rows", *levels]]
    for split, rows in manifest["splits"].items():
        difficulty = manifest["difficulty"].get(split, {})
        table.append([split, str(rows), *(str(difficulty.get(level, 0)) for level in levels)])
    return Section(title="Data", text=text, table=table)


def _training(facts: CardFacts) -> Section:
    table = [["stage", "method", "rows", "steps", "loss", "curve", "validation loss", "perplexity", "seconds"]]
    for stage in facts.stages:
        losses = [loss for _, loss in stage["curve"]]
        loss = f"{losses[0]:.3f} to {losses[-1]:.3f}" if losses else ""
        figures = [str(stage[key]) for key in ("rows", "steps")]
        validation = [_figure(stage["eval_loss"]), _figure(perplexity(stage["method"], stage["eval_loss"]))]
        table.append(
            [stage["name"], stage["method"], *figures, loss, spark(losses), *validation, _figure(stage["seconds"])]
        )
    return Section(title="Training", table=table, curve=True)


def _figure(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _interval(value: Interval | None) -> str:
    return "" if value is None else f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def _section_as_markdown(section: Section) -> str:
    lines = [f"## {section.title}", ""]
    for text in section.text:
        if text:
            lines += [_plain(text), ""]
    if section.table:
        head, *rows = section.table
        lines += [f"| {' | '.join(map(_cell, head))} |", f"|{' --- |' * len(head)}"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
        lines.append("")
    for failure in section.failures:
        lines += [f"- {_plain(failure['question'])} ({failure['why']})", ""]
        for name in ("answered", "expected"):
            lines += [f"  {name}", "", f"      {' '.join(failure[name].split())}", ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text from data as Markdown shows it, letter for letter, and without markup of its own."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in flat)


def _cell(text: str) -> str:
    return _plain(text)
