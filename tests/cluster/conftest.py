"""Servers for these tests: PostgreSQL and S3 (moto) on the loopback, or folders and SQLite, by environment alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Gate, free_port, s3_gate, stop_server, wait_for_port

ROOT = Path(__file__).parents[2]


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that says where things are."""
    hidden = ("NIGHTSHIFT_", "PREFECT_", "MLFLOW_", "AWS_", "PG")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    return kept | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}


@pytest.fixture(scope="session")
def s3_servers() -> Iterator[tuple[Gate, dict[str, str]]]:
    """An S3 server with a bucket `nights` behind a gate, and the environment that leads there."""
    with s3_gate() as (gate, environment):
        make = "import boto3; boto3.client('s3').create_bucket(Bucket='nights')"
        subprocess.run([sys.executable, "-c", make], env=clean_environment() | environment, check=True)
        yield gate, environment


@pytest.fixture(scope="session")
def s3(s3_servers: tuple[Gate, dict[str, str]]) -> dict[str, str]:
    """The environment of the S3 server."""
    return s3_servers[1]


class Postgres:
    """A PostgreSQL server that can be stopped and started again; it refuses to run as root, so root runs it as another.

    `url` is that of the server, without a database.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder, self.port = binaries, folder, free_port()
        self.url = f"postgresql+psycopg2://nightshift@127.0.0.1:{self.port}"
        self.more: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        if os.getuid() == 0:
            import pwd

            self.more["user"] = next(u.pw_name for u in pwd.getpwall() if u.pw_name in {"postgres", "nobody"})
            shutil.chown(folder, self.more["user"])
        command = [binaries / "initdb", "-D", folder / "data", "-U", "nightshift", "-A", "trust", "-E", "UTF8"]
        subprocess.run(command, check=True, **self.more)
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run, and answer on the port."""
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", self.folder, "-c", "fsync=off"]
        self.server = subprocess.Popen([self.binaries / "postgres", "-D", self.folder / "data", *options], **self.more)
        wait_for_port(self.port)

    def stop(self) -> None:
        """A fast shutdown, which cuts connections; SIGTERM would wait for this process's own pooled ones."""
        if self.server is not None:
            stop_server(self.server, signal.SIGINT)
            self.server = None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server; skipped where none is installed."""
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    folder = Path("/tmp") / f"nightshift-postgres-{os.getpid()}"
    folder.mkdir(mode=0o777)
    server = Postgres(Path(found).resolve().parent, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(postgres_server: Postgres) -> str:
    """The URL of the PostgreSQL server, without a database."""
    return postgres_server.url


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
