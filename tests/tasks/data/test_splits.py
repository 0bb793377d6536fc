"""Splits: by database, sticky, and never a leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.dataset import Accounting, read_examples, read_manifest, write_dataset
from tasks.data.dedupe import drop_contaminated, drop_duplicates
from tasks.data.example import Example
from tasks.data.splits import SplitSpec, assign_databases


def example(
    identifier: str, db: str = "d", question: str = "", split: str | None = None, schema: str = "CREATE TABLE t (a)"
):
    tags = {"split": split} if split else {}
    return Example(
        identifier, db, question or f"question {identifier}?", schema, "SELECT a FROM t", tags=tags, file="f", row=1
    )


def test_adding_databases_moves_none() -> None:
    spec = SplitSpec(test_share=0.3, validation_share=0.1)
    few = assign_databases([example(str(i), f"db{i}") for i in range(40)], spec, {})
    many = assign_databases([example(str(i), f"db{i}") for i in range(400)], spec, {})
    assert few.items() <= many.items()
    assert 0.2 < sum(split == "test" for split in many.values()) / 400 < 0.4


def test_last_nights_split_is_inherited_whatever_the_shares() -> None:
    before = {"db1": "test", "db2": "train"}
    now = assign_databases([example("1", "db1"), example("2", "db2")], SplitSpec(test_share=0.01), before)
    assert now == before


def test_given_splits_are_taken() -> None:
    rows = [example("1", "a", split="test"), example("2", "b", split="train")]
    assert assign_databases(rows, SplitSpec(), {}) == {"a": "test", "b": "train"}


@pytest.mark.parametrize(
    ("rows", "before", "message"),
    [
        ([example("1", "a", split="dev")], {}, "f row 1: split 'dev'"),
        ([example("1", "a", split="test"), example("2", "a", split="train")], {}, "database a is given to both"),
        ([example("1", "a", split="train")], {"a": "test"}, "database a was in test"),
    ],
)
def test_contradictions_are_errors(rows: list[Example], before: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        assign_databases(rows, SplitSpec(), before)


def test_duplicates_need_the_same_question_and_schema() -> None:
    rows = [
        example("1", question="How many cars?"),
        example("2", question="how many  CARS"),
        example("3", question="How many cars?", schema="CREATE TABLE u (a)"),
    ]
    kept, dropped = drop_duplicates(rows)
    assert [e.id for e in kept] == ["1", "3"]
    assert dropped == ["2"]


def test_training_rows_that_meet_test_are_contaminated() -> None:
    test = [example("t", "test_db", question="How many cars?")]
    train = [example("1", "test_db"), example("2", "other", question="how many cars"), example("3", "other")]
    kept, met = drop_contaminated(train, test)
    assert [e.id for e in kept] == ["3"]
    assert met == ["1", "2"]


def test_a_dataset_accounts_for_every_row(tmp_path: Path) -> None:
    splits = {"train": [example("1", "a")], "validation": [], "test": [example("2", "b")]}
    accounting = Accounting(rows=5, kept=2, quarantined=1, duplicate=1, contaminated=1)
    manifest = write_dataset(tmp_path / "one", splits, {"a": "train", "b": "test"}, accounting, {"duplicate": ["3"]})
    assert read_manifest(tmp_path / "one") == manifest
    assert read_examples(tmp_path / "one" / "test.jsonl") == splits["test"]
    again = write_dataset(tmp_path / "two", splits, {"a": "train", "b": "test"}, accounting, {})
    assert again.fingerprint == manifest.fingerprint
    lost = accounting.model_copy(update={"quarantined": 0})
    with pytest.raises(UserError, match="5 rows came in but 4"):
        write_dataset(tmp_path / "three", splits, {}, lost, {})
