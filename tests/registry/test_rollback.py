"""The way back: to the version before or to any that passed, with its files checked, recorded, and safe to repeat."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import pytest

from infra import tracking
from registry.artifacts import ArtifactsGone, check_artifacts
from registry.attached import VERDICTS, attach_verdict
from registry.ledger import LedgerBroken
from registry.projection import verify
from registry.promotion import PromotionRefused, rollback
from registry.releases import PREVIOUS_ALIAS, PRODUCTION_ALIAS, get_release
from tests.registry.shown import aliases_of, production_version


def back(world, version=None, **more):
    return rollback(world.store, world.name, version, **({"actor": "Ada", "reason": "wrong dates"} | more))


def files_of(world, version):
    release = get_release(world.name, version)
    uri = tracking.client().get_run(release.run_id).info.artifact_uri
    return Path(urlparse(uri).path) / "adapter" / release.adapter_hash


def test_to_the_version_before(world):
    first = world.next("n1")
    world.next("n2")
    entry = back(world)
    assert (entry.action, entry.version, entry.previous_version, entry.actor) == ("rollback", "1", "2", "Ada")
    assert (entry.adapter_hash, entry.verdict_seal, entry.champion_at_decision) == (
        first.adapter_hash,
        first.verdict_seal,
        "2",
    )
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "1", PREVIOUS_ALIAS: "2"}
    assert world.stages == {"1": "Production", "2": "Archived"}
    assert verify(world.store, world.name) == 3


def test_a_repeated_rollback_does_not_go_forth_again(world):
    for night in ("n1", "n2", "n3"):
        world.next(night)
    entry = back(world, "1")
    assert back(world, "1") == entry
    with pytest.raises(PromotionRefused, match="name the version"):
        back(world)
    assert back(world, "2").version == "2"


def test_to_a_version_that_passed_but_never_served(world):
    passed = world.register("n1")
    attach_verdict(world.name, "1", world.verdict(passed))
    world.next("n2")
    assert back(world, "1").version == "1"


@pytest.mark.parametrize("judged", [None, "fail", "needs_approval"])
def test_never_to_one_that_did_not_pass(world, judged):
    release = world.register("n1")
    if judged:
        attach_verdict(world.name, "1", world.verdict(release, judged))
    world.next("n2")
    with pytest.raises(PromotionRefused, match="never passed"):
        back(world, "1")
    assert production_version(world.name) == "2"


def test_where_there_is_no_way_back(world):
    with pytest.raises(PromotionRefused, match="nothing in Production"):
        back(world)
    world.next("n1")
    with pytest.raises(PromotionRefused, match="nothing was there before"):
        back(world)
    with pytest.raises(PromotionRefused, match="in Production already"):
        back(world, "1")
    world.next("n2")
    for missing in ({"actor": " "}, {"reason": ""}):
        with pytest.raises(PromotionRefused, match="actor and a reason"):
            back(world, **missing)
    assert world.ledger.verify() == 2


@pytest.mark.parametrize("damage", ["gone", "other bytes", "one file gone"])
def test_files_that_no_longer_load_stop_it(world, damage):
    world.next("n1")
    world.next("n2")
    check_artifacts(world.name, "1")
    folder = files_of(world, "1")
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "one file gone":
        (folder / "prompt.json").unlink()
    else:
        (folder / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ArtifactsGone, match="version 1 cannot be fetched"):
        back(world)
    assert world.ledger.verify() == 2
    assert production_version(world.name) == "2"


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("weights.safetensors", b"\x08", "no safetensors"),
        ("weights.safetensors", b"\x02\0\0\0\0\0\0\0{}tail", "its header says"),
        ("prompt.json", b'{"format": "odd"}', "cannot be loaded"),
        ("adapter_config.json", b"{", "cannot be loaded"),
    ],
)
def test_files_that_were_registered_broken_are_found(world, file, content, told):
    release = world.register("n1")
    folder = world.folder / "adapter-n1"
    (folder / file).write_bytes(content)
    run = tracking.night_run("recipe", "n9", "night n9")
    from registry.releases import register_candidate

    release = register_candidate(world.name, run, folder, "n9", {}, "broken")
    with pytest.raises(ArtifactsGone, match=told):
        check_artifacts(world.name, release.version)


def test_verification_finds_a_verdict_that_is_gone(world):
    entry = world.next("n1")
    assert verify(world.store, world.name) == 1
    release = get_release(world.name, "1")
    uri = tracking.client().get_run(release.run_id).info.artifact_uri
    (Path(urlparse(uri).path) / VERDICTS / f"1-{entry.verdict_seal}.json").unlink()
    with pytest.raises(LedgerBroken, match="behind entry 1 is not in MLflow"):
        verify(world.store, world.name)


def test_the_flow_of_the_prefect_ui_does_the_same(world, monkeypatch):
    from flows import rollback as flows_rollback

    monkeypatch.setattr(flows_rollback, "connect", lambda: SimpleNamespace(open_store=lambda: world.store))
    world.next("n1")
    world.next("n2")
    state = flows_rollback.rollback.fn(world.name, by="Ada", reason="wrong dates")
    assert (state.name, state.is_completed()) == ("RolledBack", True)
    assert state.message == f"{world.name} version 1 is in Production again, version 2 is not"
    entry = world.ledger.head()
    assert (entry.version, entry.actor, entry.reason) == ("1", "Ada", "wrong dates")
    world.next("n3")
    flows_rollback.rollback.fn(world.name, by="Ada", reason="this one", version="2")
    assert production_version(world.name) == "2"
    with pytest.raises(PromotionRefused, match="never passed"):
        flows_rollback.rollback.fn(world.name, by="Ada", reason="x", version=world.register("n4").version)
