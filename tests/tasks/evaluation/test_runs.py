"""Many runs with planted figures: which are one, what is confounded, and what the page and the tables say of it."""

from __future__ import annotations

import re

import pytest

from infra.errors import UserError
from tasks.evaluation.charts import Curve
from tasks.evaluation.confounds import confounds
from tasks.evaluation.findings import Question
from tasks.evaluation.runs import Run
from tasks.evaluation.runs_charts import Point, curves_chart, quality_chart
from tasks.evaluation.runs_report import compare_runs, group_sentences, report_markdown
from tasks.evaluation.runs_tables import in_order, progression_table
from tasks.evaluation.runs_view import render_runs, runs_view
from tasks.evaluation.scorecard import Interval
from tasks.evaluation.statistics import wilson_interval
from tasks.evaluation.telling_apart import pair_repeated, tell_apart
from tests.pages import Page

N = 120


def run(name, right=60, **more):
    low, high = wilson_interval(right, N)
    given = {
        "execution_accuracy": {"value": right / N, "low": low, "high": high, "n": N},
        "method": "sft",
        "peft": "LoRA r 8",
        "settings": {"model": "random:llama-tiny", "training.seed": 42, "training.stages.0.learning_rate": 1e-3},
        "trainable": 1_000,
        "total_parameters": 100_000,
        "peak_memory_mb": 900.0,
        "seconds": 60.0,
        "samples_per_second": 8.0,
        "tokens": 10_000,
        "data_fingerprint": "d",
        "prompt_fingerprint": "p",
        "curve": [(1, 3.0), (2, 2.0), (3, 1.5)],
    }
    return Run(name=name, **(given | more))


def answers(right):
    return {f"e{n:03}": float(n < right) for n in range(N)}


def test_runs_are_one_where_paired_answers_cannot_tell_them_apart():
    runs = [run("low", 20), run("mid", 60), run("high", 63)]
    found = tell_apart(runs, {"low": answers(20), "mid": answers(60), "high": answers(63)})
    assert found.groups == [["high", "mid"], ["low"]]
    assert found.letters == {"high": "a", "mid": "a", "low": "b"}
    assert {pair.basis for pair in found.pairs} == {"paired answers"}
    turned = found.pair("low", "high")
    assert turned.apart
    assert turned.difference == pytest.approx(43 / N)
    assert 0 < turned.low < turned.high


def test_a_run_between_two_others_shares_a_letter_with_each():
    runs = [run("a", 80), run("b", 74), run("c", 68)]
    flips = {"b": (range(10), range(100, 104)), "c": ((*range(16), *range(100, 104)), range(104, 108))}
    scores = {name: answers(80) for name in "abc"}
    for name, (lost, won) in flips.items():
        scores[name] |= {f"e{n:03}": 0.0 for n in lost} | {f"e{n:03}": 1.0 for n in won}
    found = tell_apart(runs, scores)
    assert found.letters == {"a": "a", "b": "ab", "c": "b"}


def test_many_pairs_at_once_are_corrected():
    alone = tell_apart([run("x", 60), run("y", 67)], {"x": answers(60), "y": answers(67)}).pairs[0]
    assert alone.apart
    assert alone.p_adjusted == alone.p < 0.05
    runs = [run(f"r{n}", 60) for n in range(4)] + [run("y", 67)]
    among = tell_apart(runs, {r.name: answers(67 if r.name == "y" else 60) for r in runs})
    pair = among.pair("r0", "y")
    assert pair.p == alone.p
    assert pair.p_adjusted > 0.05
    assert not pair.apart


def test_without_answers_intervals_decide_and_it_says_so():
    runs = [run("low", 20), run("mid", 60), run("high", 63)]
    found = tell_apart(runs, {"high": answers(63)})
    assert {pair.basis for pair in found.pairs} == {"intervals"}
    assert found.pairs[0].p is None
    assert found.letters == {"high": "a", "mid": "a", "low": "b"}
    report = compare_runs("t", runs, {})
    assert any("intervals do not overlap" in sentence for sentence in group_sentences(report))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_fingerprint": "other"}, ["another training data"]),
        ({"prompt_fingerprint": "other"}, ["another prompt"]),
        ({"tokens": 20_000}, ["20,000 trained tokens against 10,000"]),
        ({"tokens": 10_400}, []),
        ({"candidates": 12}, ["12 settings tried against 1"]),
        ({"settings": {"training.seed": 7}}, ["seed 7 against 42"]),
        ({"settings": {"model": "hf:a/b@c#x"}}, ["base model hf:a/b@c against random:llama-tiny"]),
        (
            {"settings": {"training.stages.0.learning_rate": 1e-4}},
            ["learning rate 0.0001 against 0.001, searched for neither"],
        ),
        ({"settings": {"training.stages.0.warmup": 0.2}}, ["stage 1 warmup 0.2 against none"]),
        ({"settings": {"training.per_device_batch": 1, "training.save_steps": 3}}, []),
        ({"settings": {"training.share_prefix": 1}}, ["share prefix 1 against none"]),  # other rows share a step
        ({"settings": {"data.names": "x"}}, ["data names x against none"]),  # begins like a key that does not matter
    ],
)
def test_what_differs_besides_what_was_studied_is_named(change, said):
    reference = run("reference")
    changed = dict(change)
    changed["settings"] = reference.settings | change.get("settings", {})
    assert confounds(run("other", **changed), reference, ["training.lora.r"]) == said


def test_the_studied_paths_are_no_confound_and_alpha_counts_as_the_scale_it_gives():
    def rank(r, alpha, **more):
        return run(f"r{r}", settings={"training.lora.r": r, "training.lora.alpha": alpha} | more)

    assert confounds(rank(4, 8), rank(8, 16), ["training.lora.r"]) == []
    assert confounds(rank(4, 16), rank(8, 16), ["training.lora.r"]) == ["LoRA scale 4 against 2"]
    stable = {"training.lora.rslora": True}
    assert confounds(rank(4, 8, **stable), rank(16, 16, **stable), ["training.lora.r"]) == []
    assert confounds(rank(4, 8), rank(8, 16), ["training.lora"]) == []
    assert confounds(rank(8, 8), rank(8, 16), ["training.lora.alpha"]) == []
    alone = [run(f"a{alpha}", settings={"training.lora.alpha": alpha}) for alpha in (8, 16)]  # as trials know it
    assert confounds(*alone, ["training.lora.r"]) == ["LoRA alpha 8 against 16"]
    tuned = [rank(8, 16, **{"training.stages.0.learning_rate": rate}) for rate in (1e-3, 1e-4)]
    searched = [one.model_copy(update={"candidates": 3}) for one in tuned]
    assert confounds(*searched, ["training.stages"]) == []  # with the same effort for both
    assert confounds(*tuned, ["training.stages.0.learning_rate"]) == []  # what was studied
    assert confounds(*tuned, ["training.stages.1.learning_rate"]) == ["stage 1 learning rate 0.001 against 0.0001"]


def test_a_learning_rate_kept_over_stages_is_one_and_a_reward_models_is_not_the_policys():
    def stages(*told):
        settings = {}
        for index, (method, rate) in enumerate(told):
            settings |= {f"training.stages.{index}.method": method, f"training.stages.{index}.learning_rate": rate}
        return run("r", settings=settings)

    mixed, kept = stages(("sft", 1e-3)), stages(("sft", 1e-3), ("sft", 1e-3), ("sft", 1e-3))
    assert confounds(kept, mixed, ["training.stages"]) == []
    falling = stages(("sft", 1e-3), ("sft", 1e-4))
    said = ["learning rate 0.001 and 0.0001 against 0.001, searched for neither"]
    assert confounds(falling, mixed, ["training.stages"]) == said
    judged = stages(("sft", 1e-3), ("reward", 5e-3), ("grpo", 1e-4))
    assert confounds(judged, stages(("sft", 1e-3), ("grpo", 1e-4)), ["training.stages"]) == []


def report(**more):
    runs = [
        run("full", 63, label="All weights", peft="all weights", trainable=100_000, peak_memory_mb=2048.0),
        run("lora", 60, label="LoRA <r 8>", tokens=30_000),
        run("base", 10, candidates=0, trainable=0, curve=[], tokens=None, samples_per_second=None),
        run("broken", status="failed", error="out of memory", execution_accuracy=None, curve=[]),
    ]
    scores = {"full": answers(63), "lora": answers(60), "base": answers(10)}
    questions = [
        Question(ask="Is LoRA as good?", one="lora", other="full"),
        Question(ask="?", one="broken", other="full"),
    ]
    return compare_runs("Methods", runs, scores, questions=questions, left_out={"qlora": "needs a GPU"}, **more)


def test_a_finding_says_how_far_how_sure_what_it_cost_and_what_confounds_it():
    found, broken = report().findings
    assert found.verdict == "not told apart"
    assert "95.2% of it" in found.answer
    assert "the test set cannot tell them apart" in found.answer
    assert "0.44 times the memory" in found.answer
    assert "0.01 times the trained weights" in found.answer
    assert found.confounds == ["30,000 trained tokens against 10,000"]
    assert broken.verdict == "not measured"
    assert "broken" in broken.answer


def test_repeated_runs_are_one_question_in_which_each_example_counts_once():
    ahead, behind = [f"a{seed}" for seed in (1, 2, 3)], [f"b{seed}" for seed in (1, 2, 3)]
    runs = [run(name, right) for names, right in ((ahead, 70), (behind, 60)) for name in names]
    asked = Question(ask="Does it help?", one=tuple(ahead), other=tuple(behind))
    scores = {one.name: answers(round(one.execution_accuracy.value * one.execution_accuracy.n)) for one in runs}
    (found,) = compare_runs("t", runs, scores, questions=[asked]).findings
    assert found.verdict == "better"
    assert "8.3 points on average" in found.answer
    assert found.answer.count("against") == 3
    alike = pair_repeated([("b1", "a1")] * 3, scores)
    once = pair_repeated([("b1", "a1")], scores)
    assert (alike.low, alike.high, alike.p) == (once.low, once.high, once.p)  # three times the same is not more
    (missing,) = compare_runs("t", runs[1:], scores, questions=[asked]).findings
    assert missing.verdict == "not measured"
    assert "a1" in missing.answer
    with pytest.raises(ValueError, match="as many runs"):
        Question(ask="?", one=("a1", "a2"), other="b1")


def test_the_final_table_has_every_run_best_first_and_failed_ones_with_their_reason():
    table = report().tables[0]
    assert [row[1] for row in table.rows] == ["All weights", "LoRA <r 8>", "base", "broken"]
    assert table.rows[0][2] == "100,000 (100.00%)"
    assert table.rows[2][2] == "none"
    assert table.rows[0][4] == "2.00 GB"
    assert table.rows[1][-2] == "a"
    assert table.rows[3][-1] == "failed: out of memory"
    priced = report().runs[0].model_copy(update={"price": 0.25})
    assert "cost" in compare_runs("t", [priced], {}).tables[0].columns


def test_the_progression_counts_candidates_and_takes_the_best_loss_of_each_stage():
    trials = [
        run("1", stage="1", eval_loss=0.9, values={"training.stages.0.learning_rate": 1e-3}, train_rows=64),
        run("2", stage="1", eval_loss=0.7, values={"training.stages.0.learning_rate": 2e-3}, train_rows=64),
        run("3", stage="1", status="failed", eval_loss=0.1, train_rows=64),
        run("4", stage="2", eval_loss=0.6, train_rows=128),
    ]
    rows = progression_table(trials).rows
    assert [row[2:7] for row in rows] == [["1", "64", "–", "3", "0.7000"], ["2", "128", "–", "1", "0.6000"]]
    assert rows[0][7] == "best: learning_rate 0.002; 1 failed"


def test_the_page_stands_alone_escapes_and_shows_what_failed():
    html = render_runs(report())
    page = Page(html)
    assert "LoRA &lt;r 8&gt;" in html
    assert "<r 8>" not in html
    assert "out of memory" in page.text
    assert "needs a GPU" in page.text
    assert "confounded" in page.text
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html
    charts = runs_view(report())["charts"]
    assert [chart["title"] for chart in charts] == [
        "Quality and memory",
        "Quality and trained weights",
        "Quality and time",
    ]
    assert [n for n, _ in charts[1]["legend"]] == [1, 2]  # what trains nothing has no place on that axis


def test_markdown_holds_findings_and_tables():
    text = report_markdown(report())
    assert "**Confounded:** 30,000 trained tokens against 10,000." in text
    assert "| # | run |" in text
    assert "## Not run here" in text
    assert all(line.count(" | ") == 10 for line in text.splitlines() if line.startswith("| 1 |"))


def test_mistakes_are_told():
    with pytest.raises(UserError, match="no run"):
        compare_runs("t", [], {})
    with pytest.raises(UserError, match="same name"):
        compare_runs("t", [run("a"), run("a")], {})
    with pytest.raises(UserError, match="none of the runs"):
        compare_runs("t", [run("a")], {}, reference="b")


def test_a_single_run_and_runs_without_scores_make_a_page_too():
    lone = [run("a", execution_accuracy=None), run("b", execution_accuracy=None, eval_loss=1.0)]
    assert group_sentences(compare_runs("t", lone, {})) == []
    assert render_runs(compare_runs("t", lone, {}))
    assert render_runs(compare_runs("t", lone[:1], {}))
    assert [r.name for r in in_order(lone)] == ["a", "b"]


@pytest.mark.parametrize("log", [False, True])
def test_a_better_and_cheaper_run_stands_further_left_and_higher(log):
    good, poor = (Interval(value=v, low=v - 0.1, high=v + 0.1, n=50) for v in (0.8, 0.3))
    points = [Point(1, "good <1>", good, 10.0), Point(2, "poor", poor, 5_000.0)]
    chart = quality_chart(points, "memory", lambda cost: f"{cost:g} MB", log)
    (x1, y1), (x2, y2) = re.findall(r'cx="([\d.]+)%" cy="([\d.]+)"', chart)
    assert float(x1) < float(x2) <= 100
    assert 0 <= float(y1) < float(y2)
    assert "good &lt;1&gt;: 80.0% (70.0% to 90.0%), 10 MB" in chart
    assert quality_chart(points[:1], "memory", str) == ""


def test_learning_curves_share_one_axis_and_leave_out_what_has_no_course():
    falls = [(1, 4.0), (2, 2.0), (4, 1.0)]
    chart = curves_chart(
        [Curve("a", falls), Curve("lone", [(1, 2.0)]), Curve("b", [(1, 3.0), (2, float("nan")), (3, 2.5)])]
    )
    first, second = re.findall(r'points="([^"]*)"', chart)
    assert first.split()[-1].startswith("100.000,")
    assert second.split()[-1].startswith("75.000,")  # three of four steps
    assert len(second.split()) == 2
    assert "step 4" in chart
    assert curves_chart([Curve("lone", [(1, 2.0)])]) == ""
