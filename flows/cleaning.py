"""What old nights leave on disk, and removing it by policy: the newest nights and everything behind a release stay.

A night is kept when it is among the newest of its recipe, when it runs, or when a release rests on it: a version that
was ever in Production, or one whose gates did not reject it. Of the others go the adapters of their stages, the
checkpoints uploaded of broken ones, the rows of their datasets and their scratch folders on this machine. Every
document stays: recipe, outcomes, scorecards, predictions, manifests, reports, approvals; so do the ledger and all of
MLflow. What goes can be made again by the same night. Limits: stages and datasets are shared between nights, so while a
night, a search or a study runs none of them goes; scratch folders are those of the machine that this runs on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import Busy, NotFound
from infra.lease import Lease
from infra.settings import Settings
from infra.store import MARKER, Store
from infra.tracking import NIGHT_TAG
from registry.ledger import Ledger, known_releases
from tasks.data.dataset import MANIFEST
from tasks.training.curriculum import stage_key
from tasks.training.uploads import checkpoints_key

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Old:
    """Something that goes: of the store (`stage`, `checkpoint`, `dataset`), or a folder of this machine (`scratch`)."""

    kind: str
    place: str
    files: tuple[str, ...]
    megabytes: float


def clean_up(
    settings: Settings, keep_nights: int, dry_run: bool, released: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Remove what policy no longer keeps, or say what would go; the `nightshift clean --json` document.

    `released` are the nights of registered versions with the status of their verdicts; MLflow is asked when it is None.
    """
    store = settings.open_store()
    nights = _nights(store)
    running = sorted(night for night in nights if Lease(store, night).holder() is not None)
    experiments = _experiments(store)
    kept = dict.fromkeys(running, "runs")
    kept |= {night: why for night, why in _of_releases(store, released).items() if night in nights}
    kept |= {night: f"one of the newest {keep_nights}" for night in _newest(nights, keep_nights) if night not in kept}
    gone = sorted(set(nights) - set(kept))
    old = [*_scratch(settings.work, gone)]
    if not running and not experiments:
        old += _shared(store, gone, kept)
    if not dry_run:
        _remove(store, settings.work, old)
    return {
        "schema_version": SCHEMA_VERSION,
        "dry_run": dry_run,
        "kept": [
            {"night": night, "recipe": nights[night]["recipe"]["name"], "why": why}
            for night, why in sorted(kept.items())
        ],
        "old": gone,
        "running": running,
        "experiments": experiments,
        "removed": [{"kind": one.kind, "place": one.place, "megabytes": one.megabytes} for one in old],
        "megabytes": round(sum(one.megabytes for one in old), 1),
    }


def summary(told: Mapping[str, Any]) -> str:
    """What was done, in a line."""
    verb = "would go" if told["dry_run"] else "gone"
    line = f"{len(told['removed'])} things of {len(told['old'])} old nights {verb}, {told['megabytes']:,} MB"
    running = ", ".join([*(f"night {night}" for night in told["running"]), *told["experiments"]])
    return f"{line}; {running} runs, so stages and datasets stay this time" if running else line


def _nights(store: Store) -> dict[str, dict[str, Any]]:
    """The frozen document of every night, by its id."""
    keys = [key for key in store.list("nights") if key.endswith("/night.json")]
    return {key.split("/")[1]: store.read_json(key) for key in keys}


def _experiments(store: Store) -> list[str]:
    """The searches and studies that run now: those of whose leases one is held."""
    found = set()
    for kind, folder in (("search", "sweeps"), ("study", "studies")):
        keys = set(store.list(f"leases/{folder}"))
        held = {key for key in keys if key.endswith(".holder") and f"{key.removesuffix('holder')}released" not in keys}
        for name in {key.removeprefix("leases/").rpartition("/")[0] for key in held}:
            if Lease(store, name).holder() is not None:
                found.add(f"{kind} {name.split('/')[1]}")
    return sorted(found)


def _newest(nights: Mapping[str, Mapping[str, Any]], number: int) -> Iterable[str]:
    """The ids of the newest nights of each recipe."""
    by_recipe: dict[str, list[str]] = {}
    for night in sorted(nights, key=lambda night: str(nights[night]["created"]), reverse=True):
        by_recipe.setdefault(nights[night]["recipe"]["name"], []).append(night)
    return [night for found in by_recipe.values() for night in found[:number]]


def _of_releases(store: Store, released: Mapping[str, str | None] | None) -> dict[str, str]:
    """The nights that releases rest on, and which: from the registry's verdicts and the ledger."""
    found = {}
    for night, status in (_registered() if released is None else released).items():
        if status != "fail":
            found[night] = "a registered version that was not rejected"
    for name in known_releases(store):
        for entry in Ledger(store, name).entries():
            if entry.night:
                found[entry.night] = f"{name} version {entry.version} was in Production"
    return found


def _registered() -> dict[str, str | None]:
    """The night of every registered version, and its verdict's status."""
    from registry.releases import get_release, list_releases

    return {
        tags[NIGHT_TAG]: row.verdict
        for row in list_releases()
        if NIGHT_TAG in (tags := get_release(row.name, row.version).tags)
    }


def _shared(store: Store, gone: Iterable[str], kept: Iterable[str]) -> list[Old]:
    """Stages, checkpoints and datasets that only old nights refer to."""
    needed = {key for night in kept for key in _trees(store, night)}
    found = []
    for key in sorted({key for night in gone for key in _trees(store, night)} - needed):
        files = tuple(name for name in store.list(key) if not name.endswith(f"/{MANIFEST}"))
        if files:
            kind = key.split("/")[0].removesuffix("s")
            found.append(Old(kind, key, files, _megabytes(store.size(file) for file in files)))
    return found


def _trees(store: Store, night: str) -> set[str]:
    """The store's keys of a night's stages, of their uploaded checkpoints, and of its dataset."""
    stages, dataset = (_read(store, f"nights/{night}/{step}.json") for step in ("stages", "prepare"))
    marks = set(stages.get("stages", ()))
    marks |= {stage["fingerprint"] for stage in _read(store, f"nights/{night}/train.json").get("stages", ())}
    trees = {key(mark) for mark in marks for key in (stage_key, checkpoints_key)}
    return trees | ({dataset["dataset"]["key"]} if "dataset" in dataset else set())


def _read(store: Store, key: str) -> dict[str, Any]:
    try:
        return store.read_json(key)
    except NotFound:
        return {}


def _scratch(work: Path, gone: Iterable[str]) -> Iterable[Old]:
    for night in gone:
        folder = work / night
        if folder.is_dir():
            sizes = (path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            yield Old("scratch", night, (), _megabytes(sizes))


def _megabytes(sizes: Iterable[int]) -> float:
    return round(sum(sizes) / 1e6, 1)


def _remove(store: Store, work: Path, old: Iterable[Old]) -> None:
    for one in old:
        if one.kind == "scratch":
            try:
                with Lease(store, one.place):  # whoever starts this night now is told that it is taken for a moment
                    shutil.rmtree(work / one.place)
            except Busy:
                continue
        else:
            # The marker first: a tree that is half gone is no longer taken for a whole one.
            for key in sorted(one.files, key=lambda key: not key.endswith(f"/{MARKER}")):
                store.delete(key)
