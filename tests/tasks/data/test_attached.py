"""Database files travel with the rows that are scored, under their content."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import UserError
from infra.store import LocalStore
from tasks.data.attached import fetch_databases, keep_databases, without_databases
from tasks.data.example import Example
from tasks.data.frame import feature_rows

ROW = Example("a", "club", "Which towns?", "CREATE TABLE member (town TEXT);", "SELECT town FROM member")


def database(path: Path, *towns: str) -> str:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE member (town TEXT)")
    connection.executemany("INSERT INTO member VALUES (?)", [(town,) for town in towns])
    connection.commit()
    connection.close()
    return str(path)


def test_files_go_into_the_store_once_and_come_back(tmp_path):
    store = LocalStore(tmp_path / "store")
    (tmp_path / "other").mkdir()
    one = replace(ROW, database=database(tmp_path / "club.sqlite", "Ulm"))
    two = replace(ROW, database=database(tmp_path / "pub.sqlite", "Ulm", "Hof"))
    copy = replace(ROW, database=database(tmp_path / "other" / "club.sqlite", "Ulm"))
    kept = keep_databases(store, [one, two, one, copy, ROW])
    keys = [row.database for row in kept]
    assert keys[0] == keys[2] == keys[3] != keys[1]
    assert keys[4] == ""
    assert all(key.startswith("databases/") for key in keys[:4])  # no path of this machine
    assert len(store.list("databases")) == 2
    (tmp_path / "club.sqlite").unlink()
    fetched = fetch_databases(store, kept, tmp_path / "work")
    assert [row["result_rows"] for row in feature_rows(fetched)] == [1, 2, 1, 1, 0]


def test_a_file_that_has_gone_is_named(tmp_path):
    with pytest.raises(UserError, match="database club"):
        keep_databases(LocalStore(tmp_path), [replace(ROW, database=str(tmp_path / "gone.sqlite"))])


def test_training_rows_carry_no_path():
    assert without_databases([replace(ROW, database="/somewhere/club.sqlite"), ROW]) == [ROW, ROW]
