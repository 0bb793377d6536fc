"""Gates beyond one comparison: every slice, the regression split, facts of the night, and the rules nobody can leave
out. What is missing fails."""

from __future__ import annotations

import pytest

from registry.facts import FACTS, gather_facts
from registry.gates import Gate, worst
from registry.integrity import Taught, integrity_outcomes
from registry.judging import Evidence, judge_gates
from tests.registry.test_gates import MIN, NO_WORSE, card, right

PREPARED = {
    "accepted": True,
    "validation": {
        "success": True,
        "rows": 200,
        "quarantined": 10,
        "expectations": [{"name": "rows", "scope": "batch", "success": True}],
    },
    "manifest": {"splits": {"train": 150, "test": 30}},
}
TRAINED = {"stages": [{"peak_memory_mb": 5000.0, "seconds": 1800}, {"peak_memory_mb": 6100.5, "seconds": 3600}]}
EVALUATED = {"seconds": 1800.0}


def judge(gate, challenger=None, champion=None, **more):
    (outcome,) = judge_gates([Gate.model_validate(gate)], Evidence(challenger, champion, **more))
    return outcome


# ---- facts


def test_facts_come_from_what_the_steps_recorded():
    facts = gather_facts(PREPARED, TRAINED, EVALUATED, adapter_bytes=3 * 2**20, price_per_hour=2.5)
    assert facts == {
        "peak_memory_mb": 6100.5,
        "compute_hours": 2.0,
        "cost": 5.0,
        "adapter_mb": 3.0,
        "training_rows": 150.0,
        "quarantined_share": 0.05,
    }
    assert facts.keys() == FACTS.keys()


@pytest.mark.parametrize(
    ("gate", "status"),
    [
        ({"metric": "peak_memory_mb", "max": 6144}, "pass"),
        ({"metric": "peak_memory_mb", "max": 6000}, "fail"),
        ({"metric": "cost", "max": 4.99}, "fail"),
        ({"metric": "cost", "max": 5}, "pass"),
        ({"metric": "training_rows", "min": 151}, "fail"),
        ({"metric": "quarantined_share", "max": 0.05, "on_miss": "needs_approval"}, "pass"),
        ({"metric": "quarantined_share", "max": 0.04, "on_miss": "needs_approval"}, "needs_approval"),
    ],
)
def test_gates_on_memory_cost_and_data(gate, status):
    facts = gather_facts(PREPARED, TRAINED, EVALUATED, 2**20, 2.5)
    outcome = judge(gate, facts=facts)
    assert outcome.status == status
    assert outcome.value == facts[gate["metric"]]


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_that_was_not_recorded_fails_even_where_a_miss_would_ask_a_person(fact):
    gate = {"metric": fact, "max" if FACTS[fact].direction == "lower" else "min": 1, "on_miss": "needs_approval"}
    for facts in (None, {}, {fact: float("nan")}):
        assert judge(gate, facts=facts).status == "fail"


def test_one_stage_without_its_peak_leaves_the_fact_out():
    stages = [*TRAINED["stages"], {"seconds": 1}]
    assert "peak_memory_mb" not in gather_facts(PREPARED, {"stages": stages}, EVALUATED)
    assert gather_facts({}, {}, {}) == {}


# ---- every slice


def by_part(easy, hard):
    """Outcomes of a hard part and an easy part, in this order."""
    return card([*hard, *easy], slices=len(hard))


def test_the_worst_slice_decides_though_the_mean_rises():
    champion = by_part(easy=right(60, 120), hard=right(60, 60))
    better = by_part(easy=right(120, 120), hard=right(30, 60))
    gate = NO_WORSE | {"every": "difficulty"}
    outcome = judge(gate, better, champion)
    assert outcome.status == "fail"
    assert outcome.slice == {"difficulty": "hard"}
    assert outcome.value == pytest.approx(-0.5)
    assert "missed by hard" in outcome.evidence
    assert outcome.id == "execution_accuracy[difficulty=every] max_drop champion"
    assert judge(gate, champion, champion).status == "pass"


def test_small_slices_are_named_and_none_large_enough_is_a_failure():
    one = by_part(easy=right(100, 100), hard=right(0, 9))
    outcome = judge(MIN | {"every": "difficulty"}, one)
    assert outcome.status == "pass"
    assert "too few examples to judge: hard" in outcome.evidence
    assert judge(MIN | {"every": "difficulty", "min_examples": 9}, one).status == "fail"
    assert judge(MIN | {"every": "difficulty", "min_examples": 101}, one).status == "fail"
    assert judge(MIN | {"every": "colour"}, one).status == "fail"


# ---- the regression split


FIXED = {"metric": "execution_accuracy", "keep_fixed": True}


def test_nothing_once_fixed_may_break():
    challenger = card(right(50, 100))
    assert judge(FIXED, challenger, fixed=frozenset()).status == "pass"
    assert judge(FIXED, challenger, fixed={"e0", "e49"}).status == "pass"
    broken = judge(FIXED, challenger, fixed={"e0", "e50", "e51"})
    assert (broken.status, broken.value) == ("fail", pytest.approx(1 / 3))
    assert "broken: e50, e51" in broken.evidence
    assert judge(FIXED | {"on_miss": "needs_approval"}, challenger, fixed={"e50"}).status == "needs_approval"


@pytest.mark.parametrize(
    ("challenger", "fixed"), [(card([1]), None), (card([1]), {"gone"}), (None, {"e0"})], ids=["list", "example", "card"]
)
def test_a_regression_split_that_cannot_be_judged_fails(challenger, fixed):
    assert judge(FIXED | {"on_miss": "needs_approval"}, challenger, fixed=fixed).status == "fail"


def test_broken_gold_is_no_longer_right():
    assert judge(FIXED, card([None, 1]), fixed={"e0"}).status == "fail"


# ---- what no recipe can leave out

TEST = Taught(frozenset({"t1", "t2"}), frozenset({"cars"}))
CLEAN = Taught(frozenset({"a", "b"}), frozenset({"pets"}))


def integrity(prepared=PREPARED, test=TEST, challenger=CLEAN, champion=CLEAN, scored=None, absent=False):
    if scored is None:
        scored = card(right(5, 10))
    found = integrity_outcomes(prepared, test, challenger, champion, scored, champion_absent=absent)
    return {outcome.id: outcome.status for outcome in found}


def test_sound_data_pass_and_the_first_night_has_no_champion_to_ask():
    sound = ["data_validation", "contamination challenger", "contamination champion", "telling_gold"]
    assert integrity() == dict.fromkeys(sound, "pass")
    assert "contamination champion" not in integrity(champion=None, absent=True)


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"prepared": None}, "data_validation"),
        ({"prepared": {"accepted": True}}, "data_validation"),
        ({"prepared": PREPARED | {"accepted": False}}, "data_validation"),
        (
            {"prepared": {"accepted": True, "validation": {"success": True, "expectations": []}}},
            "data_validation",
        ),
        (
            {
                "prepared": {
                    "accepted": True,
                    "validation": {
                        "success": True,
                        "expectations": [{"name": "rows", "scope": "batch", "success": False}],
                    },
                }
            },
            "data_validation",
        ),
        ({"challenger": None}, "contamination challenger"),
        ({"challenger": Taught(frozenset({"a", "t2"}), frozenset())}, "contamination challenger"),
        ({"champion": Taught(frozenset({"x"}), frozenset({"cars"}))}, "contamination champion"),
        ({"champion": None}, "contamination champion"),
        ({"test": None}, "contamination challenger"),
    ],
)
def test_bad_data_and_leaks_fail(change, gate):
    found = integrity(**change)
    assert found[gate] == "fail"


def test_vacuous_accuracy_on_empty_tables_fails():
    """A rival runs SQL on tables without rows, where nearly every query returns the same nothing as gold."""
    perfect = card([1] * 20)
    empty = perfect.model_copy(update={"gold": perfect.gold.model_copy(update={"ok": 0, "empty": 20})})
    gates = judge_gates([Gate.model_validate(MIN)], Evidence(empty))
    assert worst(gates) == "pass"  # the number alone looks splendid
    assert integrity(scored=empty)["telling_gold"] == "fail"
    assert integrity(scored=perfect)["telling_gold"] == "pass"
