"""The regression split: examples that some version in Production once had right, and that must stay right.

A test example belongs to it when it carries the tag `regression` (any value: where the failure was seen). It counts as
fixed from the first version in Production that answers it correctly. The list follows from the ledger and from the
scorecards of the nights behind it; what one version fixed is kept beside the ledger, so that it is read once.
"""

from __future__ import annotations

from infra.errors import AlreadyExists, NightshiftError, NotFound
from infra.store import Store
from registry.ledger import Ledger
from tasks.evaluation.scorecard import Scorecard

DIMENSION = "regression"


def fixed_examples(store: Store, name: str) -> frozenset[str]:
    """Ids of all examples that a version in Production once had right.

    Raises NightshiftError when the scorecard behind a promotion is gone, because then nobody knows what it fixed.
    """
    found: set[str] = set()
    for version, night in {entry.version: entry.night for entry in Ledger(store, name).entries()}.items():
        key = f"regression/{name}/{version}.json"
        try:
            found.update(store.read_json(key)["fixed"])
        except NotFound:
            fixed = sorted(_right(_scorecard(store, name, version, night)))
            try:
                store.create_json(key, {"version": version, "night": night, "fixed": fixed})
            except AlreadyExists:
                fixed = store.read_json(key)["fixed"]
            found.update(fixed)
    return frozenset(found)


def _right(card: Scorecard) -> set[str]:
    return {example.id for example in card.examples if DIMENSION in example.slices and example.execution_match}


def _scorecard(store: Store, name: str, version: str, night: str | None) -> Scorecard:
    try:
        evaluated = store.read_json(f"nights/{night}/evaluate.json")
        return Scorecard.model_validate_json(store.read(evaluated["scorecards"]["challenger"]["key"]))
    except (NotFound, KeyError):
        raise NightshiftError(
            f"the scorecard of {name} version {version} (night {night}) is not in the store; restore it"
        ) from None
