"""DuckDB and PostgreSQL behind the judge: the same verdicts, the same walls; other dialects marked as rewritten."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.sql.duckdb_engine import alarm
from tasks.sql.engine import Engine, SqliteEngine, open_engine, plain
from tasks.sql.judge import Job, judge, judge_many
from tasks.sql.limits import DEFAULT_LIMITS, Limits

SCHEMA = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c NUMERIC(10, 2), day DATE)"
SETUP = "INSERT INTO t VALUES (1, 'x', 1.50, '2024-01-05'), (2, 'y', 3.00, '2024-02-01'), (3, 'x', NULL, NULL)"
QUICK = Limits(seconds=0.5, memory_mb=300, rows=1000)


@pytest.fixture
def duckdb_file(tmp_path: Path) -> str:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: the extra `duckdb`")
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"{SCHEMA}; {SETUP}")
    return str(path)


@pytest.fixture(scope="module")
def postgres_url(postgres_server: str) -> str:
    """A database of the test server, as a role that may only read its one table."""
    import psycopg2

    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA judged; SET search_path = judged; {SCHEMA}; {SETUP}")
        cursor.execute("CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA judged TO reader")
        cursor.execute("GRANT SELECT ON t TO reader; ALTER ROLE reader SET search_path = judged")
        cursor.execute("GRANT INSERT, DELETE ON t TO reader")  # the transaction refuses, not the role alone
        cursor.execute("CREATE ROLE signaller LOGIN; GRANT pg_signal_backend TO signaller")
    connection.close()
    return postgres_server.replace("//owner@", "//reader@")


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where a job runs: its fields, engine by engine."""
    if request.param == "duckdb":
        yield {"database": request.getfixturevalue("duckdb_file"), "dialect": "duckdb"}
    elif request.param == "postgresql":
        yield {"database": request.getfixturevalue("postgres_url"), "dialect": "postgres"}
    else:
        yield {"schema": SCHEMA, "setup": SETUP, "dialect": "sqlite"}


@pytest.mark.parametrize(
    ("gold", "prediction", "verdict"),
    [
        ("SELECT a, b FROM t", "SELECT b, a FROM t WHERE a > 0", True),
        ("SELECT a FROM t", "SELECT a + 1 FROM t", False),
        ("SELECT b FROM t", "SELECT DISTINCT b FROM t", False),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a * -1", True),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a", False),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t", False),
        ("SELECT a FROM t ORDER BY b LIMIT 1", "SELECT 3", True),
        ("SELECT a FROM t ORDER BY b LIMIT 1", "SELECT 2", False),
        ("SELECT sum(c) FROM t", "SELECT 4.5", True),
        ("SELECT c FROM t WHERE a = 2", "SELECT 3", True),
        ("SELECT day FROM t WHERE a = 1", "SELECT '2024-01-05'", True),
        ("SELECT a FROM t WHERE a > 9", "SELECT a FROM t WHERE a > 8", True),
        ("SELECT nowhere FROM t", "SELECT a FROM t", None),
    ],
)
def test_the_same_verdict_everywhere(place: dict[str, str], gold: str, prediction: str, verdict: bool | None) -> None:
    found = judge(Job("1", gold, prediction, **place))
    assert found.execution_match is verdict, found
    assert found.engine in ("sqlite", "duckdb", "postgresql")
    assert found.transpiled is False


def test_workers_judge_on_every_engine(place: dict[str, str]) -> None:
    """Under the memory limits of a process, files refused, and next to a statement that never ends."""
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    jobs = [Job(str(i), "SELECT a, b FROM t", "SELECT a, b FROM t", **place) for i in range(20)]
    jobs[7] = Job("7", "SELECT a FROM t", endless, **place)
    found = judge_many(jobs, QUICK)
    assert [one.execution_match for one in found] == [i != 7 for i in range(20)], found[7]
    assert found[7].status == "timeout"


ATTACKS = {
    "DELETE FROM t": {"forbidden"},
    "INSERT INTO t VALUES (9, 'z', 0, NULL)": {"forbidden"},
    "WITH gone AS (DELETE FROM t RETURNING a) SELECT * FROM gone": {"forbidden", "syntax_error"},
    "DROP TABLE t": {"forbidden"},
    "SELECT 1; DROP TABLE t": {"multiple_statements"},
    "SELECT 1 /* ; */; DELETE FROM t": {"multiple_statements"},
    "SELECT $$ ' $$; DELETE FROM t; -- '": {"multiple_statements", "syntax_error"},
    "COMMIT": {"forbidden"},
    "COMMIT; DROP TABLE t": {"forbidden", "multiple_statements"},
    "ATTACH 'evil.db' AS evil": {"forbidden", "syntax_error"},
    "COPY t TO 'evil.csv'": {"forbidden", "syntax_error"},
    "COPY (SELECT 1) TO PROGRAM 'touch evil'": {"forbidden", "syntax_error"},
    "EXPORT DATABASE 'evil'": {"forbidden", "syntax_error"},
    "INSTALL httpfs": {"forbidden", "syntax_error"},
    "LOAD 'evil'": {"forbidden", "syntax_error"},
    "SET memory_limit = '100GB'": {"forbidden", "syntax_error"},
    "SET statement_timeout = 0": {"forbidden", "syntax_error"},
    "PRAGMA database_list": {"forbidden", "syntax_error"},
    "CALL pragma_version()": {"forbidden", "syntax_error", "sql_error", "schema_error"},
    "EXPLAIN ANALYZE DELETE FROM t": {"forbidden"},
    "SELECT * FROM read_csv('/etc/passwd')": {"forbidden", "schema_error", "sql_error"},
    "SELECT * FROM read_text('/etc/passwd')": {"forbidden", "schema_error", "sql_error"},
    "SELECT * FROM '/etc/passwd'": {"forbidden", "schema_error", "syntax_error", "sql_error"},
    "SELECT * FROM glob('/*')": {"forbidden", "schema_error", "sql_error"},
    "SELECT pg_read_file('/etc/passwd')": {"forbidden", "schema_error", "sql_error"},
    "SELECT set_config('statement_timeout', '0', false), pg_sleep(60)": {"forbidden", "schema_error", "sql_error"},
    "SELECT pg_terminate_backend(pg_backend_pid())": {"forbidden", "schema_error", "sql_error"},
    "SELECT lo_export(1, 'evil')": {"forbidden", "schema_error", "sql_error"},
    "SELECT query_to_xml('SELECT 1', true, true, '')": {"forbidden", "schema_error", "sql_error"},
    "SELECT * INTO stolen FROM t": {"forbidden", "syntax_error", "sql_error"},
    "SELECT a FROM t FOR UPDATE": {"forbidden", "syntax_error", "sql_error", "ok"},
    "SELECT repeat('x', 900000000)": {"resource_limit", "timeout", "sql_error"},
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c": {"timeout", "resource_limit"},
    "SELECT count(*) FROM " + ", ".join(f"t t{i}" for i in range(40)): {"timeout", "resource_limit"},
    "SELECT x FROM t, t t1, t t2, t t3, t t4, t t5, t t6, t t7, (SELECT 1 AS x) n": {"resource_limit"},
    "": {"syntax_error"},
    "hello": {"syntax_error"},
}


@pytest.mark.parametrize("name", ["duckdb_file", "postgres_url"])
def test_nothing_harms(request, name, tmp_path: Path, monkeypatch) -> None:
    database = request.getfixturevalue(name)
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    dialect = "duckdb" if name == "duckdb_file" else "postgres"
    engine = open_engine(database, "", "", dialect, QUICK)
    patient = replace(QUICK, seconds=60.0)  # where the deadline is not what must stop it
    for sql, allowed in ATTACKS.items():
        found = engine.run(sql, QUICK if "timeout" in allowed else patient)
        assert found.status in allowed, (sql[:80], found.status, found.message)
        assert engine.run("SELECT count(*) FROM t", QUICK).rows == [(3,)], sql
    engine.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_changes_are_judged_on_sqlite_only_and_said_so(duckdb_file: str) -> None:
    found = judge(Job("1", "DELETE FROM t", "DELETE FROM t", database=duckdb_file, dialect="duckdb"))
    assert (found.execution_match, found.gold_status) == (None, "failed")
    assert "judged on SQLite only" in found.gold_message


def test_scripts_in_duckdbs_dialect_are_built_by_duckdb() -> None:
    pytest.importorskip("duckdb", reason="DuckDB is not installed: the extra `duckdb`")
    job = Job(
        "1", "SELECT list_sum(l) FROM u", "SELECT 3", "CREATE TABLE u (l INTEGER[])", "INSERT INTO u VALUES ([1, 2])"
    )
    found = judge(Job(job.id, job.gold, job.prediction, job.schema, job.setup, dialect="duckdb"))
    assert (found.execution_match, found.engine, found.transpiled) == (True, "duckdb", False)
    found = judge(Job("2", "SELECT 1", "SELECT 1", "COPY (SELECT 1) TO 'evil.csv'", dialect="duckdb"))
    assert found.gold_status == "failed"
    assert not Path("evil.csv").exists()


def test_other_dialects_are_marked_as_rewritten() -> None:
    schema = "CREATE TABLE `t` (`a` INT AUTO_INCREMENT PRIMARY KEY, `b` VARCHAR(9)) ENGINE=InnoDB"
    gold = "SELECT IF(a > 1, 'many', 'one') FROM t"
    found = judge(Job("1", gold, gold, schema, "INSERT INTO t (a, b) VALUES (1, 'x')", dialect="mysql"))
    assert (found.execution_match, found.engine, found.transpiled) == (True, "sqlite", True)


def test_a_role_with_power_over_the_server_is_refused(postgres_server: str, postgres_url: str) -> None:
    for url in (postgres_server, postgres_url.replace("reader@", "signaller@")):
        with pytest.raises(UserError, match="power over the PostgreSQL server"):
            open_engine(url, "", "", "postgres", DEFAULT_LIMITS)


def test_unreachable_servers_and_missing_files_are_one_line(tmp_path: Path) -> None:
    found = judge(Job("1", "SELECT 1", "SELECT 1", database="postgresql://me:secret@127.0.0.1:1/x"))
    assert (found.gold_status, found.execution_match) == ("failed", None)
    assert "cannot be reached" in found.message
    assert "secret" not in found.message
    found = judge(Job("1", "SELECT 1", "SELECT 1", database=str(tmp_path / "absent.duckdb")))
    assert "no database file" in found.message


def test_values_become_sqlites() -> None:
    values = [True, Decimal("3.00"), Decimal("3.5"), Decimal("NaN"), float("nan"), memoryview(b"a"), None]
    assert [plain(value) for value in values] == [1, 3, 3.5, "NaN", "NaN", b"a", None]
    moment = datetime.datetime(2024, 1, 5, 6, 7, 8)
    assert [plain(moment), plain(moment.date()), plain(moment.time())] == [
        "2024-01-05 06:07:08",
        "2024-01-05",
        "06:07:08",
    ]
    assert plain([1, {"b": Decimal(1), "a": None}]) == '[1, {"a": null, "b": 1}]'
    assert plain(Decimal(10**30)) == 10**30


def test_sqlite_is_the_engine_of_everything_else() -> None:
    engine: Engine = open_engine(None, SCHEMA, SETUP, "mysql", DEFAULT_LIMITS)
    assert isinstance(engine, SqliteEngine)
    engine.close()


def test_a_deadline_is_of_the_statement_and_not_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    called = threading.Event()
    monkeypatch.setattr("tasks.sql.duckdb_engine.time.process_time", lambda: 0.0)  # the machine gives it no time
    with alarm(Limits(seconds=0.5), called.set):
        assert not called.wait(0.8)
    assert not called.wait(0.2), "the block has ended"
    with alarm(Limits(seconds=0.02), called.set):
        assert called.wait(60), "tenfold at most"
    called.clear()
    monkeypatch.undo()
    with alarm(Limits(seconds=0.02), called.set):
        while not called.is_set():  # it has its time, and uses it
            pass
