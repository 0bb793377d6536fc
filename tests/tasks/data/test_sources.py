"""Reading sources: every record becomes an example or a bad record, whatever the file holds."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.errors import UserError
from tasks.data.example import Example
from tasks.data.mapping import BadRecord
from tasks.data.schema import parse_schema
from tasks.data.sources import FileSource, read_file, source_files

ROW = {"question": "How many pupils?", "sql": "SELECT count(*) FROM pupils", "schema": "CREATE TABLE pupils (id INT)"}


def read(path: Path, **options) -> list[Example | BadRecord]:
    with contextlib.chdir(path.parent):  # so that a file is told by its name alone
        return list(read_file(FileSource(path=path.name, **options)))


def write(folder: Path, *records: object, name: str = "rows.jsonl") -> Path:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    path = folder / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def only(records: list) -> Example:
    (record,) = records
    assert isinstance(record, Example), record
    return record


def reasons(records: list) -> list[tuple[int, tuple[str, ...]]]:
    return [(r.row, r.reasons) for r in records if isinstance(r, BadRecord)]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "sql": "SELECT 1", "schema": "CREATE TABLE t (a)"},
        {"question": "q", "query": "SELECT 1", "schema": "CREATE TABLE t (a)"},
        {"question": "q", "answer": "SELECT 1", "context": "CREATE TABLE t (a)"},
        {"sql_prompt": "q", "sql": "SELECT 1", "sql_context": "CREATE TABLE t (a)"},
        {"question": "q", "SQL": "SELECT 1", "schema": "CREATE TABLE t (a)", "evidence": ""},
        {"question": "q", "query": "SELECT 1", "sql": {"select": []}, "schema": "CREATE TABLE t (a)"},
    ],
    ids=["plain", "sqale", "sql-create-context", "gretel", "bird", "spider-with-parsed-sql"],
)
def test_known_layouts_need_no_map(tmp_path, row):
    example = only(read(write(tmp_path, row)))
    assert (example.question, example.sql, example.schema) == ("q", "SELECT 1", "CREATE TABLE t (a)")
    assert (example.file, example.row, example.id) == ("rows.jsonl", 1, "rows-1")
    assert example.db_id.startswith("schema-")


def test_optional_fields_ids_and_tags_are_kept(tmp_path):
    row = ROW | {"question_id": 7, "db_id": "school", "external_knowledge": "pupils learn", "tags": {"shape": "count"}}
    example = only(read(write(tmp_path, row), split="test", domain="education", name="mine"))
    assert (example.id, example.db_id, example.evidence) == ("7", "school", "pupils learn")
    assert (example.domain, example.source, example.tags) == ("education", "mine", {"shape": "count", "split": "test"})


def test_a_written_example_is_read_back(tmp_path):
    example = Example("a", "d", "q", "CREATE TABLE t (x);", "SELECT x FROM t", "ev", "INSERT INTO t VALUES (1);",
                      difficulty="hard", domain="dom", tags={"split": "train"})  # fmt: skip
    again = only(read(write(tmp_path, example.to_row())))
    given_back = {"file": "", "row": 0, "source": ""}
    assert again.to_row() | given_back == example.to_row() | given_back


def test_a_field_map_renames(tmp_path):
    path = write(tmp_path, {"frage": "q", "abfrage": "SELECT 1", "ddl": "CREATE TABLE t (a)", "sql": "not this"})
    example = only(read(path, fields={"question": "frage", "sql": "abfrage", "schema": "ddl"}))
    assert (example.question, example.sql) == ("q", "SELECT 1")


def test_a_mapped_field_that_a_row_lacks_is_a_reason(tmp_path):
    assert reasons(read(write(tmp_path, ROW), fields={"domain": "topic"})) == [(1, ("missing_domain",))]


def test_bad_specs_name_the_nearest():
    with pytest.raises(ValidationError, match="did you mean 'question'"):
        FileSource(path="x.jsonl", fields={"quesion": "q"})
    with pytest.raises(ValidationError, match="did you mean 'sqlite'"):
        FileSource(path="x.jsonl", dialect="sqlit")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a FROM t", "easy"),
        ("SELECT a, count(*) FROM t GROUP BY a", "medium"),
        ("SELECT a FROM t WHERE a > (SELECT avg(a) FROM t)", "hard"),
        ("no sql at all", ""),
    ],
)
def test_difficulty_comes_from_the_sql(tmp_path, sql, expected):
    path = write(tmp_path, ROW | {"sql": sql, "difficulty": "challenging"})  # BIRD's word, none of ours
    assert only(read(path)).difficulty == expected
    assert only(read(path, difficulty="medium")).difficulty == "medium"


def test_a_context_is_divided_into_schema_and_setup(tmp_path):
    context = "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x;y'); CREATE VIEW v AS SELECT a FROM t;"
    example = only(read(write(tmp_path, {"sql_prompt": "q", "sql": "SELECT a FROM v", "sql_context": context})))
    assert example.schema == "CREATE TABLE t (a TEXT);\nCREATE VIEW v AS SELECT a FROM t;"
    assert example.setup == "INSERT INTO t VALUES ('x;y');"


def test_planted_defects_are_all_found(tmp_path):
    path = write(
        tmp_path,
        ROW,
        {k: v for k, v in ROW.items() if k != "sql"},
        ROW | {"question": 5},
        ROW | {"schema": None},
        b'{"question": "caf\xe9", "sql": "SELECT 1", "id": "latin"}',
        b'{"question": "a\x00b", "sql": "SELECT 1", "schema": "CREATE TABLE t (a)", "id": "raw"}',
        ROW | {"sql": "SELECT '\x00'"},
        b'{"question": "q", "sql": ',
        [1, 2],
        b"",
        ROW | {"evidence": "\ud800"},
        ROW | {"tags": {"a": 1}},
        ROW | {"dialect": "klingon"},
        ROW | {"id": "last"},
    )
    records = read(path)
    assert reasons(records) == [
        (2, ("missing_sql",)),
        (3, ("wrong_type_question",)),
        (4, ("missing_schema",)),
        (5, ("bad_utf8",)),
        (6, ("nul_byte",)),
        (7, ("nul_byte",)),
        (8, ("bad_json",)),
        (9, ("not_an_object",)),
        (11, ("bad_utf8",)),
        (12, ("wrong_type_tags",)),
        (13, ("unknown_dialect",)),
    ]
    assert [r.id for r in records if isinstance(r, Example)] == ["rows-1", "last"]
    bad = {r.row: r for r in records if isinstance(r, BadRecord)}
    assert (bad[5].id, bad[6].id, bad[8].id) == ("latin", "raw", "rows-8")
    assert bad[8].original == '{"question": "q", "sql":'.ljust(24) + " "
    for record in bad.values():
        assert record.file == "rows.jsonl"
        record.original.encode("utf-8")


def test_originals_are_shortened(tmp_path):
    (bad,) = read(write(tmp_path, {"question": "x" * 5000}))
    assert len(bad.original) == 2000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40).filter(lambda b: b.strip() and b"\n" not in b), max_size=8))
def test_no_bytes_raise_and_none_are_lost(tmp_path_factory, lines):
    path = write(tmp_path_factory.mktemp("fuzz"), ROW, *lines)
    assert [r.row for r in read(path)] == list(range(1, len(lines) + 2))


def test_a_byte_order_mark_is_passed_over(tmp_path):
    for name, content in {
        "a.jsonl": json.dumps(ROW),
        "b.json": json.dumps([ROW]),
        "c.csv": "question,sql,schema\nq,SELECT 1,CREATE TABLE t (a)\n",
    }.items():
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        assert only(read(tmp_path / name)).row == 1


def test_json_lists(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(json.dumps([ROW, 3, ROW | {"sql": None}]).encode()[:-1] + b', {"question": "\xff"}]')
    assert reasons(read(path)) == [(2, ("not_an_object",)), (3, ("missing_sql",)), (4, ("bad_utf8",))]


def test_csv_quotes_and_broken_records(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b"question,sql,schema\n"
        b'"how, ""many""?\nreally","SELECT 1",CREATE TABLE t (a)\n'
        b"only two,SELECT 1\n"
        b"caf\xe9,SELECT 1,CREATE TABLE t (a)\n"
        b"n\x00l,SELECT 1,CREATE TABLE t (a)\n"
        b'open,"SELECT 1,CREATE TABLE t (a)\n'
        b"swallowed,SELECT 1,CREATE TABLE t (a)\n"
    )
    records = read(path)
    assert records[0].question == 'how, "many"?\nreally'
    expected = ["wrong_column_count", "bad_utf8", "nul_byte", "bad_csv", "bad_csv"]
    assert reasons(records) == [(row, (reason,)) for row, reason in enumerate(expected, 2)]
    assert records[-1].original.startswith("swallowed")  # an unclosed quote hides no line


def test_parquet_with_invalid_strings(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"q\xff"))
    table = {"question": broken, "sql": pa.array(["SELECT 1"] * 2), "schema": pa.array(["CREATE TABLE t (a)"] * 2)}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet", use_dictionary=False, write_statistics=False)
    records = read(tmp_path / "rows.parquet")
    assert isinstance(records[0], Example)
    assert reasons(records) == [(2, ("bad_utf8",))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.parquet", b"no parquet", "rows.parquet"),
        ("rows.json", b"{", "rows.json is no JSON"),
        ("rows.json", b'{"a": 1}', "rows.json holds no list"),
        ("rows.xlsx", b"", "rows.xlsx is of no known type"),
        ("rows.csv", b"a,a\n1,2\n", "same name"),
    ],
)
def test_unreadable_containers_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"nothing\.jsonl"):
        source_files(FileSource(path="nothing.jsonl"))
    with pytest.raises(UserError, match=r"none-\*\.jsonl"):
        source_files(FileSource(path="none-*.jsonl"))
    with pytest.raises(UserError, match="is a folder"):
        source_files(FileSource(path="."))
    with pytest.raises(UserError, match=r"schemas\.json"):
        read(write(tmp_path, ROW), tables="schemas.json")


def test_a_glob_reads_all_files_and_keeps_their_ids_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, ROW, ROW)
    records = list(read_file(FileSource(path="**/*.jsonl")))
    assert [(r.file, r.row) for r in records] == [(f"{f}/rows.jsonl", n) for f in "ab" for n in (1, 2)]
    assert [r.id for r in records] == ["a-rows-1", "a-rows-2", "b-rows-1", "b-rows-2"]


def test_schemas_come_from_tables_json(tmp_path):
    tables = [
        {
            "db_id": "club",
            "table_names_original": ["member", "order"],
            "column_names_original": [[-1, "*"], [0, "id"], [0, "Home Town"], [1, "member_id"], [1, "group"]],
            "column_types": ["text", "number", "text", "number", "text"],
            "primary_keys": [1, [3, 4]],
            "foreign_keys": [[3, 1]],
        }
    ]
    (tmp_path / "tables.json").write_text(json.dumps(tables))
    path = write(tmp_path, ROW | {"db_id": "club", "schema": None}, ROW | {"db_id": "x", "schema": None})
    example, elsewhere = read(path)
    schema = parse_schema(example.schema)
    assert [t.name for t in schema.tables] == ["member", "order"]
    assert [(c.name, c.primary_key) for c in schema.tables[0].columns] == [("id", True), ("Home Town", False)]
    assert schema.tables[1].columns[0].references == ("member", "id")
    assert (elsewhere.db_id, elsewhere.schema) == ("x", "")
    (tmp_path / "tables.json").rename(tmp_path / "other.json")
    assert only(read(path, tables="other.json")[:1]).schema == example.schema
    (tmp_path / "wrong.json").write_text('[{"db_id": 1}]')
    with pytest.raises(UserError, match=r"wrong\.json"):
        read(path, tables="wrong.json")


@pytest.mark.parametrize(
    ("path", "rows", "databases"),
    [
        ("spider/train_spider.jsonl", 3000, 64),
        ("bird/dev_minus_minidev_500.jsonl", 500, 11),
        ("sql_create_context/*.jsonl", 3957, None),
        ("gretel/*.jsonl", 21, None),
        ("synsql/*.jsonl", 300, None),
    ],
)
def test_real_layouts_are_read_whole(real_data, path, rows, databases):
    records = list(read_file(FileSource(path=str(real_data / path), difficulty="easy")))
    assert Counter(type(r) for r in records) == {Example: rows}
    assert all(r.question and r.sql and r.schema for r in records)
    if databases:
        assert len({r.db_id for r in records}) == databases
    if path.startswith("gretel"):
        assert sum(bool(r.setup) for r in records) >= 15
        assert not any("INSERT" in r.schema for r in records)
