"""Sources beyond a local file: folders, buckets, Hugging Face datasets, queries; layouts that have companions."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.errors import UserError
from tasks.data.containers import read_records
from tasks.data.dataset import read_examples, write_examples
from tasks.data.example import Example
from tasks.data.frame import feature_rows
from tasks.data.hub import HubSource, read_hub
from tasks.data.ingest import read_sources
from tasks.data.mapping import BadRecord
from tasks.data.query_source import QuerySource, read_query
from tasks.data.schema import parse_schema
from tasks.data.sources import FileSource, read_file
from tasks.data.spec import source_fingerprint
from tests.servers import s3_bucket

ROW = {"question": "How many pupils?", "sql": "SELECT count(*) FROM pupils", "schema": "CREATE TABLE pupils (id INT)"}


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def spider_folder(folder: Path) -> Path:
    """A small copy of Spider's layout: rows, tables.json and one database with rows in it."""
    tables = {
        "db_id": "club",
        "table_names_original": ["member"],
        "column_names_original": [[-1, "*"], [0, "id"], [0, "town"]],
        "column_types": ["text", "number", "text"],
        "primary_keys": [1],
        "foreign_keys": [],
    }
    folder.mkdir(parents=True)
    (folder / "tables.json").write_text(json.dumps([tables]))
    rows = [{"db_id": "club", "question": "Which towns?", "query": "SELECT town FROM member"}]
    (folder / "train_spider.json").write_text(json.dumps(rows))
    (folder / "database" / "club").mkdir(parents=True)
    connection = sqlite3.connect(folder / "database" / "club" / "club.sqlite")
    connection.executescript(
        "CREATE TABLE member (id INT, town TEXT); INSERT INTO member VALUES (1, 'Ulm'), (2, 'Hof')"
    )
    connection.close()
    return folder


# --- folders and databases ------------------------------------------------------------------------------------------


def test_a_spider_folder_is_read_with_its_schemas_and_databases(tmp_path):
    folder = spider_folder(tmp_path / "spider")
    (example,) = read_file(FileSource(path=str(folder)))
    assert isinstance(example, Example)
    assert parse_schema(example.schema).tables[0].columns[0].primary_key
    (row,) = feature_rows([example])
    assert (row["runs"], row["result_rows"]) == ("ok", 2)  # the rows of the file, which the schema alone does not have
    assert example.file.endswith("spider/train_spider.json")


def test_gold_cannot_change_a_database_file(tmp_path):
    folder = spider_folder(tmp_path / "spider")
    rows = [{"db_id": "club", "question": "Empty it", "query": "DELETE FROM member"}]
    (folder / "train_spider.json").write_text(json.dumps(rows))
    before = (folder / "database/club/club.sqlite").read_bytes()
    (example,) = read_file(FileSource(path=str(folder)))
    assert feature_rows([example])[0]["runs"] == "ok"  # on a copy
    assert (folder / "database/club/club.sqlite").read_bytes() == before


@pytest.mark.parametrize("db_id", ["pub", "../club", "/etc/passwd"])
def test_a_database_that_the_folder_lacks_is_a_reason(tmp_path, db_id):
    folder = spider_folder(tmp_path / "spider")
    write(folder / "more.jsonl", {"db_id": db_id, "question": "q", "query": "SELECT 1"})
    records = list(read_file(FileSource(path=str(folder))))
    assert [r.reasons for r in records if isinstance(r, BadRecord)] == [("missing_database",)]


def test_a_schema_that_tables_json_lacks_is_the_database_s_own(tmp_path):
    folder = spider_folder(tmp_path / "spider")
    (folder / "tables.json").unlink()
    (example,) = read_file(FileSource(path=str(folder)))
    assert example.schema == "CREATE TABLE member (id INT, town TEXT);"


def test_named_schemas_and_databases(tmp_path):
    folder = spider_folder(tmp_path / "spider")
    path = write(tmp_path / "rows.jsonl", {"db_id": "club", "question": "q", "query": "SELECT id FROM member"})
    source = FileSource(path=str(path), tables=str(folder / "tables.json"), databases=str(folder / "database"))
    (example,) = read_file(source)
    assert "PRIMARY KEY" in example.schema
    assert example.database
    with pytest.raises(UserError, match="no folder nowhere"):
        list(read_file(source.model_copy(update={"databases": "nowhere"})))


def test_what_files_share_is_read_once(tmp_path, monkeypatch):
    from tasks.data import layouts

    folder = spider_folder(tmp_path / "spider")
    rows = [{"db_id": "club", "question": "q", "query": "SELECT id FROM member"}]
    for name in ("dev.json", "train_others.json"):
        (folder / name).write_text(json.dumps(rows))
    read, real = [], layouts.read_schemas
    monkeypatch.setattr(layouts, "read_schemas", lambda path: read.append(path.name) or real(path))
    examples = list(read_file(FileSource(path=str(folder))))
    assert [(e.id, bool(e.schema), bool(e.database)) for e in examples] == [
        ("dev-1", True, True),
        ("train_others-1", True, True),
        ("train_spider-1", True, True),
    ]
    assert read == ["tables.json"]


def test_serialised_schemas_by_db_id(tmp_path):
    text = "member : id (number) , home town (text) | visit : day (time)"
    write(tmp_path / "schemas.jsonl", {"db_id": "club", "Schema (values (type))": text})
    path = write(tmp_path / "rows.jsonl", {"db_id": "club", "question": "q", "query": "SELECT id FROM member"})
    (example,) = read_file(FileSource(path=str(path), tables=str(tmp_path / "schemas.jsonl")))
    assert example.schema == ('CREATE TABLE member (id NUMERIC, "home town" TEXT);\nCREATE TABLE visit (day DATETIME);')


def test_a_database_changes_the_fingerprint(tmp_path):
    folder = spider_folder(tmp_path / "spider")
    source = FileSource(path=str(folder))
    before = source_fingerprint(source)
    assert source_fingerprint(source) == before
    connection = sqlite3.connect(folder / "database/club/club.sqlite")
    connection.execute("INSERT INTO member VALUES (3, 'Rom')")
    connection.commit()
    connection.close()
    assert source_fingerprint(source) != before


# --- WikiSQL --------------------------------------------------------------------------------------------------------

TABLE = {
    "id": "1-7-2",
    "name": "table_7_2",
    "header": ["Player", "No.", "player", "", "Points"],
    "types": ["text", "text", "text", "text", "real"],
    "rows": [["Ann", "3", "x", "y", 10.5], ["O'Neil", "4", "x", None, "1,200"]],
}


def wikisql(folder: Path, *forms: object) -> list:
    write(folder / "dev.tables.jsonl", TABLE)
    write(folder / "dev.jsonl", *({"phase": 1, "table_id": "1-7-2", "question": "q", "sql": form} for form in forms))
    return list(read_file(FileSource(path=str(folder))))


@pytest.mark.parametrize(
    ("form", "sql", "answer"),
    [
        ({"sel": 0, "agg": 0, "conds": []}, "SELECT Player FROM table_7_2", [("Ann",), ("O'Neil",)]),
        (
            {"sel": 1, "agg": 0, "conds": [[0, 0, "O'Neil"]]},
            """SELECT "No." FROM table_7_2 WHERE Player = 'O''Neil'""",
            [("4",)],
        ),
        (
            {"sel": 4, "agg": 1, "conds": [[4, 1, 5], [4, 2, "1,000"]]},
            "SELECT MAX(Points) FROM table_7_2 WHERE Points > 5 AND Points < 1000",
            [(10.5,)],
        ),
        (
            {"sel": 3, "agg": 3, "conds": [[1, 0, 3]]},
            """SELECT COUNT("column 4") FROM table_7_2 WHERE "No." = '3'""",
            [(1,)],
        ),
        (
            {"sel": 2, "agg": 0, "conds": [[4, 0, "many"]]},
            """SELECT "player (2)" FROM table_7_2 WHERE Points = 'many'""",
            [],
        ),
    ],
)
def test_a_logical_form_becomes_sql(tmp_path, form, sql, answer):
    (example,) = wikisql(tmp_path, form)
    assert (example.sql, example.db_id) == (sql, "1-7-2")
    connection = sqlite3.connect(":memory:")
    connection.executescript(example.schema + example.setup)
    assert connection.execute(example.sql).fetchall() == answer


def test_a_logical_form_that_points_nowhere_is_a_reason(tmp_path):
    bad = [
        {"sel": 9, "agg": 0, "conds": []},
        {"sel": 0, "agg": 6, "conds": []},
        {"sel": 0, "agg": 0, "conds": [[0, 3, "x"]]},
        {"sel": -1, "agg": 0, "conds": []},
        {"sel": True, "agg": 0, "conds": []},
        {"agg": 0, "conds": []},
    ]
    records = wikisql(tmp_path, *bad)
    assert [r.reasons for r in records] == [("bad_logical_form",)] * len(bad)
    write(tmp_path / "dev.jsonl", {"table_id": "other", "question": "q", "sql": {"sel": 0, "agg": 0, "conds": []}})
    (record,) = read_file(FileSource(path=str(tmp_path)))
    assert record.reasons == ("unknown_table_id",)


def test_a_file_of_schemas_is_no_source(tmp_path):
    wikisql(tmp_path)
    with pytest.raises(UserError, match="holds schemas, no rows"):
        list(read_file(FileSource(path=str(tmp_path / "dev.tables.jsonl"))))


# --- ids ------------------------------------------------------------------------------------------------------------


def test_ids_of_different_files_never_collide_and_repeats_within_one_stay(tmp_path):
    write(tmp_path / "a" / "dev.jsonl", ROW, ROW | {"id": "7"}, ROW | {"id": "7"})
    write(tmp_path / "b" / "dev.jsonl", ROW, ROW | {"id": 7})
    write(tmp_path / "c" / "dev.jsonl", ROW)
    sources = [FileSource(path=str(tmp_path / name / "dev.jsonl"), name=name if name != "c" else "b") for name in "abc"]
    examples = read_sources(sources).examples
    assert [e.id for e in examples] == ["dev-1", "7", "7", "b:dev-1", "b:7", f"{sources[2].path}:dev-1"]
    assert [row["repeated_id"] for row in feature_rows(examples)] == [False, False, True, False, False, False]


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    rows, text = 3000, "word " * 1000
    path = tmp_path / name
    if name.endswith("jsonl"):
        path.write_text("".join(json.dumps({"a": i, "text": text}) + "\n" for i in range(rows)))
    elif name.endswith("json"):
        path.write_text(json.dumps([{"a": i, "text": text} for i in range(rows)]))
    elif name.endswith("csv"):
        path.write_text("a,text\n" + "".join(f"{i},{text}\n" for i in range(rows)))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"a": range(rows), "text": [text] * rows}), path, use_dictionary=False)
    tracemalloc.start()
    try:
        read = (record.values or {} for record in read_records(path, name))
        assert sum(len(values["text"]) for values in read) == rows * len(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000  # of 15 MB


@pytest.mark.parametrize("kind", ["query", "hub"])
def test_memory_does_not_grow_with_a_query_or_a_dataset(tmp_path, kind):
    rows, text = 4000, "word " * 1000
    if kind == "query":
        import sqlalchemy  # noqa: F401 - imported here, so that its own size is not measured

        connection = sqlite3.connect(tmp_path / "log.db")
        connection.execute("CREATE TABLE log (question TEXT, sql TEXT, schema TEXT)")
        one = (text, "SELECT a FROM t", "CREATE TABLE t (a)")
        connection.executemany("INSERT INTO log VALUES (?, ?, ?)", (one for _ in range(rows)))
        connection.commit()
        connection.close()
        records = read_query(QuerySource(url=f"sqlite:///{tmp_path}/log.db", query="SELECT * FROM log"))
    else:
        import datasets

        made = {"question": [text] * rows, "sql": ["SELECT a FROM t"] * rows, "schema": ["CREATE TABLE t (a)"] * rows}
        datasets.Dataset.from_dict(made).save_to_disk(str(tmp_path / "set"))
        records = read_hub(HubSource(dataset=str(tmp_path / "set")))
    next(records)
    tracemalloc.start()
    try:
        assert sum(len(example.question) for example in records) == (rows - 1) * len(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000  # of 20 MB


def test_rows_of_one_database_hold_its_texts_once(tmp_path):
    row = ROW | {"setup": "INSERT INTO pupils VALUES (1);", "domain": "school", "dialect": "SQLite"}
    write(tmp_path / "rows.jsonl", *(row | {"question": f"Who is number {n}?"} for n in range(3)))
    read = list(read_file(FileSource(path=str(tmp_path / "rows.jsonl"))))
    write_examples(tmp_path / "examples.jsonl", read)
    for first, *others in (read, read_examples(tmp_path / "examples.jsonl")):
        for name in ("schema", "setup", "domain", "dialect", "db_id"):
            assert all(getattr(other, name) is getattr(first, name) for other in others)


def test_json_lists_are_read_across_blocks(tmp_path, monkeypatch):
    from tasks.data import containers

    monkeypatch.setattr(containers, "_BLOCK", 3)
    items = [{"a": 'x]}"', "b": [1, 2.5, None]}, 12345, {"ü": "é\\"}, "text", True, {}]
    (tmp_path / "rows.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))
    records = list(read_records(tmp_path / "rows.json", "rows.json"))
    assert [r.values for r in records] == [item if isinstance(item, dict) else None for item in items]
    assert [json.loads(r.text) for r in records if r.fault] == [12345, "text", True]
    for broken in ['[{"a": 1}', '[{"a": 1} {"a": 2}]', "[1,]", "[1] 2", "", "[,1]", '[{"a": 1']:
        (tmp_path / "rows.json").write_text(broken)
        with pytest.raises(UserError, match="is no JSON"):
            list(read_records(tmp_path / "rows.json", "rows.json"))
    (tmp_path / "rows.json").write_text("[ ]")
    assert list(read_records(tmp_path / "rows.json", "rows.json")) == []


def test_a_line_beyond_all_measure_is_passed_over(tmp_path, monkeypatch):
    from tasks.data import containers

    monkeypatch.setattr(containers, "_LONGEST", 1000)
    path = write(tmp_path / "rows.jsonl", {"a": "x" * 5000}, {"a": "short"}, {"a": "y" * 980}, {"a": "z" * 2500})
    assert [(r.row, r.fault) for r in read_records(path, "rows.jsonl")] == [
        (1, "record_too_long"),
        (2, ""),
        (3, ""),
        (4, "record_too_long"),
    ]


# --- Hugging Face datasets ------------------------------------------------------------------------------------------


def test_a_saved_dataset(tmp_path):
    import datasets

    rows = [{"sql_prompt": f"q{i}", "sql_context": "CREATE TABLE t (a)", "sql": "SELECT a FROM t"} for i in range(5)]
    both = {"train": datasets.Dataset.from_list(rows), "test": datasets.Dataset.from_list(rows[:2])}
    datasets.DatasetDict(both).save_to_disk(str(tmp_path / "gretel"))
    source = HubSource(dataset=str(tmp_path / "gretel"), rows="test", name="gretel")
    examples = list(read_hub(source))
    assert [(e.id, e.question, e.row) for e in examples] == [("gretel-1", "q0", 1), ("gretel-2", "q1", 2)]
    before = source_fingerprint(source)
    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "gretel"))
    assert source_fingerprint(source) != before
    with pytest.raises(UserError, match="no split 'dev'"):
        list(read_hub(source.model_copy(update={"rows": "dev"})))


def test_a_downloaded_dataset_is_streamed(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({name: [value] * 3 for name, value in ROW.items()}), tmp_path / "set" / "train.parquet")
    examples = list(read_hub(HubSource(dataset=str(tmp_path / "set"))))
    assert [e.id for e in examples] == ["set-train-1", "set-train-2", "set-train-3"]


def test_a_commit_needs_no_hub_and_a_branch_does():
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert source_fingerprint(HubSource(dataset="owner/name", revision=commit))
    with pytest.raises(UserError, match="give a commit as revision"):
        source_fingerprint(HubSource(dataset="owner/name"))


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE log (n INTEGER, frage TEXT, abfrage TEXT, ddl TEXT)")
    connection.executemany(
        "INSERT INTO log VALUES (?, ?, ?, ?)",
        [(i, f"q{i}", "SELECT a FROM t", "CREATE TABLE t (a)") for i in range(2500)],
    )
    connection.commit()
    connection.close()
    return path


def test_rows_of_a_query(warehouse, monkeypatch):
    monkeypatch.setenv("WAREHOUSE", str(warehouse))
    fields = {"question": "frage", "sql": "abfrage", "schema": "ddl", "id": "n"}
    source = QuerySource(url="sqlite:///${WAREHOUSE}", query="SELECT * FROM log ORDER BY n", fields=fields, name="log")
    examples = list(read_query(source))
    assert len(examples) == 2500
    assert (examples[7].id, examples[7].question, examples[7].file) == ("7", "q7", "log")
    before = source_fingerprint(source)
    connection = sqlite3.connect(warehouse)
    connection.execute("UPDATE log SET frage = 'other' WHERE n = 3")
    connection.commit()
    connection.close()
    assert source_fingerprint(source) != before


@pytest.mark.parametrize(
    "query", ["DELETE FROM log", "DROP TABLE log", "SELECT * FROM nothing", "INSERT INTO log SELECT * FROM log"]
)
def test_a_query_that_writes_or_fails_is_an_error_and_changes_nothing(warehouse, query):
    before = warehouse.read_bytes()
    with pytest.raises(UserError, match="source"):
        list(read_query(QuerySource(url=f"sqlite:///{warehouse}", query=query)))
    assert warehouse.read_bytes() == before


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://etl:hunter2@db/questions",
        "postgresql://etl@db/questions?password=hunter2",
        "postgresql://etl:${DB_PASSWORD}@db/questions?sslmode=require&sslpassword=hunter2",
        "mysql+pymysql://db/questions?user=etl&Passwd=hunter2",
    ],
)
def test_a_secret_in_a_recipe_is_refused(url):
    with pytest.raises(ValidationError, match="does not belong in a recipe"):
        QuerySource(url=url, query="SELECT 1")


def test_secrets_come_from_the_environment():
    QuerySource(url="postgresql://etl@db/questions?password=${DB_PASSWORD}&sslmode=require", query="SELECT 1")
    source = QuerySource(url="postgresql://etl:${NO_SUCH_PASSWORD}@db/questions", query="SELECT 1")
    with pytest.raises(UserError, match="NO_SUCH_PASSWORD is not set"):
        list(read_query(source))


def test_a_missing_database_file_is_not_created(tmp_path):
    with pytest.raises(UserError, match="no such database file"):
        list(read_query(QuerySource(url=f"sqlite:///{tmp_path}/none.db", query="SELECT 1")))
    assert not (tmp_path / "none.db").exists()


# --- buckets --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("data") as name:
        yield name


def test_objects_of_a_bucket(bucket, tmp_path, monkeypatch):
    import boto3

    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    client = boto3.client("s3")
    folder = spider_folder(tmp_path / "spider")
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), bucket, f"sets/spider/{path.relative_to(folder).as_posix()}")
    for name in ("a/x.jsonl", "a/b/y.jsonl"):
        client.put_object(Bucket=bucket, Key=f"sets/own/{name}", Body=json.dumps(ROW).encode())
    source = FileSource(path="s3://data/sets/spider")
    (example,) = read_file(source)
    assert (example.id, example.file) == ("train_spider-1", "s3://data/sets/spider/train_spider.json")
    assert feature_rows([example])[0]["result_rows"] == 2
    read = [r.file for r in read_file(FileSource(path="s3://data/sets/own/**/*.jsonl"))]
    assert read == ["s3://data/sets/own/a/b/y.jsonl", "s3://data/sets/own/a/x.jsonl"]
    assert len(list(read_file(FileSource(path="s3://data/sets/own/*/*.jsonl")))) == 1
    before = source_fingerprint(source)
    body = json.dumps([{"db_id": "club", "question": "Which ids?", "query": "SELECT id FROM member"}])
    client.put_object(Bucket=bucket, Key="sets/spider/train_spider.json", Body=body.encode())
    assert source_fingerprint(source) != before
    (example,) = read_file(source)
    assert example.question == "Which ids?"  # what was fetched before is not taken for the object of today
    with pytest.raises(UserError, match="no such file"):
        list(read_file(FileSource(path="s3://data/sets/none.jsonl")))


# --- the real files -------------------------------------------------------------------------------------------------


def test_spider_gold_on_its_real_databases(real_data):
    examples = list(read_file(FileSource(path=str(real_data / "spider"))))
    found = Counter((row["runs"], bool(row["result_rows"])) for row in feature_rows(examples))
    assert found == {("ok", True): 2926, ("ok", False): 71, ("sql_error", False): 2, ("schema_error", False): 1}


def test_wikisql_becomes_sql_that_runs(real_data):
    examples = list(read_file(FileSource(path=str(real_data / "wikisql"))))
    assert len(examples) == 5000
    assert len({example.db_id for example in examples}) == 2325
    assert Counter(row["runs"] for row in feature_rows(examples)) == {"ok": 5000}
