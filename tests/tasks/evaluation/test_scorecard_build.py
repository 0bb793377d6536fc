"""Scorecards of planted answers: what counts, what does not, and under which name each fault is filed."""

from __future__ import annotations

import sqlite3

import pytest

from infra.errors import UserError
from tasks.data.example import Example
from tasks.evaluation.classes import ERROR_CLASSES
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.scorecard import Scorecard, Subject
from tasks.evaluation.scorecard_build import build_scorecard, database_file
from tasks.evaluation.slices import in_order, slices_of
from tasks.sql.executor import Limits
from tasks.sql.measuring import LOST

SCHEMA = """CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, salary INTEGER);
CREATE TABLE teams (id INTEGER, city TEXT);"""
SETUP = "INSERT INTO staff VALUES (1, 'Ann', 30), (2, 'Bob', 20), (3, 'Cy', 10);"
NAMES = "SELECT name FROM staff"
SORTED = "SELECT name FROM staff ORDER BY salary DESC"
LOOP = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"
SUBJECT = Subject(role="predictions", name="planted", fingerprint="")


def example(id, sql, **more):
    return Example(
        id=id, db_id=more.pop("db_id", "firm"), question=f"Question {id}?", schema=SCHEMA, sql=sql, setup=SETUP, **more
    )


# id -> (gold, answer, error class)
PLANTED = {
    "right": (NAMES, "SELECT name FROM staff ORDER BY id DESC", None),
    "fenced": (NAMES, f"Here it is:\n```sql\n{NAMES};\n```", None),
    "spaces": (NAMES, f"  {NAMES} ;\n", None),
    "none": (NAMES, "", "no_sql"),
    "prose": (NAMES, "I do not know.", "prose"),
    "syntax": (NAMES, "SELECT name FROM staff WHERE", "truncated"),
    "drop": (NAMES, "DROP TABLE staff", "forbidden"),
    "slow": (NAMES, LOOP, "timeout"),
    "table": (NAMES, "SELECT name FROM workers", "unknown_table"),
    "column": (NAMES, "SELECT wage FROM staff", "unknown_column"),
    "function": (NAMES, "SELECT NOSUCH(name) FROM staff", "other_sql_error"),
    "wide": (NAMES, "SELECT name, id FROM staff", "wrong_columns"),
    "empty": (NAMES, "SELECT name FROM staff WHERE id > 9", "extra_condition"),
    "rows": (NAMES, "SELECT name FROM staff WHERE id > 1", "extra_condition"),
    "order": (SORTED, "SELECT name FROM staff ORDER BY salary", "wrong_direction"),
    "order_rows": (SORTED, "SELECT name FROM staff WHERE id > 1 ORDER BY salary", "extra_condition"),
    "order_limit": (f"{SORTED} LIMIT 2;", "SELECT name FROM staff WHERE id < 3 ORDER BY salary", "extra_condition"),
    "state": ("DELETE FROM staff WHERE id = 1", "DELETE FROM staff", "wrong_state"),
    "broken": ("SELECT x FROM nowhere", NAMES, None),
    "weak": ("SELECT name FROM staff WHERE id > 99", "SELECT city FROM teams", None),
    "weak_wrong": ("SELECT name FROM staff WHERE id > 99", NAMES, "missing_condition"),
    "zero": ("SELECT COUNT(*) FROM teams", "SELECT COUNT(*) FROM staff WHERE id > 9", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def card():
    examples = [example(id, gold, tags={"phrasing": "seen", "split": "test"}) for id, (gold, _, _) in PLANTED.items()]
    predictions = [Prediction(id, answer, 20, 0.5) for id, (_, answer, _) in reversed(PLANTED.items())]
    calls = []
    made = build_scorecard(
        examples,
        predictions,
        SUBJECT,
        "t",
        Limits(seconds=0.3),
        1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls
    assert calls[-1][0] == calls[-1][1] >= len(examples)
    return made


def test_every_fault_is_filed_under_its_name(card):
    assert {e.id: e.error_class for e in card.examples} == {id: fault for id, (_, _, fault) in PLANTED.items()}
    assert card.errors["no_sql"] == card.errors["prose"] == 1
    assert sum(card.errors.values()) == sum(fault is not None for _, _, fault in PLANTED.values())
    assert set(card.errors) <= set(ERROR_CLASSES)


def test_examples_keep_their_order_and_texts(card):
    assert [e.id for e in card.examples] == list(PLANTED)
    fenced = next(e for e in card.examples if e.id == "fenced")
    assert fenced.sql == NAMES
    assert fenced.prediction.startswith("Here it is:")
    assert (fenced.question, fenced.gold, fenced.status) == ("Question fenced?", NAMES, "ok")


def test_broken_gold_is_counted_apart_and_in_no_share(card):
    assert (card.gold.ok, card.gold.empty, card.gold.failed) == (19, 2, 1)
    broken = next(e for e in card.examples if e.id == "broken")
    assert broken.execution_match is None
    assert broken.values == {}
    assert "nowhere" in broken.gold_message
    assert card.n == len(PLANTED)
    assert {card.metrics[m].n for m in ("execution_accuracy", "execution_accuracy_raw", "runs", "rougeL")} == {21}


def test_execution_accuracy_its_raw_and_its_telling_form(card):
    assert card.metrics["execution_accuracy"].value == pytest.approx(5 / 21)
    raw = card.values("execution_accuracy_raw")
    assert {id for id, value in raw.items() if value} == {"right", "spaces", "weak", "zero"}
    telling = card.values("execution_accuracy_nonvacuous")
    assert telling.keys() == PLANTED.keys() - {"broken", "weak", "weak_wrong", "zero"}
    assert card.metrics["execution_accuracy_nonvacuous"].value == pytest.approx(3 / 18)
    assert {e.id for e in card.examples if e.vacuous} == {"weak", "zero"}


def test_text_metrics_judge_the_extracted_query(card):
    assert card.values("exact_match")["fenced"] == card.values("rougeL")["fenced"] == 1.0
    assert card.values("hybrid_score")["fenced"] == 1.0
    rouge = card.values("rougeL")["rows"]
    assert 0 < rouge < 1
    assert card.values("hybrid_score")["rows"] == pytest.approx(0.7 * rouge)


def test_what_could_not_be_measured_is_left_out_and_what_does_not_run_is_nothing(card, monkeypatch):
    assert card.values("soft_f1")["rows"] == pytest.approx(0.8)  # two of three cells, none too many
    monkeypatch.setattr("tasks.evaluation.scorecard_build.measure", lambda tasks, *_: [LOST for _ in tasks])
    examples = [example(id, NAMES) for id in ("ran", "broken", "right")]
    answers = ("SELECT name FROM staff WHERE id > 1", "SELECT wage FROM staff", NAMES)
    predictions = [Prediction(one.id, sql) for one, sql in zip(examples, answers, strict=True)]
    assert build_scorecard(examples, predictions, SUBJECT, "t").values("soft_f1") == {"broken": 0.0, "right": 1.0}


def test_hallucinations_are_counted(card):
    invented = {id for id, value in card.values("schema_hallucination").items() if value}
    assert invented == {"table", "column"}


def test_speed_comes_from_the_predictions(card):
    assert card.metrics["latency_seconds"].value == 0.5
    assert card.metrics["tokens_per_second"].value == 40.0
    assert set(card.metrics) == set(METRICS) - {
        name for name in METRICS if name.startswith(("pass_at", "execution_v", "tries"))
    }


def test_slices_say_where_the_model_fails(card):
    assert set(card.slices) == {"phrasing", "database", "clause", "tables", "difficulty", "hardness"}
    assert set(card.slices["phrasing"]["seen"]) == {"execution_accuracy", "exact_match", "runs"}
    assert card.slices["database"]["firm"]["runs"].n == 21
    ordered = card.slices["clause"]["order_by"]["execution_accuracy"]
    assert (ordered.value, ordered.n) == (0.0, 3)
    assert card.slices["clause"]["plain"]["execution_accuracy"].n == 14
    assert card.values("runs", {"clause": "order_by"}).keys() == {"order", "order_rows", "order_limit"}
    assert card.values("runs", {"clause": "window"}) == {}


def test_previews_show_what_came_back(card):
    rows = next(e for e in card.examples if e.id == "rows")
    assert (rows.columns, rows.rows) == (["name"], [["Bob"], ["Cy"]])
    assert rows.gold_rows == [["Ann"], ["Bob"], ["Cy"]]


def test_a_scorecard_is_its_json(card):
    assert Scorecard.model_validate_json(card.model_dump_json()) == card


def test_answers_without_costs_have_no_speed_and_broken_gold_alone_has_no_share():
    card = build_scorecard([example("a", "SELECT x FROM y")], [Prediction("a", "SELECT '\ud800'")], SUBJECT, "t")
    assert card.gold.failed == 1
    assert (card.metrics["execution_accuracy"].n, card.metrics["execution_accuracy"].high) == (0, 1.0)
    assert "latency_seconds" not in card.metrics
    assert card.slices == {}
    assert Scorecard.model_validate_json(card.model_dump_json()) == card


def test_answers_that_constrained_decoding_let_go_are_counted():
    examples = [example(id, NAMES) for id in "abcd"]
    answers = [Prediction("a", NAMES), Prediction("b", NAMES, gave_up=True)]
    answers += [Prediction("c", "SELECT name FROM", gave_up=True), Prediction("d", "", gave_up=True)]
    card = build_scorecard(examples, answers, SUBJECT, "t")
    assert [e.health for e in card.examples] == [[], ["gave_up"], ["truncated", "gave_up"], ["empty", "gave_up"]]
    assert (card.health["gave_up"].value, card.health["gave_up"].n) == (0.75, 4)
    assert card.metrics["execution_accuracy"].value == 0.5  # it says nothing about the result


def test_databases_come_from_a_folder(tmp_path):
    for place in ("firm/firm.sqlite", "flat.sqlite"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        with sqlite3.connect(path) as connection:
            connection.executescript(SCHEMA + SETUP)
        connection.close()
    examples = [
        Example("a", "firm", "?", "", NAMES),
        Example("b", "flat", "?", "", NAMES),
        Example("c", "own", "?", SCHEMA, NAMES, setup=SETUP),  # carries its database with it
    ]
    predictions = [Prediction("a", NAMES), Prediction("b", "SELECT wage FROM staff"), Prediction("c", NAMES)]
    card = build_scorecard(examples, predictions, SUBJECT, "t", databases=tmp_path)
    assert [e.execution_match for e in card.examples] == [True, False, True]
    assert card.values("schema_hallucination") == {"a": 0.0, "b": 1.0, "c": 0.0}
    for name in ("gone", "../firm"):
        with pytest.raises(UserError, match="no database"):
            database_file(tmp_path / "firm" if ".." in name else tmp_path, name)


def test_nothing_to_score_is_an_error():
    with pytest.raises(UserError, match="no examples"):
        build_scorecard([], [], SUBJECT, "t")
    with pytest.raises(UserError, match="no prediction for 'a'"):
        build_scorecard([example("a", NAMES)], [], SUBJECT, "t")


def test_slices_of_one_example():
    found = slices_of(
        example(
            "a",
            "SELECT s.name FROM staff s JOIN teams t ON s.id = t.id WHERE s.id > 1",
            domain="firms",
            source="made",
            tags={"split": "test", "shape": "join_where", "blank": ""},
        )
    )
    assert found == {
        "shape": ["join_where"],
        "domain": ["firms"],
        "database": ["firm"],
        "source": ["made"],
        "clause": ["where", "join"],
        "tables": ["2"],
        "difficulty": ["medium"],
        "hardness": ["medium"],
    }
    assert slices_of(example("a", NAMES, difficulty="hard"))["difficulty"] == ["hard"]
    assert in_order("difficulty", ["hard", "easy", "medium"]) == ["easy", "medium", "hard"]
    assert in_order("hardness", ["extra", "hard", "easy"]) == ["easy", "hard", "extra"]
