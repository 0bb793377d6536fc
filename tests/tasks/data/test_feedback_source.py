"""The feedback source: who is believed, what is trained on, what is held out for good.

Run: pytest tests/tasks/data/test_feedback_source.py
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from infra.store import LocalStore
from tasks.data.build import divide
from tasks.data.example import Example
from tasks.data.feedback import Feedback, sign, write_feedback
from tasks.data.feedback_source import FeedbackSource, hold_failures, memory_key, read_feedback_source
from tasks.data.spec import DataSpec, source_fingerprint

TEAM = {"ada": "ada-token-123456", "bob": "bob-token-123456"}
SHOP = "CREATE TABLE orders (id INTEGER, total REAL, city TEXT)"


@pytest.fixture(autouse=True)
def reviewers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_REVIEWERS", ",".join(f"{name}:{token}" for name, token in TEAM.items()))


class Box:
    """A feedback folder that people put judgements into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.day = 0

    def judge(self, question: str, sql: str, corrected: str | None = None, by: str | None = "ada", **more) -> str:
        """One judgement, a day after the last one; `corrected`: it was wrong ('' for wrong without the right SQL)."""
        self.day += 1
        record = Feedback(
            **{
                "question": question,
                "db_id": "shop",
                "ddl": SHOP,
                "sql": sql,
                "verdict": "right" if corrected is None else "wrong",
                "corrected_sql": corrected or "",
                "release": "r",
                "version": "3",
                "time": f"2026-01-{self.day:02}T00:00:00.000+00:00",
            }
            | more
        )
        record = sign(record, by, TEAM[by]) if by in TEAM else record
        write_feedback(LocalStore(self.folder), record)
        return record.key

    def read(self, **spec) -> tuple[list[Example], dict[str, int]]:
        examples, account = read_feedback_source(self.source(**spec))
        return examples, account.counts()

    def source(self, **spec) -> FeedbackSource:
        return FeedbackSource(kind="feedback", path=str(self.folder), **spec)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "feedback")


def failures(box: Box, count: int) -> None:
    for number in range(count):
        box.judge(
            f"How many orders of kind {number}x cost more?", "SELECT 1", f"SELECT total FROM orders WHERE id = {number}"
        )


def test_right_answers_and_corrections_become_rows(box: Box) -> None:
    box.judge("How many orders?", "SELECT COUNT(*) FROM orders")
    box.judge("Which cities?", "SELECT id FROM orders", "SELECT DISTINCT city FROM orders")
    examples, counts = box.read(regression_share=0)
    assert [(e.question, e.sql, e.tags["feedback"]) for e in examples] == [
        ("How many orders?", "SELECT COUNT(*) FROM orders", "right"),
        ("Which cities?", "SELECT DISTINCT city FROM orders", "corrected"),
    ]
    assert {(e.db_id, e.schema, e.source) for e in examples} == {("shop", SHOP, "feedback")}
    assert counts == {"used": 2, "superseded": 0, "uncorrected": 0, "untrusted": 0, "unreadable": 0}


def test_what_no_known_reviewer_signed_never_becomes_a_row(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.judge("How many orders?", "SELECT COUNT(*) FROM orders")
    box.judge("Anonymous?", "SELECT 1", by=None)
    signed = sign(
        Feedback(
            question="Forged?",
            db_id="shop",
            ddl=SHOP,
            sql="SELECT 2",
            verdict="right",
            release="r",
            version="3",
            time="2026-01-01T00:00:00.000+00:00",
        ),
        "ada",
        "not-the-token-of-ada",
    )
    write_feedback(LocalStore(box.folder), signed)
    LocalStore(box.folder).write("answers/garbage.json", b"{")
    examples, counts = box.read()
    assert [e.question for e in examples] == ["How many orders?"]
    assert (counts["untrusted"], counts["unreadable"]) == (2, 1)
    monkeypatch.setenv("NIGHTSHIFT_REVIEWERS", f"bob:{TEAM['bob']}")  # ada leaves: what she signed counts no more
    assert box.read() == ([], {"used": 0, "superseded": 0, "uncorrected": 0, "untrusted": 3, "unreadable": 1})


def test_a_wrong_answer_without_the_right_one_teaches_nothing(box: Box) -> None:
    box.judge("Which cities?", "SELECT id FROM orders", "")
    examples, counts = box.read()
    assert examples == []
    assert counts["uncorrected"] == 1


def test_the_latest_judgement_on_a_question_counts(box: Box) -> None:
    box.judge("Which cities?", "SELECT id FROM orders")
    box.judge("which CITIES", "SELECT id FROM orders", "SELECT city FROM orders", by="bob")
    box.judge("Which cities?", "SELECT DISTINCT city FROM orders", ddl=SHOP + ";", version="4")
    (example,), counts = box.read(regression_share=1)
    assert example.sql == "SELECT DISTINCT city FROM orders"
    assert (counts["used"], counts["superseded"]) == (1, 2)
    # It failed once, in version 3: a later right answer does not take it out of the regression split.
    assert example.tags["regression"] == "r version 3"


def test_a_folder_that_is_not_there_yet_holds_none(box: Box) -> None:
    assert box.read()[0] == []


def test_a_share_of_the_failures_is_held_out_for_good(box: Box) -> None:
    failures(box, 28)
    box.judge("How many orders?", "SELECT COUNT(*) FROM orders")
    first, _ = box.read()
    held, others = hold_failures(first, {})
    assert 6 <= len(held) <= 22
    assert all(e.tags["feedback"] == "corrected" for e in held)
    assert "right" in {e.tags["feedback"] for e in others}
    # The same ones whatever arrives later, and whatever the share becomes.
    memory = {memory_key(e): "test" for e in held} | {memory_key(e): "train" for e in others}
    box.judge("A new one?", "SELECT 1", "SELECT 2")
    for share in (0.0, 0.5, 1.0):
        again, _ = box.read(regression_share=share)
        later, _ = hold_failures(again, memory)
        assert {e.id for e in held} <= {e.id for e in later}
        assert {e.id for e in later} - {e.id for e in held} <= {again[-1].id}


def test_what_was_trained_on_never_becomes_a_test(box: Box) -> None:
    box.judge("How many orders?", "SELECT COUNT(*) FROM orders")
    (before,), _ = box.read()
    box.judge("How many orders?", "SELECT COUNT(*) FROM orders", "SELECT COUNT(id) FROM orders")
    after, _ = box.read(regression_share=1)
    assert "regression" in after[0].tags
    held, (trained,) = hold_failures(after, {memory_key(before): "train"})
    assert held == []
    assert trained.sql == "SELECT COUNT(id) FROM orders"
    assert "regression" not in trained.tags


def test_splits_train_on_what_users_ask_and_test_on_what_failed(box: Box) -> None:
    failures(box, 20)
    for number in range(12):
        box.judge(f"Orders from place {number}y?", f"SELECT id FROM orders WHERE city = 'c{number}'")
    examples, _ = box.read()
    held, _ = hold_failures(examples, {})
    copy = Example("copy", "pets", held[0].question, "CREATE TABLE pets (id INTEGER)", "SELECT id FROM pets")
    others = [
        Example(f"f{n}", f"db{n}", f"What about {n} z?", f"CREATE TABLE t{n} (a{n} INT)", f"SELECT a{n} FROM t{n}")
        for n in range(20)
    ]
    spec = DataSpec(sources=(box.source(),), decontaminate={"sql": False})
    one = divide([copy, *others, *examples], spec, {})
    test = [e for e in one.splits["test"] if "regression" in e.tags]
    assert {e.id for e in test} == {e.id for e in held}
    assert sum(e.db_id == "shop" for e in one.splits["train"]) >= 12
    assert one.assignment["shop"] == "train"
    assert one.contaminated["question"] == ["copy"]  # it asks in training what the regression split asks
    # The next night, with more feedback: nothing has moved, the split has grown.
    failures(box, 25)
    more, _ = box.read()
    two = divide([copy, *others, *more], spec, one.assignment)
    later = {e.id for e in two.splits["test"] if "regression" in e.tags}
    assert {e.id for e in test} < later
    assert not later & {e.id for e in one.splits["train"]}


def test_gold_of_regression_rows_runs_on_the_databases_of_users(box: Box, tmp_path: Path) -> None:
    (tmp_path / "databases").mkdir()
    sqlite3.connect(tmp_path / "databases" / "shop.sqlite").executescript(SHOP).close()
    failures(box, 1)
    (example,), _ = box.read(databases=str(tmp_path / "databases"))
    assert example.database == str(tmp_path / "databases" / "shop.sqlite")
    failures_elsewhere = box.judge("Outside?", "SELECT 1", db_id="../shop")
    examples, _ = box.read(databases=str(tmp_path / "databases"))
    assert [e.database for e in examples if e.file.endswith(failures_elsewhere)] == [""]


def test_without_a_path_it_reads_where_the_command_writes(box: Box, tmp_path: Path, monkeypatch) -> None:
    box.judge("How many orders?", "SELECT COUNT(*) FROM orders")
    monkeypatch.setenv("NIGHTSHIFT_FEEDBACK", str(box.folder))
    assert len(read_feedback_source(FeedbackSource())[0]) == 1
    monkeypatch.delenv("NIGHTSHIFT_FEEDBACK")
    monkeypatch.setenv("NIGHTSHIFT_STORE", str(tmp_path))  # `feedback` below the store is the default
    assert len(read_feedback_source(FeedbackSource())[0]) == 1


def test_the_fingerprint_follows_trusted_rows_alone(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.judge("How many orders?", "SELECT COUNT(*) FROM orders")
    first = source_fingerprint(box.source())
    box.judge("Anonymous?", "SELECT 1", by=None)
    assert source_fingerprint(box.source()) == first
    box.judge("Which cities?", "SELECT city FROM orders", by="bob")
    second = source_fingerprint(box.source())
    assert second != first
    monkeypatch.setenv("NIGHTSHIFT_REVIEWERS", f"ada:{TEAM['ada']}")
    assert source_fingerprint(box.source()) == first


def test_a_night_prepares_feedback_like_every_other_source(box: Box, tmp_path: Path, monkeypatch) -> None:
    """Through validation, quarantine, splits and the stored dataset, without a Prefect server."""
    import flows.prepare as step
    from flows.night import freeze, open_night, plan_night
    from flows.recipe import load_recipe
    from infra.settings import load_settings
    from tasks.data.dataset import read_examples

    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(step, "create_table_artifact", lambda *_, **__: None)
    monkeypatch.setattr(step, "create_markdown_artifact", lambda *_, **__: None)
    failures(box, 10)
    box.judge("Which cities are there?", "SELECT DISTINCT city FROM orders")
    box.judge("What is broken here?", "SELECT nothing FROM orders")  # signed, and still has to pass validation
    box.judge("Who says so?", "SELECT id FROM orders", by=None)
    source = f"{{kind: feedback, path: {box.folder}}}"
    recipe = load_recipe("tiny", [f"data.sources=[{{kind: generated, domains: [film, sports]}}, {source}]"])
    night = plan_night(recipe, settings=load_settings())
    freeze(night, "test")
    night = open_night(night.id, load_settings())
    checked = step.validate_sources.fn(night)
    broken = [bad for bad in checked.quarantined if "What is broken here?" in bad.original]
    assert len(broken) == 1
    assert broken[0].reasons
    outcome = step.build_dataset.fn(night, checked)
    folder = night.store.get_tree(outcome["dataset"]["key"], tmp_path / "dataset")
    train, test = (read_examples(folder / f"{split}.jsonl") for split in ("train", "test"))
    held = {e.id for e in test if "regression" in e.tags}
    assert held
    assert outcome["regression"] == len(held)
    assert "Which cities are there?" in {e.question for e in train}
    assert not {e.id for e in train} & held
    assert not any("Who says so?" in e.question for e in [*train, *test])
    account = step.feedback_accounts(night)["feedback"]["feedback"]["counts"]
    assert (account["used"], account["untrusted"]) == (12, 1)
    remembered = night.store.read_json(f"splits/{recipe.name}.json")
    assert sum(key.startswith("feedback question") for key in remembered) >= len(held) + 1
