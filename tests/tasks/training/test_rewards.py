"""Rewards: each part on both sides, weighted as the recipe says, and hostile answers cost their reward alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.data.example import Example
from tasks.evaluation.text_metrics import rouge_l
from tasks.sql.judge import JudgePool
from tasks.sql.limits import Limits
from tasks.training.rewards import Answer, format_reward, reward_answers, usable
from tasks.training.specs.rewards import RewardSpec

DDL = "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
CAR = Example(
    "car",
    "cars",
    "Cars above 30?",
    DDL,
    "SELECT name FROM cars WHERE price > 30",
    setup="INSERT INTO cars VALUES (1, 'Saab', 30), (2, 'BMW', 50), (3, 'Volvo', 20)",
)
EVERYTHING = RewardSpec(execution=1, hybrid_score=1, syntax=1, format=1)


@pytest.fixture(scope="module")
def pool() -> Iterator[JudgePool]:
    with JudgePool(Limits(seconds=1.0), workers=1) as pool:
        yield pool


def parts(pool: JudgePool, *texts: str) -> list[dict[str, float]]:
    return [r.parts for r in reward_answers([CAR] * len(texts), [Answer(t) for t in texts], EVERYTHING, pool.judge)]


def test_the_parts_of_a_reward(pool: JudgePool) -> None:
    right, wrong, unknown, prose, fenced = parts(
        pool,
        "SELECT name FROM cars WHERE price >= 31",
        "SELECT name FROM cars WHERE price < 30",
        "SELECT colour FROM cars",
        "I do not know.",
        "```sql\nSELECT name FROM cars WHERE price > 30\n```",
    )
    assert right == {"execution": 1, "hybrid_score": 1, "syntax": 1, "format": 1}
    # ROUGE-L does not see `<` for `>`: a wrong answer that is nearly gold earns 0.7, which is why execution counts.
    assert wrong == {"execution": 0, "hybrid_score": pytest.approx(0.7), "syntax": 1, "format": 1}
    assert unknown["syntax"] == 0.5
    assert unknown["hybrid_score"] == pytest.approx(0.7 * rouge_l(CAR.sql, "SELECT colour FROM cars"))
    assert (prose["execution"], prose["syntax"], prose["format"]) == (0, 0, 0.5)
    assert (fenced["execution"], fenced["format"]) == (1, 0.5)


def test_an_answer_that_never_ends_is_half_as_well_formed() -> None:
    assert format_reward(Answer("SELECT 1;", ended=True)) == 1
    assert format_reward(Answer("SELECT 1;", ended=False)) == 0.5
    assert format_reward(Answer("", ended=True)) == 0.5
    assert format_reward(Answer("SELECT 1; SELECT 2", ended=False)) == 0


def test_the_reward_is_the_weighted_sum(pool: JudgePool) -> None:
    spec = RewardSpec(hybrid_score=0.8, reward_model=0.2)
    seen: list[Sequence[str]] = []

    def scorer(examples: Sequence[Example], texts: Sequence[str]) -> list[float]:
        seen.append(texts)
        return [0.5 for _ in texts]

    (one,) = reward_answers([CAR], [Answer(CAR.sql)], spec, pool.judge, scorer)
    assert one.total == pytest.approx(0.8 + 0.1)
    assert seen == [[CAR.sql]]
    with pytest.raises(ValueError, match="no model to score it"):
        reward_answers([CAR], [Answer(CAR.sql)], spec, pool.judge)


def test_hostile_answers_cost_their_reward_and_nothing_else(pool: JudgePool, tmp_path: Path) -> None:
    stolen = tmp_path / "stolen.db"
    hostile = [
        f"ATTACH DATABASE '{stolen}' AS x",
        f"VACUUM INTO '{stolen}'",
        "DROP TABLE cars",
        "SELECT load_extension('evil.so')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "SELECT randomblob(1000000000)",
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
        "SELECT name FROM cars WHERE price > 30; DROP TABLE cars",
        "\x00\ud800",
    ]
    found = parts(pool, *hostile, CAR.sql)
    assert [part["execution"] for part in found[:7]] == [0] * 7
    assert found[-1]["execution"] == 1
    assert not stolen.exists()


def test_only_examples_whose_gold_says_something_are_used(pool: JudgePool) -> None:
    broken, empty = replace(CAR, id="b", sql="SELECT x FROM cars"), replace(CAR, id="e", sql=f"{CAR.sql}00")
    kept, left_out = usable([broken, CAR, empty], pool.judge)
    assert kept == [CAR]
    assert left_out == {"gold_failed": 1, "gold_empty": 1}


def test_a_reward_without_any_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one weight"):
        RewardSpec()
