"""A dataset's own contract: splits that do not meet, and the shape of the last accepted one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.data.build import Divided
from tasks.data.example import Example
from tasks.data.feedback_source import REGRESSION
from tasks.data.mixture import Mixed
from validation.dataset import distribution, validate_dataset
from validation.spec import ValidationSpec


def rows(database: str, count: int, difficulty: str = "easy", words: int = 3) -> list[Example]:
    return [
        Example(f"{database}{i}", database, f"{database} {'word ' * words}{i}?", f"CREATE TABLE {database} (a)",
                f"SELECT a FROM {database}", difficulty=difficulty)
        for i in range(count)
    ]  # fmt: skip


def divided(train: list[Example], test: list[Example], contaminated: int = 0) -> Divided:
    met = {"question": [f"c{i}" for i in range(contaminated)]}
    return Divided({"train": train, "validation": [], "test": test}, {}, [], met, Mixed(train, {}, []))


def broken(*arguments, spec: ValidationSpec | None = None, **options) -> list[str]:
    outcomes = validate_dataset(arguments[0], spec or ValidationSpec(), *arguments[1:] or ({},), **options)
    assert all(outcome.scope == "batch" for outcome in outcomes)
    return [outcome.reason for outcome in outcomes if not outcome.success]


@pytest.mark.parametrize(
    ("train", "test", "reasons"),
    [
        (rows("a", 4), rows("b", 2), []),
        (rows("a", 4), [], ["empty_split"]),
        (rows("a", 4) + rows("b", 1), rows("b", 2), ["train_test_overlap"]),
    ],
)
def test_splits_hold_rows_and_do_not_meet(train, test, reasons) -> None:
    assert broken(divided(train, test)) == reasons


def test_divided_by_row_a_database_may_be_in_two_splits_but_no_question() -> None:
    one = rows("a", 6)
    assert broken(divided(one[:4], one[4:]), by_database=False) == []
    assert broken(divided(one[:4], one[3:]), by_database=False) == ["train_test_overlap"]


def test_a_failure_held_out_of_training_bars_its_question_alone() -> None:
    held = [replace(row, tags={REGRESSION: "wrong"}) for row in rows("a", 6)[4:]]
    assert broken(divided(rows("a", 4), rows("b", 2) + held)) == []
    assert broken(divided(rows("a", 5), rows("b", 2) + held)) == ["train_test_overlap"]


def test_too_much_contamination_is_no_dataset() -> None:
    found = divided(rows("a", 4), rows("b", 2), contaminated=6)
    assert broken(found) == ["contaminated_share"]
    assert broken(found, spec=ValidationSpec(max_contaminated_share=0.6)) == []


def test_the_shape_of_the_last_accepted_dataset_is_kept(tmp_path) -> None:
    before = distribution(divided(rows("a", 60) + rows("c", 20, "hard"), rows("b", 20)))
    assert before["difficulty"] == {"easy": 0.8, "hard": 0.2}
    near = divided(rows("a", 50) + rows("c", 30, "hard"), rows("b", 20))
    far = divided(rows("a", 30) + rows("c", 50, "hard", words=30), rows("b", 20))
    assert broken(near, before) == []
    assert broken(near, before, spec=ValidationSpec(max_drift=0.05)) == ["drift_difficulty"]
    assert broken(far, before, tmp_path / "docs") == ["drift_difficulty", "drift_question"]
    assert broken(far, before, spec=ValidationSpec(skip=["drift_difficulty", "drift_question"])) == []
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "docs").rglob("*.html")]
    assert any("drift_difficulty: difficulties have the shares" in page for page in pages)


def test_a_kind_of_statement_that_was_never_there_is_drift() -> None:
    before = distribution(divided(rows("a", 10), rows("b", 10)))
    deletes = [
        Example(f"d{i}", "d", f"d {'word ' * 3}{i}?", "CREATE TABLE d (a)", "DELETE FROM d", difficulty="easy")
        for i in range(10)
    ]
    assert broken(divided(deletes, rows("b", 10)), before) == ["drift_statement"]
