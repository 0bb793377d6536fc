"""Drift of reality is found, named and explained; what is as decided is not complained about."""

from __future__ import annotations

import os
import shutil

import pytest

from flows.watching import look as look_at_all
from infra.errors import UserError
from infra.lease import place_of_processes
from infra.store import LocalStore
from registry.attached import VERDICTS
from registry.drift import LEAST_JUDGEMENTS, describe, find_drift
from registry.promotion import reject
from registry.releases import registered_names
from tasks.data.feedback import Feedback, write_feedback
from tests.registry.test_rollback import files_of


def look(world, **more):
    return find_drift(world.store, world.name, world.project(**more), LocalStore(world.folder / "feedback"))


def codes(findings):
    return [(finding.code, finding.level, finding.version) for finding in findings]


def test_as_decided(world):
    assert look(world) == []
    world.next("n1")
    projection = world.project()
    assert look(world) == []
    document = describe(world.store, world.name, projection, [])
    assert document["production"]["version"] == "1"
    assert document["production"]["reason"] == "gates passed"
    assert (document["previous"], document["awaiting_approval"], document["findings"]) == (None, [], [])


def test_the_newest_version_says_why_it_was_rejected_until_a_newer_one_is_in_production(world):
    world.next("n1")
    assert look_at_all(Places(world), [world.name])[0]["rejected"] is None
    candidate = world.register("n2")
    reject(world.name, candidate.version, world.verdict(candidate, "fail"), "too slow")
    (seen,) = look_at_all(Places(world), [world.name])
    assert (seen["production"]["version"], seen["rejected"]) == ("1", {"version": "2", "reason": "too slow"})
    assert seen["findings"] == []
    world.next("n3")
    assert look_at_all(Places(world), [world.name])[0]["rejected"] is None


class Places:
    """Settings that name a world's store."""

    def __init__(self, world):
        self.open_store = lambda: world.store
        self.open_feedback = lambda: LocalStore(world.folder / "feedback")


def test_a_broken_ledger_is_an_error_and_hides_no_other_release(world):
    world.next("n1")
    world.store.write(f"ledger/{world.name}-broken/00000001.json", b"{}")
    seen = {one["release"]: one for one in look_at_all(Places(world))}
    (finding,) = seen[f"{world.name}-broken"]["findings"]
    assert (finding["code"], finding["level"]) == ("unreadable", "error")
    assert "cannot be read" in finding["summary"]
    assert (seen[world.name]["production"]["version"], seen[world.name]["findings"]) == ("1", [])


def test_a_name_that_nobody_knows_is_no_clean_bill(world):
    world.next("n1")
    with pytest.raises(UserError, match=f"no release 'typo'; known are: .*{world.name}"):
        look_at_all(Places(world), ["typo"])


def test_production_without_a_verdict(world):
    world.next("n1")
    world.register("n2")
    world.set_production("2")
    (finding,) = look(world)
    assert (finding.code, finding.level, finding.version) == ("unsanctioned", "error", "2")
    assert "the ledger says version 1" in finding.summary
    assert "--take-back" in finding.resolution
    (finding,) = look(world, take_back=True)
    assert "taken back" in finding.summary
    assert look(world) == []


def test_a_model_that_was_never_promoted_is_watched_too_and_other_peoples_are_not(world):
    world.register("n1")
    world.client.create_registered_model(f"{world.name}-foreign")
    assert world.name in registered_names()
    assert f"{world.name}-foreign" not in registered_names()
    world.set_production("1")
    (finding,) = look(world)
    assert "the ledger says nothing" in finding.summary


def test_files_that_are_gone(world):
    world.next("n1")
    shutil.rmtree(files_of(world, "1"))
    assert codes(look(world)) == [("artifacts_gone", "error", "1")]


def test_a_verdict_that_is_gone_or_altered(world):
    entry = world.next("n1")
    path = files_of(world, "1").parents[1] / VERDICTS / f"1-{entry.verdict_seal}.json"
    text = path.read_text()
    path.write_text(text.replace('"value": 0.8', '"value": 0.9'))
    (finding,) = look(world)
    assert (finding.code, finding.level) == ("no_verdict", "error")
    assert "altered" in finding.summary
    path.unlink()
    assert codes(look(world)) == [("no_verdict", "error", "1")]


def test_a_process_that_serves_another_version(world):
    world.next("n1")
    here, never = place_of_processes(), 2**22 + 1  # no process of this machine has that id
    for process, pid, place, version in (
        ("here", os.getpid(), here, "1"),
        ("elsewhere", never, "a container on the network of this host", "1"),
        ("gone", never, here, "0"),
    ):
        note = {"version": version, "pid": pid, "place": place}
        world.store.write_json(f"serving/{world.name}/{process}.json", note)
    assert look(world) == []
    world.next("n2")
    found = look(world)
    assert codes(found) == [("serving_differs", "warning", "1")] * 2
    assert {finding.summary.split()[0] for finding in found} == {"here", "elsewhere"}


@pytest.mark.parametrize(("wrong", "right", "bad"), [(9, 0, False), (10, 0, True), (10, 9, False), (0, 20, False)])
def test_feedback_that_turned_bad(world, wrong, right, bad):
    assert LEAST_JUDGEMENTS == 10
    world.next("n1")
    store = LocalStore(world.folder / "feedback")
    for number in range(wrong + right):
        record = Feedback(
            question=f"question {number}",
            db_id="cars",
            ddl="CREATE TABLE cars (id INTEGER)",
            sql="SELECT 1",
            verdict="wrong" if number < wrong else "right",
            release=world.name,
            version="1",
            time="2026-01-01T00:00:00+00:00",
        )
        write_feedback(store, record)
        write_feedback(store, record.model_copy(update={"version": "0", "verdict": "wrong"}))
    assert codes(look(world)) == ([("feedback_bad", "warning", "1")] if bad else [])
