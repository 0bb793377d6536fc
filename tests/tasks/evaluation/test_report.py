"""The report renders for every outcome, needs no network, escapes everything, and says the right things."""

from __future__ import annotations

import re

import pytest

from tasks.data.drawing import axis_ticks
from tasks.evaluation.charts import Curve, interval_bar, loss_chart, spark
from tasks.evaluation.metrics import METRICS, SLICED, share, summarise
from tasks.evaluation.nights_chart import nights_chart
from tasks.evaluation.report import NightPoint, ReportData, render_report
from tasks.evaluation.report_examples import choose_examples
from tasks.evaluation.report_tables import compare, difference_text, slice_tables
from tasks.evaluation.report_view import duration, view
from tasks.evaluation.scorecard import ExampleOutcome, GoldCounts, Scorecard, Subject
from tests.pages import Page

EVIL = "<script>alert('x')</script>"


def make_card(role, right, n=40, **texts):
    """A scorecard of `n` examples of which the ids below `right` are right."""
    examples = [
        ExampleOutcome(
            id=f"e{i:03d}",
            question=texts.get("question", f"How many singers are in group {i}?"),
            gold="SELECT COUNT(*) FROM singer",
            sql=texts.get("sql", f"SELECT {i} FROM singer"),
            execution_match=i < right,
            status="ok",
            message=texts.get("message", ""),
            parses=True,
            prepares=True,
            runs=True,
            error_class=None if i < right else ("wrong_rows", "unknown_column")[i % 2],
            seconds=0.01,
            columns=[texts.get("cell", "n")],
            rows=[[texts.get("cell", 7)], [None]],
            gold_columns=["n"],
            gold_rows=[[8]],
            slices={"difficulty": [("easy", "hard")[i % 2]], "database": [texts.get("database", f"db{i % 3}")]},
            values={"execution_accuracy": float(i < right), "exact_match": 0.0, "runs": 1.0},
        )
        for i in range(n)
    ]
    parts = {}
    for outcome in examples:
        for dimension, (value,) in outcome.slices.items():
            parts.setdefault(dimension, {}).setdefault(value, []).append(outcome)
    return Scorecard(
        subject=Subject(role=role, name=texts.get("name", f"the {role}"), fingerprint="f" * 16),
        test_fingerprint="t" * 16,
        n=n,
        metrics={m: summarise(m, [e.values[m] for e in examples]) for m in SLICED},
        slices={
            dimension: {v: {m: summarise(m, [e.values[m] for e in part]) for m in SLICED} for v, part in values.items()}
            for dimension, values in parts.items()
        },
        gold=GoldCounts(ok=n - 1, empty=1, failed=0),
        errors={"wrong_rows": (n - right) // 2, texts.get("error", "unknown_column"): (n - right + 1) // 2},
        examples=examples,
    )


CARDS = {"base": make_card("base", 2), "champion": make_card("champion", 20), "challenger": make_card("challenger", 32)}
GATE = {"id": "g", "metric": "execution_accuracy", "rule": "better than champion", "value": 0.3, "threshold": 0.01}
PROMOTED = {
    "outcome": "promoted",
    "night": "5f2c9a1be07d44c3",
    "recipe": "quickstart",
    "release": "quickstart-sql",
    "version": "3",
    "champion_version": "2",
    "created": "2026-03-04T03:12:00Z",
    "base_model": "wheel:llm==1.0#model",
    "stages": [
        {"name": "easy", "method": "sft", "rows": 1200, "steps": 3, "seconds": 61, "reused": True,
         "curve": [[1, 3.0], [2, 1.5], [3, 1.0]]},
        {"name": "hard", "method": "sft", "curve": [[1, 0.9], [2, None], [3, 0.4]], "eval_loss": 0.45},
    ],
    "scorecards": CARDS,
    "gates": [GATE | {"status": "pass", "evidence": "12 better, 0 worse", "slice": {"difficulty": "hard"}}],
    "data": {"counts": {"rows": 5000, "kept": 4800}, "reasons": {"gold_fails": 200}, "splits": {"test": 40},
             "docs": "docs/index.html"},
    "seconds": {"prepare": 4.2, "train": 185.0, "total": 189.2},
    "lineage": {"data_fingerprint": "ab12"},
    "commands": ["nightshift releases"],
}  # fmt: skip
REJECTED = PROMOTED | {
    "outcome": "rejected",
    "gates": [
        GATE | {"status": "pass"},
        GATE | {"status": "fail", "evidence": "3 points short", "resolution": "Add data."},
    ],
}
DATA_REJECTED = {
    "outcome": "data_rejected",
    "release": "quickstart-sql",
    "champion_version": "2",
    "reason": "31% of the rows are quarantined; 5% are allowed.",
    "data": {"counts": {"rows": 100}, "reasons": {"gold_fails": 31}},
    "seconds": {"prepare": 2.0},
}


def page(data):
    html = render_report(ReportData.model_validate(data))
    assert not re.search(r"https?://", html)
    assert not re.search(r"\s(src|srcset)=|@import|url\(", html)
    found = Page(html)
    assert found.requests == []
    return found.text


def test_a_promotion():
    text = page(PROMOTED)
    for part in (
        "quickstart-sql version 3 is in Production. It replaces version 2.",
        "Its gate passed.",
        "80.0%",  # 32 of 40
        "65.2–89.5% at 95%",
        "+30.0 points on champion",
        "12 won, 0 lost",
        "in difficulty: hard",
        "4 March 2026, 03:12 UTC",
        "reused",
        "3.000",
        "Data Docs",
        "4,800",
        "3 min 05 s",
        "ab12",
        "nightshift releases",
        "unknown column",
        "Won · 12",
        "Training loss by step",
        "0.450 1.568",  # validation loss of tokens, and its perplexity
    ):
        assert part in text, part


def test_rules_engines_and_other_ways_of_judging_are_named():
    ran = {"sqlite": 37, "sqlite, transpiled": 3}
    others = {"bird_ex": share(33, 40), "flat_exact_match": share(1, 40)}
    card = CARDS["challenger"].model_copy(update={"rules": "strict-bag 1", "engines": ran, "compatibility": others})
    examples = [card.examples[0].model_copy(update={"transpiled": True}), *card.examples[1:]]
    text = page(PROMOTED | {"scorecards": CARDS | {"challenger": card.model_copy(update={"examples": examples})}})
    assert "Rules: strict-bag 1; run by sqlite (37), sqlite, transpiled (3)." in text
    assert "bird ex BIRD's execution accuracy: results as sets – – 82.5%" in text
    assert "flat exact match" in text
    assert text.count("rewritten from another dialect") == 1
    assert "As others judge" not in page(PROMOTED)


def test_one_scorecard_alone_says_what_it_could_see():
    text = page({"outcome": "scored", "scorecards": {"predictions": CARDS["challenger"]}})
    assert "answers 15% of so many examples differently, a true gain below 17.2 points would mostly go unseen" in text


def test_what_the_budgets_of_tokens_cost_is_told():
    stages = [{"name": "easy", "dropped": 2, "tables_dropped": 1200}, {"name": "hard", "tables_dropped": 34}]
    text = page(PROMOTED | {"stages": stages})
    assert "2 rows were too long to train on; prompts left out 1,234 tables that gold does not use" in text
    assert "left out" not in page(PROMOTED)


def test_a_rejection_names_the_gate_that_failed():
    text = page(REJECTED)
    assert "quickstart-sql version 3 did not earn Production. Version 2 stays in Production." in text
    assert "1 of 2 gates failed: 3 points short" in text
    assert "Add data." in text


def test_rejected_data_leaves_out_what_never_happened():
    text = page(DATA_REJECTED)
    assert "The data broke its contract, so nothing was trained. Version 2 stays in Production." in text
    assert "31% of the rows" in text
    for absent in ("Execution accuracy", "Gates", "Training", "Examples", "Every metric", "Where it is good"):
        assert absent not in text


@pytest.mark.parametrize("outcome", ["awaiting_approval", "nothing_new", "failed", "scored"])
def test_the_other_outcomes_and_missing_parts(outcome):
    assert page({"outcome": outcome})
    assert page({"outcome": outcome, "scorecards": {"challenger": CARDS["challenger"]}})
    assert "80.0%" in page({"outcome": outcome, "scorecards": {"predictions": make_card("predictions", 32)}})


def test_a_scorecard_with_nothing_judged_renders():
    nothing = CARDS["base"].model_copy(
        update={
            "metrics": {m: summarise(m, []) for m in METRICS},
            "slices": {},
            "errors": {},
            "examples": [e.model_copy(update={"execution_match": None, "values": {}}) for e in CARDS["base"].examples],
        }
    )
    text = page({"outcome": "scored", "scorecards": {"predictions": nothing}})
    assert "Broken gold · 40" in text
    assert "0.0%" not in text


def test_output_health_is_shown_where_an_answer_has_it():
    assert "gave up" not in page(PROMOTED)
    challenger = CARDS["challenger"].model_copy(update={"health": {"gave_up": share(10, 40), "fenced": share(0, 40)}})
    text = page(PROMOTED | {"scorecards": CARDS | {"challenger": challenger}})
    assert "constrained decoding had to let go" in text
    assert "gave up" in text
    assert "25.0%" in text
    assert "the SQL stands in a code fence" not in text


def test_everything_is_escaped():
    evil = make_card(
        "challenger", 5, question=EVIL, sql=EVIL, message=EVIL, cell=EVIL, name=EVIL, database=EVIL, error=EVIL
    )
    data = PROMOTED | dict.fromkeys(
        ("night", "recipe", "release", "version", "champion_version", "created", "base_model", "reason"), EVIL
    )
    data |= {
        "scorecards": {"challenger": evil, "champion": make_card("champion", 9, sql=EVIL + "2")},
        "stages": [{"name": EVIL, "method": EVIL, "curve": [[1, 2.0], [2, 1.0]]}],
        "gates": [{"metric": EVIL, "slice": {EVIL: EVIL}, "rule": EVIL, "value": EVIL, "threshold": EVIL,
                   "status": "fail", "evidence": EVIL, "resolution": EVIL}],
        "data": {"counts": {EVIL: 1}, "reasons": {EVIL: 2}, "splits": {EVIL: 3}, "docs": f'"{EVIL}'},
        "seconds": {EVIL: 1.0},
        "lineage": {EVIL: EVIL},
        "commands": [EVIL],
    }  # fmt: skip
    html = render_report(ReportData.model_validate(data))
    assert "<script" not in html.lower()
    assert html.count("&lt;script&gt;") > 40
    assert Page(html).requests == []


@pytest.mark.parametrize(
    ("docs", "link"),
    [
        ("docs/index.html", True),
        ("/a:b/index.html", True),
        ("javascript:alert(1)", False),
        ("s3://b/docs", False),
        ("", False),
    ],
)
def test_only_addresses_that_a_browser_may_open_become_links(docs, link):
    html = render_report(ReportData.model_validate(DATA_REJECTED | {"data": {"docs": docs}}))
    assert ("<a href" in html) is link


def test_half_a_surrogate_pair_can_still_be_written():
    card = make_card("challenger", 3, sql="SELECT '\ud83d'")
    render_report(ReportData(outcome="scored", scorecards={"challenger": card})).encode("utf-8")


def test_examples_are_grouped_by_what_changed():
    groups = {
        g["title"]: g for g in choose_examples(make_card("challenger", 20), make_card("champion", 25), "champion")
    }
    assert {title: g["total"] for title, g in groups.items()} == {"Broken": "5", "Wrong": "15", "Right": "20"}
    assert [example["error"] for example in groups["Wrong"]["shown"][:2]] == ["unknown column", "wrong rows"]
    assert len(groups["Right"]["shown"]) == 6
    assert choose_examples(None, None, "") == []


def test_a_change_is_coloured_only_when_it_is_more_than_chance():
    few = difference_text(compare(make_card("challenger", 3, n=3), make_card("champion", 0, n=3)))
    many = difference_text(compare(make_card("challenger", 30), make_card("champion", 10)))
    fallen = difference_text(compare(make_card("challenger", 10), make_card("champion", 30)))
    assert (few["sure"], many["sure"], fallen["sure"]) == ("even", "up", "down")
    assert (many["points"], fallen["points"]) == ("+50.0", "−50.0")


def test_slices_that_say_nothing_are_left_out():
    tables = slice_tables(CARDS, CARDS["challenger"], CARDS["champion"])
    assert [table["title"] for table in tables] == ["difficulty", "database"]
    one = make_card("challenger", 3, database="only")
    assert [t["title"] for t in slice_tables({"challenger": one}, one, None)] == ["difficulty"]


def test_the_view_compares_with_the_champion_and_without_one_with_base():
    assert view(ReportData(outcome="promoted", scorecards=CARDS))["reference_role"] == "champion"
    pair = {role: CARDS[role] for role in ("base", "challenger")}
    assert view(ReportData(outcome="promoted", scorecards=pair))["reference_role"] == "base"


def test_a_curve_in_a_line_of_text():
    assert spark([3.0, 2.0, 1.0]) == "█▅▁"
    assert spark([1.0] * 3) == "▁▁▁"
    assert spark([2.0, float("nan"), 1.0]) == "█▁"
    assert (spark([]), spark([float("inf")])) == ("", "")
    assert len(spark(range(100), width=20)) == 20


def test_charts():
    assert axis_ticks(0.2, 3.1) == [0, 1, 2, 3, 4]
    assert axis_ticks(0.9, 1.1)[0] <= 0.9
    assert axis_ticks(-1.0, 2.0)[0] == -1.0
    assert len(axis_ticks(1.0, 1.0)) >= 2
    assert 'width="61.20%"' in interval_bar(0.612, 0.55, 0.67, "champion")
    assert loss_chart([Curve("none", []), Curve("one", [(1, 2.0)]), Curve("bad", [(1, float("nan")), (2, None)])]) == ""
    long = loss_chart([Curve("long", [(i, 1 / i) for i in range(1, 5001)])])
    assert len(long) < 12_000
    points = re.search(r'points="([^"]+)"', long).group(1).split()
    assert points[-1].startswith("100.000,")


def point(version, value, measured="t", **more):
    day = f"2026-03-{int(version):02}T03:12:00Z"
    return NightPoint(
        version=version, created=day, measured=measured, value=value, low=value - 0.05, high=value + 0.05, n=400, **more
    )


def test_nights_are_points_and_only_those_that_can_be_compared_are_connected():
    nights = [point("1", 0.4), point("2", 0.5, promoted=True), point("3", 0.45, "other"), point("4", 0.5, "other")]
    chart = nights_chart(nights)
    assert (chart.count("<circle"), chart.count('class="night"'), chart.count("night-point promoted")) == (4, 2, 1)
    assert "version 2, 2026-03-02: 50.0% (45.0% to 55.0%, n = 400), in Production" in chart
    heights = [float(value) for value in re.findall(r'cy="([\d.]+)"', chart)]
    assert heights[0] > heights[2] > heights[1] == heights[3]
    assert nights_chart(nights[:1]) == ""
    flat = nights_chart([point("1", 1.0), point("2", 1.0)])
    assert "110%" not in flat
    assert "nan" not in flat
    text = page(PROMOTED | {"nights": [night.model_dump() for night in nights]})
    assert "Night after night" in text
    assert "Night after night" not in page(PROMOTED)


def test_error_classes_say_what_they_mean():
    assert "a column that the schema lacks" in page(PROMOTED)


@pytest.mark.parametrize("against", [None, make_card("champion", 60, n=120)])
def test_a_long_dimension_keeps_what_changed_most_then_the_largest(against):
    main = make_card("challenger", 60, n=120)
    names = [f"d{min(i, 100) // 2:02}" for i in range(120)]  # the last one holds 20 examples, the others two
    spread = [e.model_copy(update={"slices": {"database": [n]}}) for e, n in zip(main.examples, names, strict=True)]
    fallen = [
        e.model_copy(update={"values": e.values | {"execution_accuracy": 0.0}}) if n == "d07" else e
        for e, n in zip(spread, names, strict=True)
    ]
    parts = {n: {m: summarise(m, [1.0] * names.count(n)) for m in SLICED} for n in dict.fromkeys(names)}
    main = main.model_copy(update={"examples": fallen, "slices": {"database": parts}})
    against = against and against.model_copy(update={"examples": spread, "slices": {"database": parts}})
    cards = {"challenger": main} | ({"champion": against} if against else {})
    (table,) = slice_tables(cards, main, against)
    shown = [row["value"] for row in table["rows"]]
    assert (len(shown), table["left_out"]) == (40, 11)
    assert "d50" in shown
    assert (shown[0] == "d07") is (against is not None)


def test_durations_read_like_speech():
    assert [duration(s) for s in (4.23, 185, 59.99, 7800)] == ["4.2 s", "3 min 05 s", "1 min 00 s", "2 h 10 min"]
