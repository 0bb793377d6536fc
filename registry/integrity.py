"""Rules that every verdict contains, whatever the recipe asks: sound data, no leak, and gold that can tell right from
wrong.

Pure. Accuracy over leaked or empty-handed examples is no accuracy, so no recipe can leave these out and no person can
approve past them. What could not be looked at fails. Limits: a leak is a shared row id or a shared database; questions
that were reworded under a new id are the matter of the data preparation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.gates import GateOutcome
from tasks.evaluation.scorecard import Scorecard

LEAST_TELLING = 0.5  # share of test examples whose gold query must return rows
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Taught:
    """What a model was trained on, or what a test split holds: row ids and databases."""

    ids: frozenset[str]
    databases: frozenset[str]


def integrity_outcomes(
    prepared: Mapping[str, Any] | None,
    test: Taught | None,
    challenger: Taught | None,
    champion: Taught | None,
    card: Scorecard | None,
    *,
    champion_absent: bool = False,
) -> list[GateOutcome]:
    """The outcomes of all integrity rules. `prepared` is what the night's prepare step left; `champion_absent` says
    that the ledger holds no promotion."""
    outcomes = [
        _data(prepared),
        _leak("challenger", challenger, test),
        _telling(card),
    ]
    if not champion_absent:
        outcomes.insert(2, _leak("champion", champion, test))
    return outcomes


def _outcome(id: str, rule: str, value: float | None, threshold: float, held: bool, told: Sequence[str]) -> GateOutcome:
    evidence, resolution = told
    return GateOutcome(
        id=id,
        metric=id.partition(" ")[0],
        slice=None,
        rule=rule,
        value=value,
        threshold=threshold,
        status="pass" if held else "fail",
        evidence=evidence,
        resolution="" if held else resolution,
    )


def _data(prepared: Mapping[str, Any] | None) -> GateOutcome:
    id, rule = "data_validation", "the data contract holds"
    checked = (prepared or {}).get("validation")
    if not checked or not checked.get("expectations"):
        return _outcome(id, rule, None, 0.0, False, ("the night has no validation result", "run prepare again"))
    broken = [e.get("name", "?") for e in checked["expectations"] if e.get("scope") == "batch" and not e.get("success")]
    held = prepared is not None and prepared.get("accepted") is True and checked.get("success") is True and not broken
    evidence = f"{len(checked['expectations'])} expectations, {checked.get('quarantined')} rows quarantined"
    evidence += f"; broken: {', '.join(map(str, broken[:SHOWN]))}" if broken else ""
    value = float(len(broken) or (0 if held else 1))
    return _outcome(id, rule, value, 0.0, held, (evidence, "mend the data, or the validation part of the recipe"))


def _leak(role: str, taught: Taught | None, test: Taught | None) -> GateOutcome:
    id, rule = f"contamination {role}", f"the {role} was not trained on tonight's test"
    if test is None or not test.ids:
        return _outcome(id, rule, None, 0.0, False, ("tonight's test split is not known", "run prepare again"))
    if taught is None or not taught.ids:
        told = f"what the {role} was trained on is not recorded"
        return _outcome(id, rule, None, 0.0, False, (told, "keep the dataset's manifest in the store"))
    rows, databases = sorted(taught.ids & test.ids), sorted(taught.databases & test.databases)
    shown = ", ".join((rows + databases)[:SHOWN])
    evidence = f"{len(rows)} rows and {len(databases)} databases of the test in its training" + (
        f": {shown}" if shown else ""
    )
    resolution = "give these databases to test or to training, not to both; retrain"
    return _outcome(id, rule, float(len(rows) + len(databases)), 0.0, not shown, (evidence, resolution))


def _telling(card: Scorecard | None) -> GateOutcome:
    id, rule = "telling_gold", "gold queries return rows"
    if card is None or card.n == 0:
        return _outcome(id, rule, None, LEAST_TELLING, False, ("the challenger has no scorecard", "evaluate it"))
    share = card.gold.ok / card.n
    evidence = f"gold returns rows on {card.gold.ok} of {card.n} examples ({card.gold.failed} do not run)"
    resolution = "fill the test databases: on empty tables nearly every query is right"
    return _outcome(id, rule, share, LEAST_TELLING, share >= LEAST_TELLING, (evidence, resolution))
