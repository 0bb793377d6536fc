"""Verdicts: the status follows from the gates, and nothing changes after the seal."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from registry.gates import GateOutcome
from registry.verdict import Verdict, VerdictAltered, check, decide


def outcome(status="pass", id="g"):
    return GateOutcome(
        id=id,
        metric="execution_accuracy",
        slice=None,
        rule="at least",
        value=0.8,
        threshold=0.5,
        status=status,
        evidence="0.8",
    )


def reach(*statuses, **more):
    facts = {
        "release": "sql",
        "version": "2",
        "adapter_hash": "h2",
        "test_fingerprint": "t1",
        "champion_version": "1",
        "champion_adapter_hash": "h1",
        "night": "n1",
        "created": "2026-01-01T00:00:00+00:00",
    }
    return decide([outcome(s, f"g{i}") for i, s in enumerate(statuses)], **(facts | more))


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([], "fail"),
        (["pass", "pass"], "pass"),
        (["pass", "needs_approval"], "needs_approval"),
        (["needs_approval", "fail", "pass"], "fail"),
    ],
)
def test_the_status_is_the_worst_gate(statuses, status):
    verdict = reach(*statuses)
    assert verdict.status == status
    check(verdict)


def test_the_seal_is_stable_and_survives_json():
    assert reach("pass").sealed == reach("pass").sealed
    again = Verdict.model_validate_json(reach("pass").model_dump_json(indent=2))
    check(again)
    assert again == reach("pass")


@pytest.mark.parametrize(
    "change",
    [
        {"status": "pass"},
        {"version": "3"},
        {"adapter_hash": "other"},
        {"test_fingerprint": "t2"},
        {"champion_version": "9"},
        {"champion_version": None, "champion_adapter_hash": None},
        {"release": "another"},
        {"night": "n2"},
        {"gates": []},
        {"sealed": ""},
        {"sealed": "0" * 16},
    ],
)
def test_any_change_after_the_seal_is_found(change):
    document = json.loads(reach("fail").model_dump_json())
    with pytest.raises(VerdictAltered):
        check(Verdict.model_validate(document | change))


def test_a_turned_gate_is_found():
    document = json.loads(reach("fail").model_dump_json())
    document["gates"][0]["status"] = "pass"
    with pytest.raises(VerdictAltered, match="altered"):
        check(Verdict.model_validate(document))


def test_a_status_that_its_gates_do_not_support_is_found_even_under_a_fresh_seal():
    forged = reach("fail").model_copy(update={"status": "pass"})
    forged = forged.model_copy(update={"sealed": forged.seal()})
    with pytest.raises(VerdictAltered, match="its gates say fail"):
        check(forged)


def test_half_a_champion_is_refused():
    with pytest.raises(ValidationError, match="both"):
        reach("pass", champion_version=None)
