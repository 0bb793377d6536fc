"""Plain DDL is what the parser reads too; everything else is left to it."""

from __future__ import annotations

import re
import sqlite3

import pytest
from sqlglot.dialects.sqlite import SQLite

from tasks.data.plain_ddl import TYPES, is_plain_ddl
from tasks.data.schema import parse_schema

WORDS = {word.lower() for word in (*SQLite.Tokenizer.KEYWORDS, *TYPES.split()) if re.fullmatch(r"\w+", word)}
SHAPES = [f"CREATE TABLE t (x INT, {{0}} {kind}, z TEXT)" for kind in ("INT", "VARCHAR(20)")]
SHAPES += ["CREATE TABLE {0} (x INT, y TEXT)", "CREATE TABLE t (x INT, {0} TEXT, PRIMARY KEY ({0}))"]
SHAPES += ["CREATE TABLE t (x INT, FOREIGN KEY (x) REFERENCES {0}(x))"]


def columns(ddl: str) -> list[tuple[str, list[str]]] | None:
    """Tables and columns as SQLite reads them; None when it does not."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(ddl)
    except sqlite3.Error:
        return None
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [
        (name, [row[1] for row in connection.execute("SELECT * FROM pragma_table_info(?)", (name,))]) for name in names
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_word_is_a_name_plain_means_read_as_sqlite_reads_it(shape: str) -> None:
    plain = 0
    for word in sorted(WORDS):
        ddl = shape.format(word)
        read = columns(ddl)
        if read is not None and is_plain_ddl(ddl):
            plain += 1
            tables = parse_schema(ddl).tables
            assert [(table.name, [column.name for column in table.columns]) for table in tables] == read
    assert plain > 100


@pytest.mark.parametrize("kind", [*TYPES.split(), "DECIMAL(10, 2)", "varchar (20)"])
def test_every_plain_type_is_read(kind: str) -> None:
    ddl = f"create table a (x {kind} primary key, y {kind} not null);\n CREATE TABLE b (z {kind} REFERENCES a(x));"
    assert is_plain_ddl(ddl)
    assert [table.name for table in parse_schema(ddl).tables] == ["a", "b"]


def test_comments_and_named_keys_are_plain() -> None:
    ddl = """CREATE TABLE a (x INT /* it's; a "key" */, PRIMARY KEY (x)); -- a
    CREATE TABLE b ("-- y" INT, CONSTRAINT fk FOREIGN KEY ("-- y") REFERENCES a (x))"""
    assert is_plain_ddl(ddl)
    tables = parse_schema(ddl).tables
    assert [(table.name, [column.name for column in table.columns]) for table in tables] == columns(ddl)


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE t (a INTEGER, b TE",
        "CREATE TABLE t (a INTEGER DEFAULT 3)",
        "CREATE TABLE t (a INTEGER, b TEXT CHECK (b <> '/*'), c TEXT CHECK (c <> '*/'))",
        "CREATE TABLE t (a INTEGER); DROP TABLE t",
        "CREATE TABLE t (a unheard_of)",
        "",
    ],
)
def test_all_else_is_for_the_parser(ddl: str) -> None:
    assert not is_plain_ddl(ddl)


@pytest.mark.parametrize(
    "hostile", [" " * 19_000 + "x", "CREATE TABLE t (" + " " * 19_000, "CREATE TABLE t (" + "a INT," * 3_000]
)
def test_text_made_for_backtracking_is_told_in_time(hostile: str) -> None:
    assert not is_plain_ddl(hostile)  # or the suite never ends
