"""Splits: by database, sticky, and never a leak."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.dataset import Accounting, read_examples, read_manifest, write_dataset
from tasks.data.example import Example
from tasks.data.mixture import MixtureSpec, mix
from tasks.data.splits import SplitSpec, assign_databases, assign_splits, split_key


def example(
    identifier: str, db: str = "d", question: str = "", split: str | None = None, sql: str = "SELECT a FROM t", **more
):
    tags = {"split": split} if split else {}
    return Example(
        identifier,
        db,
        question or f"question {identifier}?",
        "CREATE TABLE t (a)",
        sql,
        tags=tags,
        file="f",
        row=1,
        **more,
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


BY_ROW = SplitSpec(by="row", test_share=0.2, validation_share=0.1, stratify=("difficulty", "evidence"))


def rows_of_one_database(count: int) -> list[Example]:
    return [
        example(
            str(i),
            sql=f"SELECT a FROM t WHERE a = {i}",
            difficulty=("easy", "medium", "hard", "hard")[i % 4],
            evidence="word " * (0, 15, 30)[i % 3],
        )
        for i in range(count)
    ]


def test_rows_of_a_database_are_divided_with_every_stratum_in_its_share() -> None:
    rows = rows_of_one_database(1200)
    splits = assign_splits(rows, BY_ROW, {})
    for difficulty, share in (("easy", 0.25), ("medium", 0.25), ("hard", 0.5)):
        for bucket in range(3):
            stratum = [i for i, e in enumerate(rows) if e.difficulty == difficulty and i % 3 == bucket]
            test = sum(splits[split_key(rows[i], BY_ROW)] == "test" for i in stratum)
            assert abs(test - 0.2 * 1200 * share / 3) <= 1


def test_shares_of_rows_are_exact_and_every_smaller_sample_keeps_clear_of_what_is_held_out() -> None:
    """Of 100,000 rows divided by a random state, a tenth drawn with the same state held 2,443 of the 2,500 held out."""
    spec = SplitSpec(by="row", test_share=0.02, validation_share=0.025)
    rows = [example(str(i), sql=f"SELECT a FROM t WHERE a = {i}") for i in range(20_000)]
    splits = assign_splits(rows, spec, {})
    held = {e.id for e in rows if splits[split_key(e, spec)] != "train"}
    assert Counter(splits.values()) == {"train": 19_100, "validation": 500, "test": 400}
    train = [e for e in rows if e.id not in held]
    small = {e.id for e in mix(train, MixtureSpec(max_rows=2_000), {}).rows}
    assert len(small) == 2_000
    assert not small & held
    # The same rows in another order, or a tenth of them alone with last night's splits, are held out no other way.
    assert assign_splits(rows[::-1], spec, {}) == splits
    assert assign_splits(rows[:2_000], spec, splits).items() <= splits.items()


def test_rows_with_one_query_are_never_parted() -> None:
    twice = [example(f"{i}{way}", sql=f"SELECT a FROM t WHERE a = {i}{way}") for i in range(50) for way in ("", " ;")]
    splits = assign_splits(twice, BY_ROW, {})
    assert len(splits) == 50
    assert set(splits.values()) == {"train", "validation", "test"}


def test_new_rows_move_no_old_ones() -> None:
    before = assign_splits(rows_of_one_database(100), BY_ROW, {})
    assert before.items() <= assign_splits(rows_of_one_database(900), BY_ROW, before).items()


def test_an_old_test_database_stays_one_when_rows_are_divided_from_now_on() -> None:
    assert set(assign_splits(rows_of_one_database(20), BY_ROW, {"d": "test"}).values()) == {"test"}
    divided = assign_splits(rows_of_one_database(20), BY_ROW, {})
    with pytest.raises(UserError, match="rows of database d were divided"):
        assign_splits(rows_of_one_database(20), SplitSpec(), divided)


def test_strata_are_for_rows_alone() -> None:
    with pytest.raises(ValueError, match="needs by: row"):
        SplitSpec(stratify=("difficulty",))
    with pytest.raises(ValueError, match="leave nothing for training"):
        SplitSpec(test_share=0.7, validation_share=0.3)


def test_a_dataset_accounts_for_every_row(tmp_path: Path) -> None:
    splits = {"train": [example("1", "a")], "validation": [], "test": [example("2", "b")]}
    accounting = Accounting(rows=6, kept=2, quarantined=1, duplicate=1, contaminated=1, unused=1)
    manifest = write_dataset(tmp_path / "one", splits, {"a": "train", "b": "test"}, accounting, {"duplicate": ["3"]})
    assert read_manifest(tmp_path / "one") == manifest
    assert read_examples(tmp_path / "one" / "test.jsonl") == splits["test"]
    again = write_dataset(tmp_path / "two", splits, {"a": "train", "b": "test"}, accounting, {})
    assert again.fingerprint == manifest.fingerprint
    lost = accounting.model_copy(update={"quarantined": 0})
    with pytest.raises(UserError, match="6 rows came in but 5"):
        write_dataset(tmp_path / "three", splits, {}, lost, {})
