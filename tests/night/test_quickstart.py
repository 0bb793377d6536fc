"""One real night: the quickstart model learns, is promoted, holds its place against a weak challenger, and answers."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.commands import nightshift

pytestmark = pytest.mark.night

CONCERTS = """
CREATE TABLE singers (singer_id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INTEGER);
CREATE TABLE concerts (concert_id INTEGER PRIMARY KEY, singer_id INTEGER REFERENCES singers(singer_id), year INTEGER);
INSERT INTO singers VALUES (1, 'Lea Moreau', 'France', 31), (2, 'Jan Novak', 'Czechia', 45),
  (3, 'Ann Lee', 'France', 27);
INSERT INTO concerts VALUES (1, 1, 2023), (2, 1, 2024), (3, 2, 2024);
"""


def test_the_quickstart_night(tmp_path: Path) -> None:
    assert nightshift(tmp_path, "fetch", "quickstart")[0] == 0  # as `make retrain` does: no part of the night
    code, outcome = nightshift(tmp_path, "retrain", "quickstart")
    print(
        json.dumps({key: outcome[key] for key in ("outcome", "seconds", "metrics", "base_metrics", "gates")}, indent=1)
    )
    assert (code, outcome["outcome"]) == (0, "promoted")
    assert outcome["metrics"]["execution_accuracy"] > outcome["base_metrics"]["execution_accuracy"] + 0.3

    code, again = nightshift(tmp_path, "retrain", "quickstart")
    assert (code, again["outcome"]) == (0, "nothing_new")

    handful = [part for i in range(3) for part in ("--set", f"training.stages.{i}.max_steps=2")]
    code, weak = nightshift(tmp_path, "retrain", "quickstart", *handful)
    assert (code, weak["outcome"], weak["champion"]) == (3, "rejected", "1")
    _, releases = nightshift(tmp_path, "releases")
    assert [(r["version"], r["aliases"], r["verdict"]) for r in releases] == [
        ("2", [], "fail"),
        ("1", ["Production"], "pass"),
    ]

    database = tmp_path / "concerts.sqlite"
    connection = sqlite3.connect(database)
    connection.executescript(CONCERTS)
    connection.close()
    code, answer = nightshift(tmp_path, "ask", "How many singers are there?", "--database", str(database))
    assert answer["version"] == "1"
    assert answer["sql"].upper().startswith("SELECT")
    assert code == (0 if answer["status"] == "ok" else 1)
