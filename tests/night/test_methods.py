"""Whole nights of the other methods with tiny models: what they leave is evaluated, released and answers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.commands import nightshift


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param("tiny_full", marks=pytest.mark.night),
        pytest.param("tiny_seq2seq", marks=pytest.mark.night),
        pytest.param("tiny_prompt_tuning", marks=pytest.mark.cluster),
    ],
)
def test_a_night_of_another_method_is_promoted_and_answers(project: Path, recipe: str) -> None:
    code, outcome = nightshift(project, "retrain", recipe, "--set", "training.stages.0.max_steps=2")
    assert (code, outcome["outcome"]) == (0, "promoted")
    assert outcome["stages"][0]["metrics"]["rows_per_second"] > 0
    with sqlite3.connect(project / "cars.sqlite") as database:
        database.execute("CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT)")
    code, answer = nightshift(project, "ask", "How many cars?", "--database", str(project / "cars.sqlite"))
    assert code in (0, 1)  # a random model's SQL need not run; it is the release in Production that wrote it
    assert answer["question"] == "How many cars?"
