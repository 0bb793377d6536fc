"""A real Prefect server and worker: a scheduled run appears by itself, runs the night, and completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.servers import free_port

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]


class Servers:
    """A Prefect server and what the test starts beside it, all on the loopback, all ended by id."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.folder, self.api = folder, f"http://127.0.0.1:{port}/api"
        hidden = ("NIGHTSHIFT_", "PREFECT_", "MLFLOW_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "NIGHTSHIFT_HOME": str(folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
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
def servers(tmp_path: Path) -> Iterator[Servers]:
    running = Servers(tmp_path)
    try:
        yield running
    finally:
        running.stop()


def deployments_file(folder: Path) -> None:
    """Our prefect.yaml with the tiny recipe, every few seconds instead of every night."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (nightly,) = content["deployments"] = [d for d in content["deployments"] if d["name"] == "nightly"]
    nightly["parameters"]["recipe"] = "tiny"
    nightly["schedules"] = [{"interval": 15, "slug": "nightly", "active": True}]
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))


def test_a_scheduled_night_appears_and_completes(servers: Servers) -> None:
    servers.prefect("work-pool", "create", "cpu", "--type", "process")
    deployments_file(servers.folder)
    servers.prefect("deploy", "--all")
    servers.until(lambda: any(run["auto_scheduled"] for run in servers.runs()), 60, "a scheduled run appears")
    servers.start("worker", "prefect", "worker", "start", "--pool", "cpu")
    finished = ("COMPLETED", "FAILED", "CRASHED")
    servers.until(lambda: any(run["state_type"] in finished for run in servers.runs()), 240, "a scheduled run ends")
    run = next(run for run in servers.runs() if run["state_type"] in finished)
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Promoted"), run["state"]["message"]
    assert run["auto_scheduled"]
    # The next scheduled run of the same night finds nothing new.
    servers.until(
        lambda: any(run["state_name"] == "NothingNew" for run in servers.runs()), 120, "the next run finds nothing new"
    )
    children = httpx.post(
        f"{servers.api}/flow_runs/filter", json={"flow_runs": {"parent_task_run_id": {"is_null_": False}}}
    )
    assert {run["name"].split()[0] for run in children.json()} == {"prepare", "train", "evaluate", "promote"}
    artifacts = httpx.post(f"{servers.api}/artifacts/latest/filter", json={}).json()
    kinds = {artifact["type"] for artifact in artifacts}
    assert {"markdown", "table", "progress"} <= kinds, kinds
