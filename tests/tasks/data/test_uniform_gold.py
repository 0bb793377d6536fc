"""Training rows written one way: checked on their schema, and the same in what they return."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.data.example import Example
from tasks.data.ingest import read_sources
from tasks.data.sources import FileSource
from tasks.data.uniform_gold import write_uniformly
from tasks.sql.judge import judge_many
from tasks.sql.judgement import Job

DDL = "CREATE TABLE Singer (Singer_ID INT, Name TEXT, Age INT); CREATE TABLE Song (Song_ID INT, Title TEXT);"


def test_a_rewritten_query_that_does_not_prepare_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Example(str(i), "d", "q", DDL, sql) for i, sql in enumerate(["select name from singer", "select nothing"])]
    assert [row.sql for row in write_uniformly(rows)] == ["SELECT Name FROM Singer", "select nothing"]
    monkeypatch.setattr("tasks.data.uniform_gold.uniform", lambda sql, tables: f"{sql} x y z")
    assert write_uniformly(rows) == rows


def test_spiders_queries_return_what_they_returned_before(real_data: Path) -> None:
    examples = read_sources([FileSource(path=str(real_data / "spider"))]).examples
    rewritten = write_uniformly(examples)
    jobs = [
        Job(before.id, before.sql, after.sql, database=before.database)
        for before, after in zip(examples, rewritten, strict=True)
    ]
    assert sum(before.sql != after.sql for before, after in zip(examples, rewritten, strict=True)) > 2500
    verdicts = [judgement.execution_match for judgement in judge_many(jobs)]
    assert verdicts.count(False) == 0
    assert verdicts.count(True) == 2997
