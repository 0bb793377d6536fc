"""The outcome of a night as one JSON document: what `nightshift retrain --json` prints and what the store keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.answers import load_scorecard
from flows.night import Night
from infra.errors import first_line
from infra.refs import Ref
from validation.spec import BATCH_REASONS, DATASET_REASONS

SCHEMA_VERSION = 1
RULES = BATCH_REASONS | DATASET_REASONS
STEP_NAMES = ("prepare", "train", "evaluate", "promote")


def summarise(night: Night) -> dict[str, Any]:
    """The outcome of a night whose steps have all left theirs."""
    steps = {name: night.outcome(name) or {} for name in STEP_NAMES}
    seconds = {name: float(step.get("seconds", 0.0)) for name, step in steps.items()}
    document = _document(night) | {"seconds": seconds | {"total": round(sum(seconds.values()), 2)}}
    if not steps["prepare"]["accepted"]:
        reason = _broken_contract(steps["prepare"]["validation"])
        return _told(document | {"outcome": "data_rejected", "reason": reason})
    cards = {
        role: load_scorecard(night.store, Ref.model_validate(ref))
        for role, ref in steps["evaluate"]["scorecards"].items()
    }
    values = {role: {key: i.value for key, i in card.metrics.items()} for role, card in cards.items()}
    decision = steps["promote"]
    document |= {
        "outcome": decision["outcome"],
        "reason": decision["reason"],
        "version": decision["version"],
        "champion": decision["champion"],
        "metrics": values["challenger"],
        "base_metrics": values["base"],
        "champion_metrics": values.get("champion"),
        "gates": decision["gates"],
        **curriculum(steps["train"]["stages"]),
    }
    return _told(document)


def curriculum(stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a document says of the stages that were trained: each one's figures, and the curves of their losses."""
    figures = [{key: value for key, value in stage.items() if key != "curve"} for stage in stages]
    return {"stages": figures, "curves": {stage["name"]: stage["curve"] for stage in stages}}


def nothing_new(night: Night) -> dict[str, Any]:
    """The same night again: what it decided stands."""
    before = night.outcome("retrain") or {}
    reason = f"night {night.id} ended as {before['outcome']} before, and neither data, recipe nor code have changed"
    kept = {key: before.get(key) for key in ("version", "champion", "metrics", "gates", "report")}
    return _told(
        _document(night) | kept | {"outcome": "nothing_new", "reason": reason, "earlier_outcome": before["outcome"]}
    )


def planned(night: Night) -> dict[str, Any]:
    """What a run would do; nothing is written."""
    finished = night.outcome("retrain")
    if finished is not None:
        return nothing_new(night)
    missing = [name for name in STEP_NAMES if night.outcome(name) is None]
    stages = ", ".join(stage.name for stage in night.recipe.training.stages)
    gates = f"{len(night.recipe.gates)} gates"
    reason = f"would run {', '.join(missing)} of night {night.id} with stages {stages}, then judge {gates}"
    return _told(_document(night) | {"outcome": "planned", "reason": reason})


def failed(night: Night, error: BaseException) -> dict[str, Any]:
    """A night that an error ended; its finished steps are kept and the next run goes on behind them."""
    return failed_document(night.id, night.recipe.name, night.recipe.release.name, first_line(error))


def failed_document(night: str, recipe: str, release: str, reason: str) -> dict[str, Any]:
    """The outcome of a night of which nothing but its end is known here."""
    return _told(_empty(night, recipe, release) | {"reason": reason})


def _document(night: Night) -> dict[str, Any]:
    return _empty(night.id, night.recipe.name, night.recipe.release.name)


def _empty(night: str, recipe: str, release: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "night": night,
        "recipe": recipe,
        "release": release,
        "outcome": "failed",
        "reason": "",
        "version": None,
        "champion": None,
        "metrics": {},
        "gates": [],
        "seconds": {},
        "report": None,
    }


def _broken_contract(validation: dict[str, Any]) -> str:
    share = f"{validation['quarantined']} of {validation['rows']} rows quarantined"
    broken = [_broken(e) for e in validation["expectations"] if not e["success"] and e["scope"] == "batch"]
    reasons = ", ".join(f"{reason} ({count})" for reason, count in list(validation["reasons"].items())[:4])
    return "; ".join(
        filter(
            None, [share, f"broken: {'; '.join(broken)}" if broken else "", f"reasons: {reasons}" if reasons else ""]
        )
    )


def _broken(expectation: dict[str, Any]) -> str:
    """What does not hold, and the figure that says so."""
    figure = "" if expectation["observed"] is None else f" ({expectation['observed']:g})"
    return f"{expectation['reason']}{figure}, the rule that {RULES[expectation['reason']]}"


def _told(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a few lines of Markdown for people."""
    lines = [f"**{document['outcome'].replace('_', ' ')}** - {document['reason']}", ""]
    if document["metrics"]:
        accuracy = document["metrics"]["execution_accuracy"]
        base = (document.get("base_metrics") or {}).get("execution_accuracy")
        champion = (document.get("champion_metrics") or {}).get("execution_accuracy")
        told = f"- execution accuracy: challenger {accuracy:.3f}"
        told += f", base {base:.3f}" if base is not None else ""
        told += f", champion (version {document['champion']}) {champion:.3f}" if champion is not None else ""
        lines += [told]
    lines += [f"- {gate['status']}: {gate['id']} - {gate['evidence']}" for gate in document["gates"] or []]
    return document | {"summary": "\n".join(lines)}
