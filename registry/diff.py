"""What changed between two versions: data, recipe, metrics, slices, and the examples that changed sides.

Read from what the two nights left in the store. The two are compared on one test set where that exists (the later night
scored the earlier version as its champion), else on the examples that both nights asked. Limits: a version that was not
registered by a night has nothing to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import NotFound, UserError
from infra.store import Store
from infra.tracking import NIGHT_TAG
from registry.releases import get_release
from tasks.data.dataset import MANIFEST
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.scorecard import ExampleOutcome, Scorecard
from tasks.evaluation.statistics import paired_bootstrap

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Side:
    """One version: its night's documents."""

    version: str
    night: str
    dataset: str
    recipe: dict[str, Any]
    evaluated: dict[str, Any]


def diff_versions(store: Store, name: str, a: str, b: str) -> dict[str, Any]:
    """The `nightshift diff A B --json` document; differences are B minus A. Raises UserError for a version whose night
    is not in the store."""
    sides = [_side(store, name, version) for version in (a, b)]
    cards, same_test = _cards(store, sides[0], sides[1])
    return {
        "schema_version": SCHEMA_VERSION,
        "release": name,
        "a": {"version": a, "night": sides[0].night, "dataset": sides[0].dataset},
        "b": {"version": b, "night": sides[1].night, "dataset": sides[1].dataset},
        "data": _data(store, *sides),
        "recipe": list(_changed(sides[0].recipe, sides[1].recipe)),
        **compare_scorecards(*cards),
        "same_test_set": same_test,
    }


def _side(store: Store, name: str, version: str) -> _Side:
    tags = get_release(name, version).tags
    night = tags.get(NIGHT_TAG, "")
    try:
        return _Side(
            version,
            night,
            tags.get("nightshift.dataset", ""),
            store.read_json(f"nights/{night}/night.json")["recipe"],
            store.read_json(f"nights/{night}/evaluate.json"),
        )
    except NotFound:
        raise UserError(f"{name} version {version}: its night {night or '(none)'} is not in the store") from None


def _cards(store: Store, a: _Side, b: _Side) -> tuple[tuple[Scorecard, Scorecard], bool]:
    for earlier, later in ((a, b), (b, a)):
        if (later.evaluated.get("champion") or {}).get("version") == earlier.version:
            champion = _card(store, later.evaluated, "champion")
            challenger = _card(store, later.evaluated, "challenger")
            return ((champion, challenger) if later is b else (challenger, champion)), True
    cards = _card(store, a.evaluated, "challenger"), _card(store, b.evaluated, "challenger")
    return cards, cards[0].test_fingerprint == cards[1].test_fingerprint


def _card(store: Store, evaluated: Mapping[str, Any], role: str) -> Scorecard:
    return Scorecard.model_validate_json(store.read(evaluated["scorecards"][role]["key"]))


def _data(store: Store, a: _Side, b: _Side) -> dict[str, Any]:
    """Rows that entered and left each split; None where a dataset's manifest is gone."""
    manifests = []
    for side in (a, b):
        try:
            manifests.append(store.read_json(f"datasets/{side.dataset}/{MANIFEST}"))
        except NotFound:
            return {"same": a.dataset == b.dataset, "splits": None}
    splits = {}
    for split in manifests[1]["splits"]:
        before, after = (set(manifest["ids"].get(split, ())) for manifest in manifests)
        splits[split] = {
            "a": len(before),
            "b": len(after),
            "added": len(after - before),
            "removed": len(before - after),
        }
    return {"same": a.dataset == b.dataset, "splits": splits}


def _changed(a: Any, b: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """Every value of two nested documents that differs, by dotted path; absent is null."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            yield from _changed(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, pair in enumerate(zip(a, b, strict=True)):
            yield from _changed(*pair, f"{path}.{index}")
    elif a != b:
        yield {"key": path, "a": a, "b": b}


def compare_scorecards(a: Scorecard, b: Scorecard) -> dict[str, Any]:
    """Metrics, slices and examples of two scorecards over the examples that both asked (same id, same gold)."""
    theirs = {example.id: example for example in a.examples}
    pairs = [(theirs[e.id], e) for e in b.examples if e.id in theirs and theirs[e.id].gold == e.gold]
    sides: dict[str, list[dict[str, str]]] = {"fixed": [], "broken": []}
    for before, after in pairs:
        if before.execution_match is False and after.execution_match is True:
            sides["fixed"].append(_shown(before, after))
        elif before.execution_match is True and after.execution_match is False:
            sides["broken"].append(_shown(before, after))
    return {
        "metrics": {metric: row for metric in METRICS if (row := _row(metric, pairs, interval=True))},
        "slices": _slices(pairs),
        "examples": sides | {"common": len(pairs), "only_a": a.n - len(pairs), "only_b": b.n - len(pairs)},
    }


def _shown(before: ExampleOutcome, after: ExampleOutcome) -> dict[str, str]:
    return {
        "id": after.id,
        "question": after.question,
        "gold": after.gold,
        "a_sql": before.sql,
        "b_sql": after.sql,
        "error_class": after.error_class or before.error_class or "",
    }


Pairs = list[tuple[ExampleOutcome, ExampleOutcome]]


def _row(metric: str, pairs: Pairs, interval: bool) -> dict[str, float] | None:
    values = [(x.values[metric], y.values[metric]) for x, y in pairs if metric in x.values and metric in y.values]
    if not values:
        return None
    before, after = [x for x, _ in values], [y for _, y in values]
    row = {
        "a": sum(before) / len(values),
        "b": sum(after) / len(values),
        "delta": (sum(after) - sum(before)) / len(values),
        "n": len(values),
    }
    if interval:
        found = paired_bootstrap(after, before, resamples=2_000)
        row |= {"low": found.low, "high": found.high}
    return row


def _slices(pairs: Pairs) -> dict[str, dict[str, dict[str, float]]]:
    parts: dict[str, dict[str, Pairs]] = {}
    for pair in pairs:
        for dimension, values in pair[1].slices.items():
            for value in values:
                parts.setdefault(dimension, {}).setdefault(value, []).append(pair)
    return {
        dimension: {
            value: row
            for value, part in sorted(values.items())
            if (row := _row("execution_accuracy", part, interval=False)) is not None
        }
        for dimension, values in sorted(parts.items())
    }
