"""A user's databases: schema, one reading statement within limits, its plan, and no way to change anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from infra.errors import UserError
from tasks.data.schema import parse_schema, split_values
from tasks.data.values import schema_with_values
from tasks.sql.databases import Script, connect_database, plain_rows
from tasks.sql.executor import Limits
from tasks.sql.postgres import _quoted

DDL = "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT)"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my cars.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(f"{DDL}; INSERT INTO cars VALUES (1, 'Fiat'), (2, x'ff'), (3, NULL)")
    connection.close()
    return path


def test_a_sqlite_file_is_read_run_and_planned(file):
    for text in (str(file), f"sqlite:///{file}"):
        database = connect_database(text)
        assert parse_schema(database.schema()).tables[0].name == "cars"
        found = database.run("SELECT name FROM cars ORDER BY id")
        assert plain_rows(found.rows) == [["Fiat"], ["ff"], [None]]
        assert database.plan("SELECT name FROM cars WHERE id = 1") == [
            "SEARCH cars USING INTEGER PRIMARY KEY (rowid=?)"
        ]
    assert database.plan("SELECT nothing FROM cars") == []
    assert database.plan("DELETE FROM cars") == []


def test_a_database_in_use_is_read_as_it_is_now(tmp_path):
    path = tmp_path / "live.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.executescript(f"{DDL}; INSERT INTO cars VALUES (1, 'Fiat')")
    database = connect_database(str(path))
    assert database.run("SELECT count(*) FROM cars").rows == [(1,)]
    writer.execute("INSERT INTO cars VALUES (2, 'Seat')")
    assert database.run("SELECT count(*) FROM cars").rows == [(1,)]
    writer.commit()
    assert database.run("SELECT count(*) FROM cars").rows == [(2,)]
    writer.close()
    assert database.run("SELECT count(*) FROM cars").rows == [(2,)]
    assert [p.name for p in tmp_path.iterdir()] == ["live.sqlite"]
    assert database.run("DELETE FROM cars").status == "forbidden"


def test_a_file_with_a_log_is_read_where_nothing_may_be_written(tmp_path):
    path = tmp_path / "closed.sqlite"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.executescript(f"{DDL}; CREATE TABLE sqliteworld (a)")
    path.with_name("closed.sqlite-wal").touch()  # left empty by whoever copied the folder
    tmp_path.chmod(0o555)
    try:
        database = connect_database(str(path))
        assert [table.name for table in parse_schema(database.schema()).tables] == ["cars", "sqliteworld"]
        assert database.run("SELECT count(*) FROM cars").rows == [(0,)]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["closed.sqlite", "closed.sqlite-wal"]
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "written"), [("order", '"order"'), ("a b", '"a b"'), ("name", "name"), ("key", "key")]
)
def test_names_of_postgresql_are_written_so_that_sqlite_reads_them(name, written):
    assert _quoted(name) == written


def test_a_script_is_a_database_of_its_own():
    database = Script(DDL, "INSERT INTO cars VALUES (1, 'Fiat')")
    assert database.run("SELECT count(*) FROM cars").rows == [(1,)]
    assert database.run("DELETE FROM cars").status == "forbidden"
    assert database.plan("SELECT * FROM cars") == ["SCAN cars"]


@pytest.mark.parametrize("text", ["missing.sqlite", "mysql://root@localhost/x", "sqlite:///missing.sqlite"])
def test_what_cannot_be_asked_is_one_clear_line(text):
    with pytest.raises(UserError):
        connect_database(text)


# ---- PostgreSQL ----


@pytest.fixture(scope="module")
def postgres(postgres_server):
    """The test server with two tables."""
    import psycopg2

    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    connection.cursor().execute(
        """CREATE TABLE makers (id int PRIMARY KEY, country varchar(20), founded date);
        CREATE TABLE "Cars" (id serial PRIMARY KEY, "Model Name" text, maker_id int REFERENCES makers(id),
                             price numeric(10,2), tags text[]);
        INSERT INTO makers VALUES (1, 'Italy', '1899-07-11'), (2, 'France', '1898-01-01');
        INSERT INTO "Cars"("Model Name", maker_id, price) VALUES ('Panda', 1, 9999.5), ('Clio', 2, 12000);
        """
    )
    connection.close()
    return postgres_server


def test_the_schema_of_postgresql_reads_as_sqlite_ddl(postgres):
    schema = connect_database(postgres).schema()
    tables = {table.name: table for table in parse_schema(schema).tables}
    assert set(tables) == {"Cars", "makers"}
    columns = {column.name: column for column in tables["Cars"].columns}
    assert columns["maker_id"].references == ("makers", "id")
    assert [columns[name].type for name in ("id", "Model Name", "price")] == ["INTEGER", "TEXT", "REAL"]
    sqlite3.connect(":memory:").executescript(schema)


def test_sqlite_queries_run_on_postgresql(postgres):
    database = connect_database(postgres)
    found = database.run('SELECT T1."Model Name", T2.country FROM cars AS T1 JOIN makers AS T2 ON T1.maker_id = T2.id')
    assert (found.columns, found.rows) == (("Model Name", "country"), [("Panda", "Italy"), ("Clio", "France")])
    found = database.run("WITH m AS (SELECT avg(price) AS p FROM Cars) SELECT p FROM m")
    assert plain_rows(found.rows)[0][0].startswith("10999.75")
    assert database.run("SELECT founded FROM makers WHERE country LIKE 'I%' LIMIT 1").status == "ok"
    assert database.run("SELECT id FROM makers WHERE country = 'Spain'").columns == ("id",)
    assert "Seq Scan" in "\n".join(database.plan("SELECT * FROM makers"))


def test_sample_values_are_read_from_postgresql_too(postgres):
    database = connect_database(postgres)
    _, values = split_values(schema_with_values(database.schema(), database.run, 2))
    assert values[("makers", "country")] == ("'France'", "'Italy'")
    assert values[("makers", "founded")] == ("'1898-01-01'", "'1899-07-11'")
    assert values[("cars", "price")] == ("9999.50", "12000.00")
    assert values[("cars", "model name")] == ("'Clio'", "'Panda'")
    assert ("cars", "tags") not in values


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("DELETE FROM makers", "forbidden"),
        ("WITH gone AS (DELETE FROM makers RETURNING id) SELECT * FROM gone", "forbidden"),
        ("SELECT 1; DROP TABLE makers", "multiple_statements"),
        ("SELECT pg_sleep(60)", "forbidden"),
        ("SELECT pg_read_file('/etc/passwd')", "forbidden"),
        ("SELECT set_config('transaction_read_only', 'off', false)", "forbidden"),
        ("SELECT * FROM pg_shadow", "schema_error"),
        ("SELECT * FROM pg_catalog.pg_shadow", "schema_error"),
        ("SELECT * FROM dblink('x', 'y')", "forbidden"),
        ("SELECT * INTO stolen FROM makers", "forbidden"),
        ("SELECT * FROM makers FOR UPDATE", "forbidden"),
        ("SELECT nothing FROM makers", "schema_error"),
        ("SELECT FROM WHERE", "syntax_error"),
        ("COPY makers TO PROGRAM 'id'", "syntax_error"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", "timeout"),
        ("SELECT a.id FROM makers a, makers b, makers c, makers d", "resource_limit"),
    ],
)
def test_nothing_harms_postgresql(postgres, sql, status):
    database = connect_database(postgres)
    assert database.run(sql, Limits(seconds=1 if status == "timeout" else 60, rows=10)).status == status
    assert database.run("SELECT count(*) FROM makers").rows == [(2,)]


def test_an_unreachable_server_is_one_line_without_the_password():
    with pytest.raises(UserError, match="cannot be reached") as caught:
        connect_database("postgresql://me:secret-word@127.0.0.1:1/x").schema()
    assert "secret-word" not in str(caught.value)
    assert "\n" not in str(caught.value)
