"""One case a rule: scorecards as dicts in, outcomes out. The rivals' defects are cases of their own at the end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from registry.gates import Gate, worst
from registry.judging import MINIMUM_PAIRS, Evidence, judge_gates
from tasks.evaluation.scorecard import Scorecard


def card(matches, *, latency=None, test="t1", slices=None, ids=None, role="challenger"):
    """A scorecard of execution accuracy (and latency) from per-example outcomes; None means broken gold."""
    examples = []
    for index, match in enumerate(matches):
        values = {} if match is None else {"execution_accuracy": float(match)}
        if latency is not None and match is not None:
            values["latency_seconds"] = latency[index]
        part = "hard" if index < (slices or 0) else "easy"
        examples.append(
            {
                "id": ids[index] if ids else f"e{index}",
                "sql": "SELECT 1",
                "execution_match": match if match is None else bool(match),
                "status": "ok",
                "parses": True,
                "prepares": True,
                "runs": True,
                "error_class": None,
                "seconds": 0.1,
                "slices": {"difficulty": [part]},
                "values": values,
            }
        )

    def interval(metric, chosen):
        found = [e["values"][metric] for e in chosen if metric in e["values"]]
        mean = sum(found) / len(found) if found else float("nan")
        return {"value": mean, "low": mean, "high": mean, "n": len(found)}

    metrics = ["execution_accuracy"] + (["latency_seconds"] if latency is not None else [])
    parts = {name: [e for e in examples if name in e["slices"]["difficulty"]] for name in ("easy", "hard")}
    return Scorecard.model_validate(
        {
            "subject": {"role": role, "name": role, "fingerprint": role},
            "test_fingerprint": test,
            "n": len(examples),
            "metrics": {m: interval(m, examples) for m in metrics},
            "slices": {
                "difficulty": {
                    name: {"execution_accuracy": interval("execution_accuracy", chosen)}
                    for name, chosen in parts.items()
                    if chosen
                }
            },
            "gold": {"ok": len(examples), "empty": 0, "failed": 0},
            "errors": {},
            "examples": examples,
        }
    )


def right(n, of):
    """n right answers, then wrong ones."""
    return [1] * n + [0] * (of - n)


def judge(gate, challenger, champion=None, base=None, **more):
    (outcome,) = judge_gates([Gate.model_validate(gate)], Evidence(challenger, champion, base, **more))
    return outcome


MIN = {"metric": "execution_accuracy", "min": 0.5}
BETTER = {"metric": "execution_accuracy", "versus": "champion", "min_delta": 0.02}
NO_WORSE = {"metric": "execution_accuracy", "versus": "champion", "max_drop": 0.05}


@pytest.mark.parametrize(
    ("gate", "challenger", "status"),
    [
        (MIN, card(right(50, 100)), "pass"),
        (MIN, card(right(49, 100)), "fail"),
        ({"metric": "latency_seconds", "max": 2.0}, card([1, 0], latency=[1.0, 3.0]), "pass"),
        ({"metric": "latency_seconds", "max": 1.9}, card([1, 0], latency=[1.0, 3.0]), "fail"),
        (MIN | {"slice": {"difficulty": "hard"}}, card(right(30, 100), slices=40), "pass"),
        (MIN | {"slice": {"difficulty": "easy"}}, card(right(30, 100), slices=40), "fail"),
        (MIN | {"on_miss": "needs_approval"}, card(right(49, 100)), "needs_approval"),
        (MIN | {"on_miss": "needs_approval"}, card(right(50, 100)), "pass"),
    ],
)
def test_absolute_rules(gate, challenger, status):
    outcome = judge(gate, challenger)
    assert outcome.status == status
    assert outcome.value is not None
    assert bool(outcome.resolution) == (status != "pass")


@pytest.mark.parametrize(
    ("gate", "challenger", "champion", "status"),
    [
        pytest.param(BETTER, right(70, 100), right(50, 100), "pass", id="clearly better"),
        pytest.param(BETTER, right(51, 100), right(50, 100), "fail", id="a point is noise"),
        pytest.param(BETTER, right(50, 100), right(50, 100), "fail", id="a tie never promotes"),
        pytest.param(BETTER | {"min_delta": 0.0}, right(50, 100), right(50, 100), "fail", id="not even at zero delta"),
        pytest.param(BETTER, right(50, 100), right(70, 100), "fail", id="worse"),
        pytest.param(BETTER | {"min_delta": 0.3}, right(70, 100), right(50, 100), "fail", id="sure, but too little"),
        pytest.param(NO_WORSE, right(50, 100), right(50, 100), "pass", id="equal is not worse"),
        pytest.param(NO_WORSE, right(40, 100), right(50, 100), "fail", id="ten points lost"),
        pytest.param(NO_WORSE, right(47, 100), right(50, 100), "fail", id="3 lost, but 5 cannot be excluded"),
        pytest.param(NO_WORSE | {"max_drop": 0.2}, right(47, 100), right(50, 100), "pass", id="20 can be excluded"),
    ],
)
def test_relative_rules(gate, challenger, champion, status):
    outcome = judge(gate, card(challenger), card(champion))
    assert outcome.status == status
    assert outcome.value == pytest.approx((sum(challenger) - sum(champion)) / len(champion))


def test_lower_is_better_turns_the_difference_round():
    gate = {"metric": "latency_seconds", "versus": "champion", "min_delta": 0.5}
    fast, slow = card([1] * 20, latency=[1.0] * 20), card([1] * 20, latency=[2.0] * 20)
    assert judge(gate, fast, slow).status == "pass"
    assert judge(gate, slow, fast).status == "fail"
    assert judge(gate, fast, slow).value == pytest.approx(1.0)


def test_a_slice_may_not_drop_though_the_mean_rises():
    challenger, champion = card([0] * 20 + [1] * 80, slices=20), card([1] * 20 + [0] * 80, slices=20)
    hard = NO_WORSE | {"slice": {"difficulty": "hard"}}
    assert judge(BETTER, challenger, champion).status == "pass"
    assert judge(hard, challenger, champion).status == "fail"


def test_versus_base_reads_the_base():
    gate = {"metric": "execution_accuracy", "versus": "base", "min_delta": 0.1}
    assert judge(gate, card(right(50, 100)), base=card(right(0, 100))).status == "pass"
    assert judge(gate, card(right(50, 100)), champion=card(right(0, 100))).status == "fail"


def test_every_rule_of_a_gate_is_judged_and_named_apart():
    gate = Gate.model_validate(MIN | BETTER | NO_WORSE)
    outcomes = judge_gates([gate, gate], Evidence(card(right(70, 100)), card(right(50, 100))))
    assert [o.rule for o in outcomes[:3]] == ["at least", "better than champion", "not worse than champion"]
    assert len({o.id for o in outcomes}) == 6


def test_a_gate_survives_its_own_json():
    gate = Gate.model_validate(NO_WORSE)
    again = Gate.model_validate(gate.model_dump(mode="json"))
    assert len(judge_gates([again], Evidence(card(right(50, 100)), card(right(50, 100))))) == 1


def test_no_champion_passes_only_when_its_absence_was_verified():
    first = judge(BETTER, card(right(50, 100)), champion_absent=True)
    assert (first.status, first.evidence, first.value) == ("pass", "no champion yet", None)
    assert judge(BETTER, card(right(50, 100))).status == "fail"
    assert judge(BETTER | {"versus": "base"}, card(right(50, 100)), champion_absent=True).status == "fail"
    with pytest.raises(ValueError, match="champion_absent"):
        judge(BETTER, card(right(50, 100)), card(right(10, 100)), champion_absent=True)


@pytest.mark.parametrize(
    ("gate", "challenger", "champion", "evidence"),
    [
        pytest.param(MIN, None, None, "no scorecard", id="no challenger"),
        pytest.param({"metric": "rougeL", "min": 0.1}, card([1]), None, "has no rougeL", id="no metric"),
        pytest.param(MIN | {"slice": {"colour": "red"}}, card([1]), None, "no slices by colour", id="no dimension"),
        pytest.param(MIN | {"slice": {"difficulty": "odd"}}, card([1]), None, "difficulty=odd", id="no slice value"),
        pytest.param(MIN, card([None, None]), None, "no value", id="all gold broken"),
        pytest.param(BETTER, card([1] * 20), card([0] * 20, test="t2"), "another test set", id="other test set"),
        pytest.param(BETTER, card([1] * 20), card([0] * 19), "only one of the two scorecards", id="other examples"),
        pytest.param(BETTER, card([1] * 20), card([0] * 19 + [None]), "exists for only one", id="gold differs"),
        pytest.param(BETTER, card([1] * 20, ids=["a"] * 20), card([0] * 20, ids=["a"] * 20), "twice", id="same ids"),
        pytest.param(BETTER, card([1] * 9), card([0] * 9), f"needs {MINIMUM_PAIRS}", id="too few"),
        pytest.param(BETTER | {"slice": {"difficulty": "x"}}, card([1] * 20), card([0] * 20), "0 examples", id="empty"),
    ],
)
def test_what_cannot_be_measured_fails_even_where_a_miss_would_ask_a_person(gate, challenger, champion, evidence):
    outcome = judge(gate | {"on_miss": "needs_approval"}, challenger, champion)
    assert outcome.status == "fail"
    assert evidence in outcome.evidence
    assert outcome.resolution
    assert outcome.value is None


def test_not_a_number_fails():
    bad = card([1] * 20, latency=[float("nan")] * 20)
    assert judge({"metric": "latency_seconds", "max": 9.0}, bad).status == "fail"
    gate = {"metric": "latency_seconds", "versus": "champion", "max_drop": 1.0}
    assert judge(gate, bad, card([1] * 20, latency=[1.0] * 20)).status == "fail"


def test_broken_gold_is_left_out_of_a_pair():
    outcome = judge(BETTER, card([*right(70, 100), None]), card([*right(50, 100), None]))
    assert outcome.status == "pass"
    assert "of 100 examples" in outcome.evidence


def test_the_evidence_says_what_was_asked():
    half = card(right(50, 100))
    assert judge(MIN, half).evidence.endswith(", at least 0.5 asked")
    assert judge(BETTER, half, half).evidence.endswith("; asked is +0.02, surely above zero")
    assert judge(NO_WORSE, half, half).evidence.endswith("; asked is surely above -0.05")


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"metric": "execution_acuracy", "min": 0.5}, "did you mean 'execution_accuracy'"),
        ({"metric": "execution_accuracy"}, "no rule"),
        ({"metric": "execution_accuracy", "versus": "champion"}, "needs min_delta"),
        ({"metric": "execution_accuracy", "min_delta": 0.1}, "need versus"),
        ({"metric": "execution_accuracy", "min": 55}, "between 0 and 1"),
        ({"metric": "latency_seconds", "min": 1}, "use max"),
        ({"metric": "execution_accuracy", "max": 1}, "use min"),
        (MIN | {"slice": {"difficulty": "hard", "domain": "pets"}}, "one dimension"),
        ({"metric": "rougeL", "min": 0.5, "slice": {"difficulty": "hard"}}, "not measured per slice"),
        (BETTER | {"min_delta": -0.1}, "greater than or equal to 0"),
        (BETTER | {"confidence": 1.0}, "less than 1"),
        (MIN | {"minimum": 1}, "Extra inputs"),
        ({"metric": "peak_memory", "max": 1}, "did you mean 'peak_memory_mb'"),
        ({"metric": "peak_memory_mb", "min": 1}, "use max"),
        ({"metric": "cost", "max": 1, "versus": "champion", "max_drop": 1}, "takes min or max"),
        ({"metric": "quarantined_share", "max": 5}, "between 0 and 1"),
        (MIN | {"every": "difficulty", "slice": {"difficulty": "hard"}}, "one of the two"),
        (MIN | {"keep_fixed": True}, "gates of their own"),
        ({"metric": "execution_accuracy", "keep_fixed": True, "min": 0.0}, "gates of their own"),
        (MIN | {"confidence": 0.99}, "needs versus"),
        (MIN | {"slice": {"difficulty": "hard"}, "min_examples": 5}, "goes with every"),
        ({"metric": "rougeL", "keep_fixed": True}, "says what is right"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused_when_read(gate, message):
    with pytest.raises(ValidationError, match=message):
        Gate.model_validate(gate)


def test_worst_of_none_is_fail():
    assert worst([]) == "fail"


OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=MINIMUM_PAIRS, max_size=60)


@settings(max_examples=25, deadline=None)
@given(OUTCOMES)
def test_never_better_both_ways_and_never_when_not_ahead(pairs):
    ours, theirs = card([a for a, _ in pairs]), card([b for _, b in pairs])
    gate = BETTER | {"min_delta": 0.0}
    ahead, behind = judge(gate, ours, theirs), judge(gate, theirs, ours)
    assert {ahead.status, behind.status} != {"pass"}
    assert ahead.status == "fail" or ahead.value > 0
    assert ahead.value == pytest.approx(-behind.value)
