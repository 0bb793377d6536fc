"""Questions about a PostgreSQL database: SQL in its dialect, verified there, through a session that cannot write.

Starts Debian's PostgreSQL as a user without privileges. Run: pytest -m server tests/tasks/data/synthetic
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.introspect import QueryFailed, Reader, open_reader
from tasks.data.synthetic.from_database import FromDatabase, FromDatabaseSpec, generate_from
from tasks.data.synthetic.generate import is_telling
from tasks.sql.executor import Limits

pytestmark = pytest.mark.server

CLINIC = """
CREATE TABLE wards (ward_id serial PRIMARY KEY, ward_name varchar(40) NOT NULL, floor integer, "Head Nurse" text);
CREATE TABLE patients (patient_id integer PRIMARY KEY, name text, born date, weight numeric(5,2), insured boolean,
  tags text[], ward_id integer REFERENCES wards, seen timestamp);
CREATE TABLE "Visit" ("VisitNo" integer PRIMARY KEY, patient_id integer REFERENCES patients, cost double precision,
  "Kind" text, "user" text);
INSERT INTO wards SELECT i, 'Ward ' || chr(64 + i), i % 3, (ARRAY['Ana','Bo','Cem','Dot','Eli','Fay'])[i]
  FROM generate_series(1, 6) i;
INSERT INTO patients SELECT i, (ARRAY['Ada','Ben','Cy','Dee','Eve'])[1 + i % 5] || ' ' ||
  (ARRAY['Ash','Birch','Cole','Doe','Elm','Fox','Gray'])[1 + i % 7], date '1950-01-01' + i * 300,
  50 + i * 1.25, i % 3 = 0, ARRAY['a'], CASE WHEN i % 8 > 0 THEN 1 + i % 5 END,
  timestamp '2024-01-01' + i * '7 h'::interval
  FROM generate_series(1, 35) i;
INSERT INTO "Visit" SELECT i, 1 + i * 7 % 30, CASE WHEN i % 10 > 0 THEN i * 3.5 END,
  (ARRAY['check','surgery','test'])[1 + i % 3], 'u' || i % 4 FROM generate_series(1, 90) i;
"""


def binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = binaries()
    if place is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="nightshift-postgres-"))  # pytest's own folders are closed to other users
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("nobody").pw_name
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subprocess.run(
        [place / "initdb", "-D", folder / "data", "-U", "clinic", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        user=user, check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [place / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"],
            user=user, stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    address = f"postgresql://clinic@127.0.0.1:{port}/postgres"
    try:
        import psycopg2

        for _ in range(100):
            try:
                connection = psycopg2.connect(address)
                break
            except psycopg2.OperationalError:
                time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        with connection, connection.cursor() as cursor:
            cursor.execute(CLINIC)
        connection.close()
        yield address
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def reader(url: str) -> Iterator[Reader]:
    opened = open_reader(url, Limits(seconds=2, rows=2000))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def made(reader: Reader) -> FromDatabase:
    return generate_from(reader, FromDatabaseSpec(rows=200))


def test_every_pair_runs_on_the_server_and_tells_something(reader: Reader, made: FromDatabase) -> None:
    assert len(made.examples) == 200
    assert {example.dialect for example in made.examples} == {"postgres"}
    for example in made.examples:
        assert is_telling(reader.query(example.sql)), example.sql


def test_all_difficulties_and_most_shapes_survive_the_translation(made: FromDatabase) -> None:
    counts = made.counts()
    assert counts["difficulty"] == {"easy": 100, "medium": 60, "hard": 40}
    assert len(counts["shapes"]) >= 40
    assert counts["tables_used"] == 3
    assert counts["references"] == 2


def test_types_and_names_are_postgres_own(made: FromDatabase) -> None:
    text = " ".join(example.sql for example in made.examples)
    assert '"Visit"' in text
    assert '"Kind"' in text
    assert "NULLS" not in text
    flags = [e.sql for e in made.examples if e.tags["shape"] == "select_flag"]
    assert flags
    assert all("insured = TRUE" in sql or "insured = FALSE" in sql for sql in flags)
    assert "seen TIMESTAMP" in made.examples[0].schema
    roles = {c.name: c.role for table in made.survey.database.tables for c in table.columns}
    assert (roles["born"], roles["weight"], roles["insured"], roles["seen"]) == ("date", "measure", "flag", "date")


def test_sqlites_dialect_is_written_for_models_that_speak_it(reader: Reader, made: FromDatabase) -> None:
    found = generate_from(reader, FromDatabaseSpec(rows=60, dialect="sqlite"))
    assert {example.dialect for example in found.examples} == {"sqlite"}
    assert [e.question for e in found.examples] == [e.question for e in made.examples[:60]]
    connection = sqlite3.connect(":memory:")
    connection.executescript(found.examples[0].schema + found.examples[0].setup)
    for example in found.examples:
        assert is_telling(connection.execute(example.sql).fetchall()), example.sql
    connection.close()


def test_validation_keeps_every_pair(made: FromDatabase) -> None:
    from tasks.data.frame import feature_rows

    rows = feature_rows(made.examples)
    assert {row["schema_status"] for row in rows} == {"ok"}
    assert {row["runs"] for row in rows} == {"ok"}
    assert min(row["result_rows"] or 0 for row in rows) > 0


def test_the_session_cannot_write_and_does_not_hang(url: str) -> None:
    reader = open_reader(url, Limits(seconds=0.5, rows=100))
    try:
        for statement in ("DELETE FROM wards", "CREATE TABLE x (a int)", "UPDATE patients SET name = 'x'"):
            with pytest.raises(QueryFailed):
                reader.query(statement)
        with pytest.raises(QueryFailed, match="read-only"):
            reader.query("SELECT setval('wards_ward_id_seq', 99)")
        with pytest.raises(QueryFailed, match="timeout"):
            reader.query("SELECT pg_sleep(20)")
        with pytest.raises(QueryFailed, match="more than 100 rows"):
            reader.query("SELECT 1 FROM patients a, patients b")
        assert reader.query("SELECT COUNT(*) FROM wards WHERE ward_name LIKE 'Ward%'") == [(6,)]
    finally:
        reader.close()


def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    with pytest.raises(UserError) as caught:
        open_reader("postgresql://me:secret@127.0.0.1:1/nowhere", Limits())
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
