"""Registering, listing and fetching adapters, against a real MLflow on SQLite."""

from __future__ import annotations

import json

import pytest

from infra import tracking
from infra.errors import UserError
from registry.attached import attach_verdict, attached_verdict
from registry.download import AdapterChanged, download_adapter
from registry.releases import list_releases, register_candidate


def test_the_same_night_and_adapter_is_the_same_version(world):
    first = world.register("n1")
    assert world.register("n1") == first
    assert world.register("n2").version == "2"
    assert first.tags["nightshift.base_model"] == "tiny"


def test_a_night_repeated_with_another_adapter_leaves_the_first_files_alone(world, tmp_path):
    first = world.register("n1", weights="old")
    second = world.register("n1", weights="new")
    assert (first.version, second.version) == ("1", "2")
    assert (download_adapter(world.name, "1", tmp_path / "a") / "weights.safetensors").read_bytes().endswith(b"old")
    assert (download_adapter(world.name, "2", tmp_path / "b") / "weights.safetensors").read_bytes().endswith(b"new")


def test_a_download_is_the_adapter_or_an_error(world, tmp_path):
    release = world.register("n1")
    files = download_adapter(world.name, "1", tmp_path / "out")
    assert sorted(p.name for p in files.rglob("*") if p.is_file()) == [
        "notes.json",
        "prompt.json",
        "weights.safetensors",
    ]
    with pytest.raises(UserError, match="not empty"):
        download_adapter(world.name, "1", tmp_path / "out")
    tracking.client().log_text(release.run_id, "tampered", f"adapter/{release.adapter_hash}/weights.safetensors")
    with pytest.raises(AdapterChanged, match="do not use"):
        download_adapter(world.name, "1", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_empty_adapter_is_refused(world, tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="no adapter"):
            register_candidate(world.name, "run", folder / "x", "n1", {}, "")


def test_releases_have_the_contracts_form(world):
    release = world.register("n1")
    (row,) = list_releases(world.name)
    assert (row.verdict, row.aliases, row.stage, row.metrics) == (None, [], "None", {})
    verdict = world.verdict(release)
    attach_verdict(world.name, "1", verdict, {"execution_accuracy": 0.8})
    assert attached_verdict(world.name, "1") == verdict
    world.promote(verdict)
    (row,) = list_releases(world.name)
    document = json.loads(row.model_dump_json())
    assert document.pop("created").endswith("+00:00")
    assert document == {
        "name": world.name,
        "version": "1",
        "aliases": ["Production"],
        "stage": "Production",
        "verdict": "pass",
        "metrics": {"execution_accuracy": 0.8},
        "run_id": release.run_id,
    }
    assert world.name in {row.name for row in list_releases()}
    assert list_releases("unknown") == []
