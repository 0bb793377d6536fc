"""A PostgreSQL server of our own for the tests that need one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server on a free port of this machine, as its owner; skipped where PostgreSQL is not installed."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        user = {"user": "postgres"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"

    def call(name, *arguments):
        subprocess.run(
            [places[0] / name, *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=None, **user
        )

    call("initdb", "-A", "trust", "-U", "owner", "-N", "-D", data)
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
    call("pg_ctl", "-w", "-D", data, "-l", folder / "log", "-o", options, "start")
    url = f"postgresql://owner@127.0.0.1:{port}/postgres"
    try:
        yield url
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
