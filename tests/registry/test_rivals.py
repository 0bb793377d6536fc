"""Defects seen in other retrain-and-promote systems, each as a test that ours fails closed."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException

from infra.errors import UserError
from registry.attached import attach_verdict
from registry.decisions import require_verdict
from registry.judging import Evidence, judge_gates
from registry.promotion import PromotionRefused, promote
from registry.releases import PRODUCTION_ALIAS
from registry.verdict import decide
from tests.registry.shown import production_version
from tests.registry.test_gate_families import integrity
from tests.registry.test_gates import BETTER, Gate, card, judge, right


def test_inverted_comparison():
    """One promotes the new version when its number is the worse one."""
    better, worse = card(right(80, 100), latency=[1.0] * 100), card(right(40, 100), latency=[3.0] * 100)
    faster = {"metric": "latency_seconds", "versus": "champion", "min_delta": 0.1}
    for gate in (BETTER, faster):
        assert judge(gate, better, worse).status == "pass"
        assert judge(gate, worse, better).status == "fail"


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_a_tie_promotes(confidence):
    """One promotes on equality, so that every night without news brings a new model."""
    for score in (0, 50, 100):
        tie = card(right(score, 100))
        assert judge(BETTER | {"min_delta": 0.0, "confidence": confidence}, tie, tie).status == "fail"


@pytest.mark.parametrize("error_code", ["INTERNAL_ERROR", "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND"])
def test_a_registry_outage_promotes(world, monkeypatch, error_code):
    """One takes any error of the registry for "there is no champion yet" and promotes."""
    first = world.next("n1")
    verdict = world.verdict(world.register("n2"), champion=None)  # judged as if nothing were in Production

    def broken(*args, **more):
        from mlflow.protos import databricks_pb2

        raise MlflowException("the registry does not answer", getattr(databricks_pb2, error_code))

    with monkeypatch.context() as patch:
        patch.setattr(type(world.client), "get_registered_model", broken)
        with pytest.raises(MlflowException, match="does not answer"):
            world.promote(verdict)
    assert world.ledger.head() == first
    # Even when the champion merely could not be scored, a comparison with it does not pass.
    assert judge(BETTER, card(right(90, 100)), None).status == "fail"


def test_a_stored_champion_metric():
    """Others compare tonight's number with the number that the champion once got on other examples."""
    challenger = card(right(90, 100), test="tonight")
    stored = card(right(50, 100), test="last month")
    assert judge(BETTER, challenger, stored).status == "fail"
    assert "another test set" in judge(BETTER, challenger, stored).evidence
    same_name = card(right(50, 100), test="tonight", ids=[f"old-{n}" for n in range(100)])
    assert "only one of the two" in judge(BETTER, challenger, same_name).evidence


def test_the_newest_version_is_promoted(world):
    """One puts the alias on the latest version and evaluates afterwards."""
    world.next("n1")
    judged = world.register("n2")
    verdict = world.verdict(judged)
    newest = world.register("n3")
    with pytest.raises(UserError, match="carries no verdict"):
        require_verdict(world.name, newest.version)
    with pytest.raises(UserError, match="cannot go on"):
        attach_verdict(world.name, newest.version, verdict)
    assert world.promote(verdict).version == judged.version
    assert production_version(world.name) == judged.version


def test_a_gate_skipped_by_alias(world):
    """One promotes whatever another alias names, so that setting `staged` by hand skips both gates."""
    world.next("n1")
    release = world.register("n2")
    for alias in ("staged", "eval-passed", "perf-passed", "Challenger"):
        world.client.set_registered_model_alias(world.name, alias, release.version)
    assert world.project().unsanctioned is None
    assert production_version(world.name) == "1"
    failed = world.verdict(release, "fail")
    with pytest.raises(PromotionRefused, match="failed its gates"):
        promote(world.store, world.name, failed, actor="someone", reason="it is staged", approver="someone")
    world.client.set_registered_model_alias(world.name, PRODUCTION_ALIAS, release.version)
    assert world.project().unsanctioned == "2"
    assert world.ledger.head().version == "1"


def test_vacuous_accuracy_on_empty_tables(world):
    """One runs SQL on tables without rows, where nearly every valid query returns what gold returns: nothing."""
    perfect = card([1] * 50)
    empty = perfect.model_copy(update={"gold": perfect.gold.model_copy(update={"ok": 0, "empty": 50})})
    outcomes = judge_gates([Gate.model_validate({"metric": "execution_accuracy", "min": 0.5})], Evidence(empty))
    assert {outcome.status for outcome in outcomes} == {"pass"}
    assert integrity(scored=empty)["telling_gold"] == "fail"


def test_a_dry_run_gate_or_no_gate_at_all(world):
    """One ships with its comparison switched off: no gate then stands for a passed one."""
    release = world.register("n1")
    nothing = decide(
        [], release=world.name, version="1", adapter_hash=release.adapter_hash, test_fingerprint="t",
        champion_version=None, champion_adapter_hash=None, night="n",
    )  # fmt: skip
    assert nothing.status == "fail"
    with pytest.raises(PromotionRefused):
        world.promote(nothing, approver="ada")
