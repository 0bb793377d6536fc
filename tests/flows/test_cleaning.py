"""What `clean` may take: nothing of a release, a running night or a new one, and never a byte of the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cleaning import clean_up, summary
from infra.lease import Lease
from infra.settings import Settings
from infra.store import MARKER, LocalStore
from registry.ledger import Ledger


class Home:
    """A home folder with nights in it; each has a stage and a dataset, and scratch on this machine."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder)
        self.store: Any = self.settings.open_store()

    def night(self, name: str, day: int, stages: tuple[str, ...], recipe: str = "r", whole: bool = True) -> None:
        for part, document in {
            "night": {"recipe": {"name": recipe}, "created": f"2026-01-{day:02d}T04:00:00Z"},
            "stages": {"stages": stages},
            "prepare": {"dataset": {"key": f"datasets/{name}"}},
            "train": {"stages": [{"fingerprint": stage} for stage in stages]} if whole else None,
        }.items():
            if document is not None:
                self.store.write_json(f"nights/{name}/{part}.json", document)
        for stage in stages:
            self.store.write(f"stages/{stage}/adapter/weights.safetensors", b"w" * 1_000_000)
            self.store.close_tree(f"stages/{stage}")
        self.store.write(f"datasets/{name}/train.jsonl", b"r" * 500_000)
        self.store.write_json(f"datasets/{name}/manifest.json", {"ids": {}})
        self.store.close_tree(f"datasets/{name}")
        (self.settings.work / name).mkdir(parents=True)
        (self.settings.work / name / "checkpoint").write_bytes(b"c" * 2_000_000)

    def clean(self, keep: int, dry_run: bool = False, **released: str | None) -> dict[str, Any]:
        return clean_up(self.settings, keep, dry_run, released)

    def files(self) -> set[str]:
        root = self.settings.root
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_newest_of_each_recipe_stay_and_a_dry_run_says_what_would_go(home: Home) -> None:
    home.night("old", 1, ("s1", "shared"))
    home.night("new", 2, ("s2", "shared"))
    home.night("other", 1, ("s3",), recipe="another")
    before = home.files()
    planned = home.clean(1, dry_run=True)
    assert home.files() == before
    assert planned["old"] == ["old"]
    assert {(one["kind"], one["place"], one["megabytes"]) for one in planned["removed"]} == {
        ("scratch", "old", 2.0),
        ("stage", "stages/s1", 1.0),
        ("dataset", "datasets/old", 0.5),
    }
    done = home.clean(1)
    assert done | {"dry_run": True} == planned
    gone = before - home.files()
    assert gone == {
        "work/old/checkpoint",
        "store/stages/s1/adapter/weights.safetensors",
        f"store/stages/s1/{MARKER}",
        "store/datasets/old/train.jsonl",
        f"store/datasets/old/{MARKER}",
    }
    assert home.clean(1)["removed"] == []


def test_a_release_keeps_its_night_however_old(home: Home) -> None:
    for day, name in enumerate(("production", "waiting", "passed", "rejected", "new"), start=1):
        home.night(name, day, (f"stage-{name}",))
    Ledger(home.store, "sql").append(
        "promote", after=None, version="1", adapter_hash="a", verdict_seal="s", actor="me", reason="better",
        night="production", champion_at_decision=None,
    )  # fmt: skip
    ledger = {key: home.store.read(key) for key in home.store.list("ledger")}
    told = home.clean(1, production="fail", waiting="needs_approval", passed="pass", rejected="fail")
    assert told["old"] == ["rejected"]
    assert {one["night"]: one["why"] for one in told["kept"]}["production"] == "sql version 1 was in Production"
    for name in ("production", "waiting", "passed", "new"):
        assert home.store.has_tree(f"stages/stage-{name}")
        assert home.store.has_tree(f"datasets/{name}")
        assert (home.settings.work / name / "checkpoint").exists()
    assert not home.store.has_tree("stages/stage-rejected")
    assert {key: home.store.read(key) for key in home.store.list("ledger")} == ledger


def test_while_a_night_runs_nothing_that_nights_share_goes(home: Home) -> None:
    home.night("older", 1, ("s1",))
    home.night("running", 2, ("s2",), whole=False)
    home.night("new", 3, ("s3",))
    with Lease(home.store, "running"):
        told = home.clean(1)
        assert (told["running"], told["old"]) == (["running"], ["older"])
        assert [one["kind"] for one in told["removed"]] == ["scratch"]
    assert home.store.has_tree("stages/s1")
    # Broken off and old: what it had finished goes as well.
    told = home.clean(1)
    assert {one["place"] for one in told["removed"]} >= {"stages/s1", "stages/s2", "datasets/running"}


@pytest.mark.parametrize(
    ("lease", "told"), [("studies/k1", "study k1"), ("sweeps/k2/by-1", "search k2"), ("sweeps/k2/4", "search k2")]
)
def test_while_an_experiment_runs_its_data_stay(home: Home, lease: str, told: str) -> None:
    home.night("old", 1, ("s1",))
    home.night("new", 2, ("s2",))
    with Lease(home.store, lease):
        found = home.clean(1)
        assert (found["running"], found["experiments"]) == ([], [told])
        assert f"; {told} runs, so stages and datasets stay" in summary(found)
        assert [one["kind"] for one in found["removed"]] == ["scratch"]
    assert home.clean(1)["experiments"] == []
    assert not home.store.has_tree("datasets/old")


def test_checkpoints_of_a_broken_stage_go_with_its_night(home: Home) -> None:
    for day, name in enumerate(("broken", "new"), start=1):
        home.night(name, day, (name,), whole=False)
        home.store.write(f"checkpoints/{name}/20/checkpoint-20/weights.safetensors", b"c" * 1_500_000)
        home.store.close_tree(f"checkpoints/{name}/20")
    told = home.clean(1)
    assert ("checkpoint", "checkpoints/broken", 1.5) in {tuple(one.values()) for one in told["removed"]}
    assert home.store.list("checkpoints") == [
        f"checkpoints/new/20/{MARKER}",
        "checkpoints/new/20/checkpoint-20/weights.safetensors",
    ]


def test_a_tree_that_is_half_gone_is_not_taken_for_whole(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.night("old", 1, ("s1",))
    home.night("new", 2, ("s2",))
    deleted = []

    def delete(self: LocalStore, key: str) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleted.append(key)
        self.path(key).unlink()

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", delete)
        with pytest.raises(KeyboardInterrupt):
            home.clean(1)
    (first,) = deleted
    assert not home.store.has_tree(first.rpartition("/")[0])
    home.clean(1)
    assert json.loads(home.store.read("datasets/old/manifest.json")) == {"ids": {}}
    assert home.store.list("stages/s1") == []
