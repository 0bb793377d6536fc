"""Comparisons of planted scorecards: who is ahead, where, how sure that is, and on which page it stands."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from infra.errors import UserError
from tasks.evaluation.compare import FEWEST, compare_scorecards, telling_slices
from tasks.evaluation.compare_view import comparison_view, render_comparison, sentence
from tasks.evaluation.metrics import summarise
from tasks.evaluation.scorecard import ExampleOutcome, GoldCounts, Scorecard, Subject
from tasks.evaluation.statistics import holm
from tasks.sql.rules import LABEL
from tests.pages import Page

SLICED = ("execution_accuracy", "exact_match", "runs")


def outcome(number, right, latency=1.0, gold="SELECT 1", databases=()):
    kind = "hard" if number % 2 else "easy"
    values = {name: float(right) for name in SLICED} | {"latency_seconds": latency, "rougeL": 0.5 + right / 2}
    return ExampleOutcome(
        id=f"e{number:03}",
        question=f"Question <{number}>?",
        gold=gold,
        sql="SELECT 1" if right else "SELECT 2",
        execution_match=right,
        status="ok",
        parses=True,
        prepares=True,
        runs=True,
        error_class=None if right else "wrong_literal",
        seconds=0.0,
        slices={"difficulty": [kind], "database": [databases[number] if databases else f"d{number % 5}"]},
        values=values,
    )


def card(rights, **more):
    examples = [outcome(number, right, **more) for number, right in enumerate(rights)]
    parts = {}
    for dimension in ("difficulty", "database"):
        for example in examples:
            for value in example.slices[dimension]:
                parts.setdefault(dimension, {}).setdefault(value, []).append(example)
    wrong = sum(not example.execution_match for example in examples)
    return Scorecard(
        subject=Subject(role="predictions", name="n", fingerprint=""),
        test_fingerprint="t",
        n=len(examples),
        metrics={name: summarise(name, [e.values[name] for e in examples]) for name in (*SLICED, "latency_seconds")},
        slices={
            dimension: {
                value: {name: summarise(name, [e.values[name] for e in some]) for name in SLICED}
                for value, some in values.items()
            }
            for dimension, values in parts.items()
        },
        gold=GoldCounts(ok=len(examples), empty=0, failed=0),
        errors={"wrong_literal": wrong} if wrong else {},
        rules=LABEL,
        examples=examples,
    )


HALF = [number % 4 < 2 for number in range(120)]
# Every second wrong answer of the hard half is mended; one right one is broken.
BETTER = [right or (number % 2 == 1 and number % 8 == 3) for number, right in enumerate(HALF)]
BETTER[0] = False


def test_a_planted_gain_is_found_where_it_is():
    pair = compare_scorecards([("old", card(HALF)), ("new", card(BETTER))]).pairs[0]
    main = pair.metrics["execution_accuracy"]
    assert (main.wins, main.losses, main.n) == (15, 1, 120)
    assert main.difference == pytest.approx(14 / 120)
    assert main.low < main.difference < main.high
    assert (main.verdict, main.p < 0.001) == ("better", True)
    assert [(dimension, value) for dimension, value, _ in telling_slices(pair)] == [("difficulty", "hard")]
    assert pair.slices["difficulty"]["easy"]["execution_accuracy"].verdict == "no_difference"
    assert [change.id for change in pair.lost] == ["e000"]
    assert len(pair.won) == 15
    assert pair.won[0].error_class == "wrong_literal"
    assert pair.clustered is not None
    assert pair.errors == {"wrong_literal": {"reference": 60, "other": 46}}
    assert 0 < pair.detectable < 0.2


def test_slices_are_corrected_for_their_number_and_small_ones_are_not_tested():
    pair = compare_scorecards([("old", card(HALF)), ("new", card(BETTER))]).pairs[0]
    hard = pair.slices["difficulty"]["hard"]["execution_accuracy"]
    assert hard.p_adjusted > hard.p
    few = compare_scorecards([("old", card([False] * 8)), ("new", card([True] * 8))]).pairs[0]
    assert FEWEST > 8
    assert few.metrics["execution_accuracy"].verdict == "no_difference"
    assert few.slices["difficulty"]["hard"]["execution_accuracy"].p_adjusted == 1.0


def test_a_slice_that_holds_every_example_tells_nothing():
    pair = compare_scorecards(
        [("old", card(HALF, databases=["d"] * 120)), ("new", card(BETTER, databases=["d"] * 120))]
    )
    assert pair.pairs[0].slices["database"]["d"]["execution_accuracy"].verdict == "better"
    assert [(dimension, value) for dimension, value, _ in telling_slices(pair.pairs[0])] == [("difficulty", "hard")]


def test_the_order_of_the_two_only_turns_the_sign():
    there = compare_scorecards([("a", card(HALF)), ("b", card(BETTER))]).pairs[0].metrics["execution_accuracy"]
    back = compare_scorecards([("b", card(BETTER)), ("a", card(HALF))]).pairs[0].metrics["execution_accuracy"]
    assert (back.difference, back.wins, back.losses) == (-there.difference, there.losses, there.wins)
    assert (back.p, back.verdict) == (there.p, "worse")


def test_less_is_better_where_the_metric_says_so():
    pair = compare_scorecards([("slow", card(HALF, latency=2.0)), ("fast", card(HALF, latency=1.0))]).pairs[0]
    latency = pair.metrics["latency_seconds"]
    assert (latency.difference, latency.verdict, latency.wins) == (-1.0, "better", 120)
    assert pair.metrics["execution_accuracy"].verdict == "no_difference"


def test_several_models_against_one_are_corrected_too():
    single = compare_scorecards([("a", card(HALF)), ("b", card(BETTER))]).pairs[0].metrics["execution_accuracy"]
    found = compare_scorecards([("a", card(HALF)), ("b", card(BETTER)), ("c", card(HALF))])
    assert [pair.other for pair in found.pairs] == ["b", "c"]
    main = found.pairs[0].metrics["execution_accuracy"]
    assert main.p_adjusted == pytest.approx(2 * single.p)
    assert main.p == single.p


def test_each_metric_is_corrected_for_all_that_are_asked():
    found = compare_scorecards([("a", card(HALF)), ("b", card(BETTER)), ("c", card(HALF))])
    others = [d for pair in found.pairs for metric, d in pair.metrics.items() if metric != "execution_accuracy"]
    assert len(others) == 2 * 4
    assert [d.p_adjusted for d in others] == pytest.approx(holm([d.p for d in others]))
    runs = found.pairs[0].metrics["runs"]
    assert runs.p < runs.p_adjusted < 0.05
    # 9 to 2 is a difference where it is the one question asked, and none among a dozen.
    few = [right or number in range(2, 30, 4) or number in (3, 7) for number, right in enumerate(HALF)]
    few[0] = few[1] = False
    pair = compare_scorecards([("a", card(HALF)), ("b", card(few))]).pairs[0]
    assert (pair.metrics["execution_accuracy"].wins, pair.metrics["execution_accuracy"].losses) == (9, 2)
    assert pair.metrics["execution_accuracy"].p == pair.metrics["runs"].p < 0.05 < pair.metrics["runs"].p_adjusted
    assert (pair.metrics["execution_accuracy"].verdict, pair.metrics["runs"].verdict) == ("better", "no_difference")


def test_a_long_dimension_keeps_what_changed_most_and_says_how_much_it_left_out():
    many = [f"d{number // 4:02}" for number in range(240)]
    before, after = card([True] * 240, databases=many), card([number < 236 for number in range(240)], databases=many)
    tables = comparison_view(compare_scorecards([("a", before), ("b", after)]))["pairs"][0]["slices"]
    table = next(table for table in tables if table["title"] == "database")
    assert [row["value"] for row in table["rows"]][:3] == ["d59", "d00", "d01"]
    assert (len(table["rows"]), table["left_out"]) == (40, 20)
    assert "20 more in the JSON" in render_comparison(compare_scorecards([("a", before), ("b", after)]))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"rules": "strict-bag 2"}, "by rules strict-bag 1 and by rules strict-bag 2"), ({"suite": 3}, "on 3 fuzzed")],
)
def test_only_the_same_rules_can_be_paired(change, words):
    with pytest.raises(UserError, match=words):
        compare_scorecards([("a", card(HALF)), ("b", card(HALF).model_copy(update=change))])


def test_only_the_same_examples_can_be_paired():
    with pytest.raises(UserError, match="different examples, 'e119'"):
        compare_scorecards([("a", card(HALF)), ("b", card(HALF[:-1]))])
    with pytest.raises(UserError, match="different gold SQL for example 'e000'"):
        compare_scorecards([("a", card(HALF)), ("b", card(HALF, gold="SELECT 3"))])
    with pytest.raises(UserError, match="nothing to compare"):
        compare_scorecards([("a", card(HALF))])


def test_the_page_asks_for_nothing_and_escapes_what_models_write():
    html = render_comparison(compare_scorecards([("old", card(HALF)), ("<b>new</b>", card(BETTER))]))
    page = Page(html)
    assert page.requests == page.links == []
    assert "<b>new</b> is better than old: +11.7 points of execution accuracy." in page.text
    assert "<b>new</b>" not in html.replace("&lt;b&gt;new&lt;/b&gt;", "")
    assert "Question <3>?" in page.text
    assert ", p < 0.001 (McNemar" in page.text
    assert "Judged by rules strict-bag 1." in page.text


def test_three_on_one_page_and_a_sentence_each():
    found = compare_scorecards([("a", card(HALF)), ("b", card(BETTER)), ("c", card(HALF))])
    html = render_comparison(found)
    assert all(sentence(pair) in html for pair in found.pairs)
    assert "which chance may explain" in sentence(found.pairs[1])


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    schema, setup = "CREATE TABLE t (a INTEGER);", "INSERT INTO t VALUES (1), (2);"
    rows = [
        {"id": f"q{n}", "question": "?", "sql": f"SELECT {n} FROM t", "schema": schema, "setup": setup, "db_id": "d"}
        for n in range(12)
    ]
    answers = {
        "good.jsonl": [{"id": row["id"], "prediction": row["sql"]} for row in rows],
        "bad.jsonl": [{"id": row["id"], "prediction": "SELECT 99 FROM t"} for row in rows],
    }
    for name, content in {"e.jsonl": rows, **answers}.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    return tmp_path


def test_score_and_compare_on_the_command_line(files):
    done = run(
        "score", "--examples", files / "e.jsonl", "--predictions", files / "bad.jsonl", "--json", files / "bad.json"
    )
    assert done.exit_code == 0
    document = json.loads((files / "bad.json").read_text())
    assert {"schema_version", "n", "metrics", "slices", "gold", "errors", "examples"} <= set(document)
    example = document["examples"][0]
    assert {"id", "sql", "execution_match", "status", "parses", "prepares", "runs", "error_class", "seconds"} <= set(
        example
    )

    done = run(
        "compare", files / "bad.json", files / "good.jsonl", "--examples", files / "e.jsonl", "--json", "-",
        "--html", files / "c.html",
    )  # fmt: skip
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["pairs"][0]["metrics"]["execution_accuracy"]["difference"] == 1.0
    assert found["pairs"][0]["metrics"]["execution_accuracy"]["verdict"] == "better"
    assert len(found["pairs"][0]["won"]) == 12
    assert "good is better than bad" in (files / "c.html").read_text()

    shown = run("compare", files / "bad.json", files / "bad.json")
    assert isinstance(shown.exception, UserError)
    assert "same name" in str(shown.exception)


def test_predictions_need_examples_and_documents_must_be_scorecards(files):
    (files / "other.json").write_text('{"a": 1}')
    for second, words in (
        ("good.jsonl", "give --examples"),
        ("other.json", "no scorecard of this version"),
        ("no", "no file"),
    ):
        failed = run("compare", files / second, files / "bad.jsonl")
        assert isinstance(failed.exception, UserError)
        assert words in str(failed.exception)
