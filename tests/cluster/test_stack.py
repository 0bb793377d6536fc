"""`nightshift up` on PostgreSQL and S3: nights from the UI's API across the pools, killed steps, the webhook, `down`.

One stack for all of these tests, started by `up` itself; each test leaves it running and healthy. The nights use the
random model.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.cluster.conftest import clean_environment, new_database
from tests.servers import free_port

pytestmark = pytest.mark.cluster

STEPS = ("prepare", "train", "evaluate", "promote")
PATIENCE = 1200.0  # seconds for anything; a quiet machine needs a twentieth
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Stack:
    """What `up` started, and how a person reaches it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        ports = [f"--{name}-port={free_port()}" for name in ("prefect", "mlflow", "webhook")]
        self.up = ("up", *ports, f"--timeout={PATIENCE:.0f}", "--json")
        self.told = self.command(*self.up)
        self.api, self.mlflow = f"{self.told['prefect']}/api", self.told["mlflow"]

    def command(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stderr + self.logs()
        return json.loads(done.stdout)

    def here(self, *arguments: str) -> Any:
        """A command in a shell that was told where the servers are."""
        known = {"PREFECT_API_URL": self.api, "MLFLOW_TRACKING_URI": self.mlflow}
        self.environment, before = self.environment | known, self.environment
        try:
            return self.command(*arguments, "--json")
        finally:
            self.environment = before

    def pids(self) -> dict[str, int]:
        return {one["name"]: one["pid"] for one in self.told["processes"]}

    def logs(self) -> str:
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-1500:]}" for p in self.folder.rglob("stack/*.log"))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(f"{self.api}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def trigger(self, **parameters: Any) -> str:
        """What the form in the Prefect UI sends: the id of the new run of `nightly`."""
        (deployment,) = self.post("deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
        return self.post(f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]

    def run(self, id: str) -> dict[str, Any]:
        return httpx.get(f"{self.api}/flow_runs/{id}", timeout=60).json()

    def steps(self, parent: str) -> list[dict[str, Any]]:
        """The runs that a night started, oldest first."""
        found = self.post(
            "flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [parent]}}, "sort": "START_TIME_ASC"}
        )
        return [run for run in found if run["deployment_id"]]

    def until(self, what: str, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if found := look():
                    return found
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s\n{self.logs()}"
            time.sleep(0.3)

    def ended(self, id: str) -> dict[str, Any]:
        return self.until("the run ends", lambda: run if (run := self.run(id))["state_type"] in FINAL else None)


@pytest.fixture(scope="module")
def stack(s3: dict[str, str], postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    environment = clean_environment() | s3 | {
        "NIGHTSHIFT_HOME": str(folder / "home"),
        "NIGHTSHIFT_STORE": f"s3://nights/{folder.name}/store",
        "NIGHTSHIFT_ARTIFACTS": f"s3://nights/{folder.name}/artifacts",
        "MLFLOW_TRACKING_URI": new_database(postgres, f"mlflow_{folder.name}"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": new_database(postgres, f"prefect_{folder.name}").replace(
            "psycopg2", "asyncpg"
        ),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    }  # fmt: skip
    try:
        yield Stack(folder, environment)
    finally:
        subprocess.run([sys.executable, "-m", "flows.cli", "down"], env=environment, cwd=folder, check=False)


def test_up_again_keeps_what_runs(stack: Stack) -> None:
    again = stack.command(*stack.up)
    assert again["processes"] == stack.told["processes"]
    workers = {"worker-nights", "worker-cpu", "worker-gpu-t4", "worker-gpu-l4", "worker-gpu-h100"}
    assert set(stack.pids()) == {"prefect", "mlflow", "webhook", *workers}


def test_nights_from_the_form_run_across_four_pools_and_promote(stack: Stack) -> None:
    first = stack.trigger(recipe="tiny", reason="from the form")
    parent = stack.ended(first)
    assert (parent["state_name"], parent["work_pool_name"], parent["work_queue_name"]) == ("Promoted", "cpu", "nights")
    steps = stack.steps(first)
    assert [(run["name"].split()[0], run["work_pool_name"]) for run in steps] == [
        ("prepare", "cpu"),
        ("train", "gpu-l4"),
        ("evaluate", "gpu-t4"),
        ("promote", "cpu"),
    ]
    assert {run["state_type"] for run in steps} == {"COMPLETED"}
    night = steps[0]["parameters"]["night"]
    assert steps[1]["idempotency_key"] == f"{night}-train-gpu-l4-1"
    # The same again: nothing new, and no step is started.
    again = stack.trigger(recipe="tiny")
    assert (stack.ended(again)["state_name"], stack.steps(again)) == ("NothingNew", [])
    # Another night, on the pools that this one names.
    other = stack.trigger(recipe="tiny", overrides=["training.seed=43", "infra.train=[gpu-h100]"])
    assert stack.ended(other)["state_name"] == "Promoted"
    assert stack.steps(other)[1]["work_pool_name"] == "gpu-h100"
    rows = stack.here("releases")
    assert [(row["version"], row["aliases"]) for row in rows] == [("2", ["Production"]), ("1", ["Previous"])]


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_killed_goes_on_in_another_process(stack: Stack, step: str, kind: signal.Signals) -> None:
    """The step's process group is ended as soon as it runs: the night completes, with one promotion more."""
    before = len(stack.here("history"))
    seed = 100 + 10 * STEPS.index(step) + (kind == signal.SIGKILL)
    night = stack.trigger(recipe="tiny", overrides=[f"training.seed={seed}"])

    def running() -> dict[str, Any] | None:
        return next(
            (r for r in stack.steps(night) if r["name"].startswith(step) and r["state_type"] == "RUNNING"), None
        )

    victim = stack.until(f"{step} runs", running)
    os.killpg(process_of(stack, victim["id"]).pid, kind)
    assert stack.ended(night)["state_name"] == "Promoted"
    steps = stack.steps(night)
    assert Counter(run["name"].split()[0] for run in steps if run["state_type"] == "COMPLETED") == Counter(STEPS)
    assert stack.run(victim["id"])["state_type"] != "RUNNING"
    entries = stack.here("history", "--verify")
    assert len(entries) == before + 1
    assert trained_twice(stack, entries[-1]["night"]) == []


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_a_night_that_is_killed_goes_on_with_the_next_run_of_it(stack: Stack, kind: signal.Signals) -> None:
    """The parent's process group is ended while its training runs elsewhere: the next run waits for that training."""
    before = len(stack.here("history"))
    asked = {"recipe": "tiny", "overrides": [f"training.seed={200 + kind}"]}
    broken = stack.trigger(**asked)
    training = stack.until("train runs", lambda: [r for r in stack.steps(broken) if r["name"].startswith("train")])
    os.killpg(process_of(stack, broken).pid, kind)
    stack.until("the night is known to be over", lambda: stack.run(broken)["state_type"] in FINAL)
    again = stack.trigger(**asked)
    assert stack.ended(again)["state_name"] == "Promoted"
    night = training[0]["parameters"]["night"]
    key = f"{night}-train-gpu-l4-"
    found = stack.post("flow_runs/filter", {"flow_runs": {"deployment_id": {"any_": [training[0]["deployment_id"]]}}})
    ours = [run for run in found if (run["idempotency_key"] or "").startswith(key)]
    assert [run["id"] for run in ours if run["state_type"] == "COMPLETED" and "reused" not in run["name"]] == [
        training[0]["id"]
    ]
    assert len(stack.here("history", "--verify")) == before + 1
    assert trained_twice(stack, night) == []


def process_of(stack: Stack, run: str) -> psutil.Process:
    """The process that executes a flow run: it leads its own group below a worker, and names the run."""
    for name, pid in stack.pids().items():
        if name.startswith("worker-"):
            for process in psutil.Process(pid).children():
                if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                    return process
    raise AssertionError(f"no worker has a process of run {run}")


def trained_twice(stack: Stack, night: str) -> list[str]:
    """Stages of the night with more than one run in MLflow that went to its end."""
    from mlflow import MlflowClient

    client = MlflowClient(stack.mlflow)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    asked = f"tags.`nightshift.night` = '{night}' and tags.`nightshift.kind` = 'night'"
    (parent,) = client.search_runs(experiments, asked)
    stages = client.search_runs(
        experiments, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`nightshift.kind` = 'stage'"
    )
    names = Counter(run.info.run_name for run in stages if run.info.status == "FINISHED")
    assert len(names) == 3, names
    return [name for name, count in names.items() if count > 1]


def test_production_moved_by_a_person_is_heard_at_once(stack: Stack) -> None:
    from mlflow import MlflowClient

    first = stack.ended(stack.trigger(recipe="tiny", overrides=["training.seed=7"]))
    second = stack.ended(stack.trigger(recipe="tiny", overrides=["training.seed=8"]))
    assert {first["state_name"], second["state_name"]} == {"Promoted"}
    entries = stack.here("history")
    previous = entries[-1]["previous_version"]
    MlflowClient(stack.mlflow).set_registered_model_alias("text2sql-tiny", "Production", previous)
    entry = stack.until("the ledger hears it", lambda: (e := stack.here("history")[-1])["action"] == "manual" and e)
    assert entry["version"] == previous
    checks = stack.post("flow_runs/filter", {"flows": {"name": {"any_": ["check"]}}})
    assert [run["parameters"]["release"] for run in checks if run["idempotency_key"]] != []


def test_down_stops_what_up_started_and_nothing_else(stack: Stack) -> None:
    """The last test: afterwards nothing is left."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    family = [p for pid in stack.pids().values() for p in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    try:
        assert set(stack.command("down", "--json")["stopped"]) == set(stack.pids())
        assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
        assert bystander.poll() is None
        assert stack.command("down", "--json")["stopped"] == []
    finally:
        bystander.kill()
        bystander.wait()
