"""What the report's template lays out: numbers made into text, rows sorted, examples chosen. Pure, no HTML but charts.

The main subject is the challenger, else whatever was scored; it is set against the champion, else the base model.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks.evaluation.charts import Curve, interval_bar, loss_chart
from tasks.evaluation.metrics import MAIN, METRICS
from tasks.evaluation.nights_chart import nights_chart
from tasks.evaluation.perplexity import perplexity
from tasks.evaluation.report_examples import choose_examples
from tasks.evaluation.report_tables import (
    Cards,
    compare,
    difference_text,
    error_rows,
    health_rows,
    judged_by,
    metric_rows,
    other_rows,
    percent,
    range_text,
    slice_tables,
)
from tasks.evaluation.scorecard import Role, Scorecard
from tasks.evaluation.statistics import smallest_detectable_gain

if TYPE_CHECKING:
    from tasks.evaluation.report import GateLine, ReportData, StageLine

_MAIN_ROLES: tuple[Role, ...] = ("challenger", "predictions", "champion", "base")  # the first found is the main subject
_SHOWN_ROLES: tuple[Role, ...] = ("base", "champion", "challenger", "predictions")
_REFERENCES: tuple[Role, ...] = ("champion", "base")
_DISCORDANCE = 0.15  # share of examples on which two models usually differ, where there is no second one to count
_BADGES = {
    "promoted": ("Promoted", "pass"),
    "rejected": ("Not promoted", "fail"),
    "awaiting_approval": ("Awaiting approval", "wait"),
    "data_rejected": ("Data rejected", "fail"),
    "nothing_new": ("Nothing new", "calm"),
    "failed": ("Failed", "fail"),
    "scored": ("Scored", "calm"),
}
_NEXT = {
    "promoted": "Nothing has to be done. What it won and what it broke is below.",
    "rejected": "Production stays as it was. The failed gates say what was missing and what would help.",
    "awaiting_approval": "Production stays as it was until a named person approves or declines.",
    "data_rejected": "Production stays as it was. Mend the quarantined rows or the rule that refused them.",
    "nothing_new": "Recipe, data and code are those of a finished night.",
    "failed": "Production stays as it was. A new run goes on from the last finished stage.",
    "scored": "",
}


def view(data: ReportData) -> dict[str, Any]:
    """Everything `report.html.j2` needs, by name."""
    cards = {role: data.scorecards[role] for role in _SHOWN_ROLES if role in data.scorecards}
    main_role = next((role for role in _MAIN_ROLES if role in cards), None)
    main = cards.get(main_role) if main_role else None
    reference_role = next((role for role in _REFERENCES if role in cards and role != main_role), None)
    reference = cards.get(reference_role) if reference_role else None
    badge, tone = _BADGES[data.outcome]
    return {
        "data": data,
        "created": _when(data.created),
        "badge": badge,
        "tone": tone,
        "title": f"{badge}: {data.release or data.recipe or 'scorecard'}",
        "sentence": _sentence(data),
        "why": _why(data),
        "next": _NEXT[data.outcome],
        "lead": _lead(main, cards, main_role),
        "subjects": _subjects(cards),
        "notes": _notes(main, reference),
        "gates": [_gate(gate) for gate in data.gates],
        "metrics": metric_rows(cards),
        "others": other_rows(cards),
        "roles": list(cards),
        "main_role": main_role,
        "reference_role": reference_role,
        "slices": slice_tables(cards, main, reference),
        "errors": error_rows(cards),
        "health": health_rows(cards),
        "groups": choose_examples(main, reference, reference_role or ""),
        "nights": nights_chart(data.nights),
        "stages": [_stage(stage) for stage in data.stages],
        "left_out": _left_out(data.stages),
        "chart": loss_chart([Curve(stage.name, stage.curve) for stage in data.stages]),
        "counts": _amounts(data.data.counts),
        "reasons": _amounts(dict(sorted(data.data.reasons.items(), key=lambda item: (-item[1], item[0])))),
        "splits": _amounts(data.data.splits),
        "docs_link": _is_link(data.data.docs),
        "seconds": _seconds(data.seconds),
        "lineage": [(name.replace("_", " "), value) for name, value in data.lineage.items() if value not in (None, "")],
    }


def duration(seconds: float) -> str:
    """Seconds as people say them: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _sentence(data: ReportData) -> str:
    name = data.release or "The model"
    which = f"{name} version {data.version}" if data.version else name
    before = f" It replaces version {data.champion_version}." if data.champion_version else ""
    kept = (
        f" Version {data.champion_version} stays in Production."
        if data.champion_version
        else " Production stays empty."
    )
    return {
        "promoted": f"{which} is in Production.{before}",
        "rejected": f"{which} did not earn Production.{kept}",
        "awaiting_approval": f"{which} waits for a person to decide.{kept}",
        "data_rejected": f"The data broke its contract, so nothing was trained.{kept}",
        "nothing_new": f"This night was done before.{kept if data.champion_version else ''}",
        "failed": f"The night broke off.{kept}",
        "scored": "One set of predictions, judged by running every query.",
    }[data.outcome]


def _why(data: ReportData) -> str:
    if data.reason:
        return data.reason
    blocking = [gate for gate in data.gates if gate.status != "pass"]
    if not blocking:
        return (
            f"All {len(data.gates)} gates passed." if len(data.gates) > 1 else "Its gate passed." if data.gates else ""
        )
    failed = [gate for gate in blocking if gate.status == "fail"]
    kind = f"{len(failed)} of {len(data.gates)} gates failed" if failed else "A gate asks for a person"
    evidence = (failed or blocking)[0].evidence
    return f"{kind}: {evidence}" if evidence else f"{kind}."


def _lead(main: Scorecard | None, cards: Cards, main_role: str | None) -> dict[str, Any] | None:
    interval = main.metrics.get(MAIN) if main is not None else None
    if main is None or interval is None or interval.n == 0:
        return None
    versus = []
    for role in ("champion", "base"):
        difference = compare(main, cards.get(role) if role != main_role else None)
        if difference is not None:
            versus.append({"role": role, **difference_text(difference)})
    return {
        "role": main_role,
        "value": percent(interval.value),
        "range": range_text(interval),
        "n": interval.n,
        "versus": versus,
    }


def _subjects(cards: Cards) -> list[dict[str, Any]]:
    return [
        {
            "role": role,
            "name": card.subject.name,
            "value": percent(interval.value),
            "range": range_text(interval),
            "bar": interval_bar(interval.value, interval.low, interval.high, role),
        }
        for role, card in cards.items()
        if (interval := card.metrics.get(MAIN)) is not None and interval.n > 0
    ]


def _notes(main: Scorecard | None, reference: Scorecard | None) -> list[str]:
    if main is None:
        return []
    gold, notes = main.gold, []
    judged = gold.ok + gold.empty
    notes.append(f"{main.n:,} test examples, {judged:,} judged by running the query, each with a 95% interval.")
    if gold.failed:
        notes.append(f"{gold.failed:,} gold queries do not run themselves; they are left out of every share.")
    if gold.empty:
        notes.append(f"{gold.empty:,} gold queries return no row; a match there says less.")
    if told := judged_by(main):
        notes.append(f"{told[0].upper()}{told[1:]}.")
    difference = compare(main, reference)
    if difference is not None:
        discordance = max(difference.wins + difference.losses, 1) / difference.n
        gain = smallest_detectable_gain(difference.n, discordance)
        notes.append(f"With so many examples a true gain below {100 * gain:.1f} points would mostly go unseen.")
    elif judged:
        gain = smallest_detectable_gain(judged, _DISCORDANCE)
        notes.append(
            f"Against another model that answers {_DISCORDANCE:.0%} of so many examples differently, a true gain below "
            f"{100 * gain:.1f} points would mostly go unseen."
        )
    return notes


def _gate(gate: GateLine) -> dict[str, Any]:
    where = gate.slice if isinstance(gate.slice, str) else ", ".join(f"{k}: {v}" for k, v in (gate.slice or {}).items())
    metric = METRICS[gate.metric].label if gate.metric in METRICS else gate.metric
    return {
        "status": gate.status,
        "label": {"pass": "pass", "fail": "fail", "needs_approval": "ask a person"}[gate.status],
        "metric": metric,
        "where": where,
        "rule": gate.rule,
        "value": _number(gate.value),
        "threshold": _number(gate.threshold),
        "evidence": gate.evidence,
        "resolution": gate.resolution if gate.status != "pass" else "",
    }


def _stage(stage: StageLine) -> dict[str, Any]:
    losses = [loss for _, loss in stage.curve if loss is not None]
    return {
        "name": stage.name,
        "method": stage.method,
        "rows": "" if stage.rows is None else f"{stage.rows:,}",
        "steps": "" if stage.steps is None else f"{stage.steps:,}",
        "first": f"{losses[0]:.3f}" if losses else "",
        "last": f"{losses[-1]:.3f}" if losses else "",
        "eval": "" if stage.eval_loss is None else f"{stage.eval_loss:.3f}",
        "perplexity": "" if (found := perplexity(stage.method, stage.eval_loss)) is None else f"{found:.3f}",
        "seconds": "" if stage.seconds is None else duration(stage.seconds),
        "reused": stage.reused,
    }


def _left_out(stages: list[StageLine]) -> str:
    """What the stages' budgets of tokens cost; empty when they cost nothing."""
    rows, tables = sum(stage.dropped for stage in stages), sum(stage.tables_dropped for stage in stages)
    told = [f"{rows:,} rows were too long to train on"] if rows else []
    told += (
        [f"prompts left out {tables:,} tables that gold does not use, to stay within their budget"] if tables else []
    )
    return "; ".join(told)


def _amounts(counts: dict[str, int]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), f"{count:,}") for name, count in counts.items()]


def _seconds(seconds: dict[str, float]) -> list[dict[str, Any]]:
    total = seconds.get("total") or sum(seconds.values())
    steps = [(name, value) for name, value in seconds.items() if name != "total"]
    rows = [
        {"name": name, "text": duration(value), "share": min(100.0, 100 * value / total) if total else 0.0}
        for name, value in steps
    ]
    return rows + ([{"name": "total", "text": duration(total), "share": None}] if rows else [])


def _number(value: float | str | None) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.4g}"


def _when(created: str) -> str:
    """ISO 8601 as a person reads it; other text stays as it is."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    day = f"{moment.day} {moment:%B %Y}"
    return f"{day}, {moment:%H:%M} {moment.tzname() or ''}".strip() if "T" in created or " " in created else day


def _is_link(docs: str) -> bool:
    # Paths and web addresses; `s3://` opens in no browser and `javascript:` must not.
    scheme, colon, _ = docs.partition(":")
    return bool(docs) and (not colon or "/" in scheme or scheme in {"file", "http", "https"})
