"""A real Prefect server for the tests of this folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.stack import PATIENT
from tests.commands import clean_environment
from tests.servers import free_port

ROOT = Path(__file__).parents[2]


class Servers:
    """A Prefect server and what the test starts beside it, all on the loopback, all ended by id."""

    def __init__(self, folder: Path, home: Path) -> None:
        port = free_port()
        shutil.copytree(home, folder / "home")  # the server's database and MLflow's are made
        self.folder, self.api = folder, f"http://127.0.0.1:{port}/api"
        self.environment = (
            clean_environment()
            | PATIENT
            | {
                "PREFECT_API_URL": self.api,
                "PREFECT_HOME": str(folder / "home" / "prefect"),
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "PREFECT_WORKER_QUERY_SECONDS": "1",
                "NIGHTSHIFT_HOME": str(folder / "home"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            }
        )
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        try:
            self.until(lambda: httpx.get(f"{self.api}/health").status_code == 200, 300, "the server answers")
        except BaseException:
            self.stop()
            raise

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
                )
            )

    def prefect(self, *arguments: str) -> str:
        done = subprocess.run(
            ["prefect", "--no-prompt", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self) -> list[dict[str, Any]]:
        """The runs of the deployment, parents only."""
        body = {"flow_runs": {"parent_task_run_id": {"is_null_": True}}, "sort": "EXPECTED_START_TIME_ASC"}
        return httpx.post(f"{self.api}/flow_runs/filter", json=body).json()

    def until(self, condition: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except httpx.HTTPError:
                pass
            logs = {p.name: p.read_text(errors="replace")[-2000:] for p in self.folder.glob("*.log")}
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s\n{logs}"
            time.sleep(0.5)

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process in reversed(self.processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def servers(tmp_path: Path, tiny_home: Path) -> Iterator[Servers]:
    running = Servers(tmp_path, tiny_home)
    try:
        yield running
    finally:
        running.stop()
