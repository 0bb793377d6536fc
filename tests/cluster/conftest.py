"""Servers for these tests: PostgreSQL and S3 (moto) on the loopback, or folders and SQLite, by environment alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port, s3_server, stop_server, wait_for_port

ROOT = Path(__file__).parents[2]


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that says where things are."""
    hidden = ("NIGHTSHIFT_", "PREFECT_", "MLFLOW_", "AWS_", "PG")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    return kept | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The environment of an S3 server with a bucket `nights`."""
    with s3_server() as environment:
        make = "import boto3; boto3.client('s3').create_bucket(Bucket='nights')"
        subprocess.run([sys.executable, "-c", make], env=clean_environment() | environment, check=True)
        yield environment


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server's URL without the database; skipped where none is installed.

    The server refuses to run as root; a root user runs it as `postgres` or `nobody`.
    """
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    binaries = Path(found).resolve().parent
    folder = Path("/tmp") / f"nightshift-postgres-{os.getpid()}"
    folder.mkdir(mode=0o777)
    user: dict[str, str] = {}
    if os.getuid() == 0:
        import pwd

        name = next(u.pw_name for u in pwd.getpwall() if u.pw_name in {"postgres", "nobody"})
        shutil.chown(folder, name)
        user = {"user": name}
    port, data = free_port(), str(folder / "data")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "nightshift", "-A", "trust", "-E", "UTF8"], check=True, **user, **quiet
    )
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off"],
        **user,
        **quiet,
    )
    try:
        wait_for_port(port)
        yield f"postgresql+psycopg2://nightshift@127.0.0.1:{port}"
    finally:
        # SIGINT is a fast shutdown; SIGTERM would wait for this process's own pooled connections, which stay open.
        stop_server(server, signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: str, name: str) -> str:
    """The URL of a database, made on a PostgreSQL server."""
    import sqlalchemy

    name = name.replace("-", "_").lower()
    engine = sqlalchemy.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return f"{server}/{name}"


@pytest.fixture(params=["folder and SQLite", "S3 and PostgreSQL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of one installation, empty at first."""
    home = clean_environment() | {"NIGHTSHIFT_HOME": str(tmp_path / "home")}
    if request.param == "folder and SQLite":
        return home | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/home/mlflow.db"}
    url, s3 = request.getfixturevalue("postgres"), request.getfixturevalue("s3")
    return (
        home
        | s3
        | {
            "MLFLOW_TRACKING_URI": new_database(url, f"mlflow_{tmp_path.name}"),
            "NIGHTSHIFT_STORE": f"s3://nights/{tmp_path.name}/store",
            "NIGHTSHIFT_ARTIFACTS": f"s3://nights/{tmp_path.name}/artifacts",
        }
    )


@pytest.fixture
def here(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """`place`, also as the environment of this process."""
    from infra import tracking

    for name in list(os.environ):
        if name.startswith(("NIGHTSHIFT_", "MLFLOW_", "AWS_")) and name not in place:
            monkeypatch.delenv(name)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracking, "_settings", None)
    return place
