"""MLflow follows the ledger through crashes, outages and losses, and a person who moves the alias is heard."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from infra.errors import NightshiftError
from registry import releases
from registry.attached import VERDICTS, attach_verdict
from registry.ledger import LedgerBroken, StalePromotion
from registry.releases import PREVIOUS_ALIAS, PRODUCTION_ALIAS
from tests.registry.shown import aliases_of, production_version

WRITES = ["set_registered_model_alias", "transition_model_version_stage", "set_registered_model_tag"]


@pytest.mark.parametrize("step", [*WRITES, "second alias"])
def test_a_crash_between_the_ledger_and_mlflow_is_repaired(world, monkeypatch, step):
    world.next("n1")
    verdict = world.verdict(world.register("n2"))
    cls = type(world.client)
    original, calls = getattr(cls, step, cls.set_registered_model_alias), []

    def crash(self, *args, **more):
        calls.append(args)
        if step == "second alias" and len(calls) == 1:
            return original(self, *args, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cls, step if step in WRITES else WRITES[0], crash)
        with pytest.raises(KeyboardInterrupt):
            world.promote(verdict)
    assert world.ledger.head().version == "2"
    repaired = world.project()
    assert (repaired.changed, repaired.heard, repaired.unsanctioned) == (True, False, None)
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "2", PREVIOUS_ALIAS: "1"}
    assert world.stages == {"1": "Archived", "2": "Production"}
    assert world.project().changed is False
    assert world.promote(verdict).number == 2


def outage(*args, **more):
    raise MlflowException("connection refused")


@pytest.mark.parametrize("call", ["get_registered_model", "get_model_version", "set_model_version_tag", "log_text"])
def test_a_registry_outage_never_promotes(world, monkeypatch, call):
    verdict = world.verdict(world.register("n1"))
    with monkeypatch.context() as patch:
        patch.setattr(type(world.client), call, outage)
        with pytest.raises(MlflowException, match="refused"):
            world.promote(verdict)
    assert world.nothing_promoted()


def test_an_outage_is_not_an_absent_champion(world, monkeypatch):
    world.register("n1")
    assert production_version(world.name) is None
    with pytest.raises(MlflowException, match="not found"):
        production_version("never-registered")
    monkeypatch.setattr(type(world.client), "get_registered_model", outage)
    with pytest.raises(MlflowException, match="refused"):
        production_version(world.name)
    with pytest.raises(MlflowException, match="refused"):
        world.project()


def test_a_lost_or_shortened_ledger_stops_everything(world, tmp_path):
    world.next("n1")
    world.next("n2")
    release = world.register("n3")
    for lost in ([2], [1, 2]):
        for number in lost:
            world.store.delete(world.ledger.key(number))
        with pytest.raises(LedgerBroken, match="entry 2 is missing"):
            world.project()
        with pytest.raises(LedgerBroken):
            world.promote(world.verdict(release))
        assert production_version(world.name) == "2"


def test_a_lost_model_is_an_error_and_no_model_is_nothing_to_show(world):
    assert world.project().entry is None
    world.next("n1")
    world.client.delete_registered_model(world.name)
    with pytest.raises(NightshiftError, match="restore MLflow"):
        world.project()


def test_a_person_who_moves_the_alias_to_a_passed_version_is_heard(world):
    first = world.next("n1")
    second = world.next("n2")
    world.set_production("1")
    heard = world.project()
    assert (heard.heard, heard.unsanctioned) == (True, None)
    entry = world.ledger.head()
    assert (entry.action, entry.version, entry.previous_version) == ("manual", "1", "2")
    assert (entry.adapter_hash, entry.verdict_seal) == (first.adapter_hash, first.verdict_seal)
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "1", PREVIOUS_ALIAS: "2"}
    assert world.stages == {"1": "Production", "2": "Archived"}
    assert world.project().heard is False
    assert world.ledger.verify() == 3
    # Tonight's candidate was judged against version 2: the person's decision makes that stale.
    with pytest.raises(StalePromotion):
        world.promote(world.verdict(world.register("n3"), champion=second))


@pytest.mark.parametrize("judged", [None, "fail", "needs_approval"])
def test_a_person_who_moves_the_alias_to_an_unproven_version_is_flagged_or_taken_back(world, judged):
    world.next("n1")
    release = world.register("n2")
    if judged:
        attach_verdict(world.name, "2", world.verdict(release, judged))
    world.set_production("2")
    for _ in range(2):
        assert world.project().unsanctioned == "2"
        assert production_version(world.name) == "2"
    assert world.project(take_back=True).unsanctioned == "2"
    assert production_version(world.name) == "1"
    assert world.ledger.verify() == 1
    assert world.project().unsanctioned is None


def test_a_passed_verdict_does_not_cover_changed_weights(world):
    world.next("n1")
    release = world.register("n2")
    attach_verdict(world.name, "2", world.verdict(release))
    world.client.set_model_version_tag(world.name, "2", releases.HASH_TAG, "other")
    world.set_production("2")
    assert world.project().unsanctioned == "2"
    assert world.ledger.verify() == 1


def test_a_version_whose_verdict_is_gone_from_mlflow_is_flagged_and_stops_no_command(world):
    world.next("n1")
    release = world.register("n2")
    attach_verdict(world.name, "2", world.verdict(release))
    artifacts = Path(world.client.get_run(release.run_id).info.artifact_uri.removeprefix("file://"))
    shutil.rmtree(artifacts / VERDICTS)
    world.set_production("2")
    assert world.project().unsanctioned == "2"
    assert world.project(take_back=True).taken_back
    assert production_version(world.name) == "1"


def test_the_first_production_set_by_hand_without_a_verdict_is_flagged(world):
    world.register("n1")
    world.set_production("1")
    assert world.project().unsanctioned == "1"
    assert world.project(take_back=True).changed
    assert world.nothing_promoted()


def test_a_proper_promotion_replaces_an_unproven_version(world):
    world.next("n1")
    world.register("n2")
    world.set_production("2")
    assert world.next("n3").previous_version == "1"
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "3", PREVIOUS_ALIAS: "1"}


def test_a_deleted_alias_is_made_again(world):
    world.next("n1")
    world.client.delete_registered_model_alias(world.name, PRODUCTION_ALIAS)
    assert world.project().changed
    assert production_version(world.name) == "1"


def stage(world, version, archive=True):
    """What a person does on the old stage page of MLflow."""
    world.client.transition_model_version_stage(
        world.name, version, PRODUCTION_ALIAS, archive_existing_versions=archive
    )


@pytest.mark.parametrize("archive", [True, False])
def test_a_person_who_sets_the_stage_is_heard_as_well(world, archive):
    world.next("n1")
    world.next("n2")
    stage(world, "1", archive)
    assert world.project().heard
    assert (world.ledger.head().action, world.ledger.head().version) == ("manual", "1")
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "1", PREVIOUS_ALIAS: "2"}
    assert world.stages == {"1": "Production", "2": "Archived"}


@pytest.mark.parametrize("archive", [True, False])
def test_the_stage_of_an_unproven_version_is_flagged_or_taken_back(world, archive):
    world.next("n1")
    world.register("n2")
    stage(world, "2", archive)
    for _ in range(2):
        assert world.project().unsanctioned == "2"
        assert world.stages["2"] == "Production"
    taken = world.project(take_back=True)
    assert (taken.unsanctioned, taken.taken_back) == ("2", True)
    assert world.stages == {"1": "Production", "2": "Archived"}
    assert world.project() == world.project(take_back=True)


def test_two_versions_that_people_named_at_once_are_flagged_not_chosen(world):
    for night in ("n1", "n2", "n3"):
        world.next(night)
    world.set_production("1")
    stage(world, "2")
    assert world.project().unsanctioned == "1, 2"
    assert world.ledger.verify() == 3


def test_the_first_production_set_by_stage_without_a_verdict_is_taken_back(world):
    world.register("n1")
    stage(world, "1")
    assert world.project().unsanctioned == "1"
    assert world.project(take_back=True).changed
    assert world.stages == {"1": "Archived"}
    assert world.project().unsanctioned is None


def test_nothing_is_locked_or_written_where_mlflow_already_agrees(world, monkeypatch):
    world.next("n1")
    leases = world.store.list("leases")

    def write(*args, **more):
        raise AssertionError("written")

    for name in WRITES:
        monkeypatch.setattr(type(world.client), name, write)
    assert world.project().changed is False
    assert world.store.list("leases") == leases
