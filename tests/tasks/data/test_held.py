"""How many rows of a source are held: which ones, in what order, and that all others are accounted for."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from tasks.data.build import divide
from tasks.data.example import Example
from tasks.data.held import Undrawn, draw_rows
from tasks.data.ingest import read_sources
from tasks.data.mapping import BadRecord
from tasks.data.sources import FileSource
from tasks.data.spec import DataSpec
from tasks.data.strata import hashed


def bad(number: int, id: str = "") -> BadRecord:
    return BadRecord("rows.jsonl", number, id or f"rows-{number}", ("bad_json",), "{")


def write(path: Path, rows: int, words: int = 3) -> Path:
    schema = "CREATE TABLE pupils (id INT)"
    with path.open("w") as handle:
        for n in range(rows):
            question = f"{n} {'word ' * words}?"
            row = {"db_id": f"d{n % 7}", "question": question, "sql": f"SELECT {n} FROM pupils", "schema": schema}
            handle.write(json.dumps(row) + "\n" if n % 5 else "{\n")
    return path


@pytest.mark.parametrize("most", [1, 7, 50, 299])
def test_the_rows_of_lowest_hash_are_drawn_in_their_order(most: int) -> None:
    rows = [bad(n) for n in range(300)]
    held, read = draw_rows(iter(rows), most)
    assert read == 300
    lowest = sorted(rows, key=lambda row: hashed(f"held|{row.id}"))[:most]
    assert held == sorted(lowest, key=lambda row: row.row)


@pytest.mark.parametrize("most", [300, 1000, None])
def test_all_are_held_where_there_are_no_more(most: int | None) -> None:
    rows = [bad(n) for n in range(300)]
    assert draw_rows(rows, most) == (rows, 300)


def test_of_rows_with_one_id_the_first_are_held() -> None:
    rows = [bad(n, "same") for n in range(100)]
    assert draw_rows(rows, 10)[0] == rows[:10]


def test_further_rows_change_little_of_what_was_drawn() -> None:
    rows = [bad(n) for n in range(1100)]
    before, after = ({row.id for row in draw_rows(rows[:count], 100)[0]} for count in (1000, 1100))
    assert len(before & after) > 80


def test_rows_left_out_are_counted_by_source_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    few, many = write(tmp_path / "few.jsonl", 10), write(tmp_path / "many.jsonl", 400)
    sources = (FileSource(path=str(few)), FileSource(path=str(many), name="many", max_rows=100))
    read = read_sources(sources)
    assert read.undrawn == (Undrawn("many", 300, 100),)
    assert len(read.examples) + len(read.bad) == 110
    assert [e.row for e in read.examples if e.source == "many"] == sorted(
        e.row for e in read.examples if e.source == "many"
    )
    assert 10 < sum(record.file == str(many) for record in read.bad) < 30  # drawn like readable ones
    divided = divide(read.examples, DataSpec(sources=sources), {})
    account = divided.accounting(110, len(read.bad), {"bad_json": len(read.bad)}, read.undrawn)
    account.check()
    assert (account.rows, account.undrawn, account.undrawn_of) == (410, 300, {"many": 300})
    assert read.undrawn[0].told() == "many: 100 of 400 rows drawn by a hash of their ids, 300 left out (max_rows)"


def test_memory_does_not_grow_beyond_the_rows_that_are_held(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", 4000, words=1000)
    read_sources([FileSource(path=str(path), max_rows=10)])  # so that caches of the parser are not measured
    tracemalloc.start()
    try:
        read = read_sources([FileSource(path=str(path), max_rows=400)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(isinstance(row, Example) and len(row.question) > 5000 for row in read.examples) > 300
    assert peak < 6_000_000  # of 20 MB


def test_validate_tells_what_it_left_out(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from flows.cli.main import app

    path = str(write(tmp_path / "rows.jsonl", 60))
    done = CliRunner().invoke(app, ["validate", path, "--max-rows", "40", "--json"])
    document = json.loads(done.stdout)
    assert (document["rows"], document["undrawn"]) == (40, 20)
    assert document["kept"] + document["quarantined"] == 40
    told = CliRunner().invoke(app, ["profile", path, "--max-rows", "40", "--out", str(tmp_path / "page.html")])
    assert f"{path}: 40 of 60 rows drawn by a hash of their ids, 20 left out (max_rows)" in told.stdout
    assert "20 more rows are not shown" in (tmp_path / "page.html").read_text(encoding="utf-8")
