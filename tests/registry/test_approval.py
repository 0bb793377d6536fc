"""Approval: when a person is asked, that exactly one decision counts, and that time decides if nobody does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from pydantic import TypeAdapter, ValidationError

from infra.errors import UserError
from registry import releases
from registry.approval import (
    TIMED_OUT,
    Approval,
    ApprovalPolicy,
    DecisionMade,
    approval_reason,
    decide_request,
    find_request,
    pending_requests,
    request_approval,
    request_key,
)
from registry.attached import attach_verdict
from registry.decisions import carry_out, reject_overdue
from registry.promotion import PromotionRefused
from tests.registry.shown import production_version


def policy(value):
    return TypeAdapter(Approval).validate_python(value)


WHEN = {"first_release": True, "gain_below": 0.03, "base_model_changed": True}


@pytest.mark.parametrize(
    ("value", "champion", "gain", "base", "asked"),
    [
        ("auto", "1", 0.0, "other", None),
        ("manual", None, None, None, "named person"),
        ({"when": WHEN}, None, None, None, "first release"),
        ({"when": WHEN}, "1", 0.029, "tiny", "below 0.03"),
        ({"when": WHEN}, "1", None, "tiny", "unknown"),
        ({"when": WHEN}, "1", 0.03, "tiny", None),
        ({"when": WHEN}, "1", 0.5, "other", "base model other"),
        ({"when": WHEN}, "1", 0.5, None, "base model None"),
        ({"when": {"gain_below": 0.03}}, None, None, None, None),
    ],
)
def test_when_a_person_is_asked(world, value, champion, gain, base, asked):
    verdict = world.verdict(
        world.register("n1"), champion_version=champion, champion_adapter_hash=champion and "h", champion=None
    )
    found = approval_reason(policy(value), verdict, gain, base, "tiny")
    assert (found is None) == (asked is None)
    assert (asked or "") in (found or "")


def test_a_gate_that_asks_is_named_whatever_the_policy(world):
    assert "g: 0.8" in approval_reason("auto", world.verdict(world.register("n1"), "needs_approval"), 1.0, "t", "t")


@pytest.mark.parametrize("value", ["sometimes", {"when": {}}, {"when": {"gain": 1}}, {"when": {"gain_below": 0}}])
def test_a_policy_that_makes_no_sense_is_refused(value):
    with pytest.raises(ValidationError):
        policy(value)
    assert isinstance(policy({"when": {"first_release": True}}), ApprovalPolicy)


@pytest.fixture
def waiting(world):
    """A version that waits, with its verdict."""
    verdict = world.verdict(world.register("n1"), "needs_approval")
    attach_verdict(world.name, "1", verdict)
    request_approval(world.store, world.name, verdict, "close call", hours=1)
    return verdict


def decide(world, verdict, decision="approve", by="Ada", reason="read the report"):
    return decide_request(world.store, world.name, verdict, decision, by, reason)


def overdue(world):
    """Make the request one whose time is over."""
    request = find_request(world.store, world.name, "1")
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="seconds")
    world.store.write_json(request_key(world.name, "1"), request.model_dump() | {"deadline": past})


def test_an_approval_promotes_and_names_the_approver(world, waiting):
    assert [r.version for r in pending_requests(world.store, world.name)] == ["1"]
    entry = carry_out(world.store, world.name, waiting, decide(world, waiting))
    assert (entry.approver, entry.actor, entry.reason) == ("Ada", "Ada", "read the report")
    assert pending_requests(world.store, world.name) == []
    # The same command again, after a crash, ends where it ended.
    assert carry_out(world.store, world.name, waiting, decide(world, waiting)) == entry


def test_a_rejection_is_final(world, waiting):
    assert carry_out(world.store, world.name, waiting, decide(world, waiting, "reject", reason="too slow")) is None
    assert "rejected by Ada: too slow" in releases.get_release(world.name, "1").tags[releases.REJECTED_TAG]
    with pytest.raises(DecisionMade, match="reject by Ada"):
        decide(world, waiting, by="Bob")
    with pytest.raises(PromotionRefused, match="rejected by Ada"):
        world.promote(waiting, approver="Bob")
    world.set_production("1")
    assert world.project().unsanctioned == "1"
    assert world.ledger.entries() == []


def test_time_decides_if_nobody_does(world, waiting):
    assert reject_overdue(world.store, world.name) == []
    overdue(world)
    assert reject_overdue(world.store, world.name) == ["1"]
    assert reject_overdue(world.store, world.name) == []
    with pytest.raises(DecisionMade, match=f"reject by {TIMED_OUT}"):
        decide(world, waiting)
    assert world.nothing_promoted()


def test_a_yes_that_comes_too_late_is_a_rejection(world, waiting):
    overdue(world)
    decision = decide(world, waiting)
    assert (decision.decision, decision.approver) == ("reject", TIMED_OUT)
    assert carry_out(world.store, world.name, waiting, decision) is None
    assert world.nothing_promoted()


def test_time_does_not_answer_a_question_that_was_asked_about_an_older_verdict(world, waiting):
    overdue(world)
    again = world.verdict(world.register("n1"), "pass", night="another")
    attach_verdict(world.name, "1", again)
    assert reject_overdue(world.store, world.name) == []
    assert world.promote(again).version == "1"


def test_a_person_who_sets_production_in_mlflow_has_decided(world):
    verdict = world.verdict(world.register("n1"))
    attach_verdict(world.name, "1", verdict)
    request_approval(world.store, world.name, verdict, "the recipe asks a named person", hours=1)
    world.set_production("1")
    assert world.project().heard
    overdue(world)
    assert pending_requests(world.store, world.name) == []
    assert reject_overdue(world.store, world.name) == []
    assert releases.REJECTED_TAG not in releases.get_release(world.name, "1").tags


def test_a_person_who_sets_production_in_mlflow_too_late_is_flagged(world):
    verdict = world.verdict(world.register("n1"))
    attach_verdict(world.name, "1", verdict)
    request_approval(world.store, world.name, verdict, "the recipe asks a named person", hours=1)
    overdue(world)
    world.set_production("1")
    assert world.project().unsanctioned == "1"
    assert world.ledger.entries() == []


def test_what_is_in_production_is_rolled_back_and_not_rejected(world):
    """Else the command would say that a version is rejected while it serves."""
    verdict = world.verdict(world.register("n1"))
    world.promote(verdict)
    with pytest.raises(DecisionMade, match="nightshift rollback takes it out"):
        decide(world, verdict, "reject")
    assert releases.REJECTED_TAG not in releases.get_release(world.name, "1").tags


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_nobody_decides_about_what_its_gates_rejected(world, decision):
    verdict = world.verdict(world.register("n1"), "fail")
    with pytest.raises(DecisionMade, match="rejected by its gates"):
        decide(world, verdict, decision)


def test_of_a_yes_a_no_and_others_exactly_one_counts(world, waiting):
    barrier = Barrier(6)

    def person(number):
        barrier.wait(30)
        try:
            return decide(world, waiting, "approve" if number % 2 else "reject", by=f"p{number}")
        except DecisionMade:
            return None

    with ThreadPoolExecutor(6) as pool:
        made = [decision for decision in pool.map(person, range(6)) if decision]
    assert len(made) == 1
    entry = carry_out(world.store, world.name, waiting, made[0])
    assert (entry is not None) == (made[0].decision == "approve")
    assert production_version(world.name) == ("1" if entry else None)


def test_a_decision_needs_a_name_and_a_reason(world, waiting):
    for missing in ({"by": " "}, {"reason": ""}):
        with pytest.raises(UserError, match="name of who decides"):
            decide(world, waiting, **missing)


def test_an_answer_to_an_old_question_does_not_count_for_a_new_verdict(world, waiting):
    decide(world, waiting)
    again = world.verdict(world.register("n1"), "needs_approval", night="another")
    attach_verdict(world.name, "1", again)
    request_approval(world.store, world.name, again, "judged anew", hours=1)
    assert [r.verdict_seal for r in pending_requests(world.store, world.name)] == [again.sealed]
    with pytest.raises(PromotionRefused, match="another verdict"):
        carry_out(world.store, world.name, waiting, decide(world, waiting))
    assert world.nothing_promoted()
