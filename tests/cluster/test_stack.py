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
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from infra import processes
from tests.cluster.conftest import Postgres, clean_environment, new_database
from tests.servers import Gate, free_port

pytestmark = pytest.mark.cluster

STEPS = ("prepare", "train", "evaluate", "promote")
PATIENCE = 2400.0  # seconds for anything; a quiet machine needs a fortieth
KINDS = pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
OPEN = ("PENDING", "RUNNING")
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
        assert done.stdout, done.stderr
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
        """What runs now, by name; the keeper may have started some of it anew."""
        noted = processes.noted(self.folder / "home" / "stack").values()
        return {one.name: one.pid for one in noted if one.process is not None}

    def logs(self) -> str:
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-1500:]}" for p in self.folder.rglob("stack/*.log"))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(f"{self.api}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def trigger(self, deployment_name: str = "nightly", /, **parameters: Any) -> str:
        """What the form in the Prefect UI sends: the id of the new run."""
        (deployment,) = self.post("deployments/filter", {"deployments": {"name": {"any_": [deployment_name]}}})
        return self.post(f"deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]

    def run(self, id: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.api}/flow_runs/{id}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def steps(self, parent: str) -> list[dict[str, Any]]:
        """The runs that a night started, oldest first."""
        found = self.post(
            "flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [parent]}}, "sort": "START_TIME_ASC"}
        )
        return [run for run in found if run["deployment_id"]]

    def running(self, parent: str, step: str) -> dict[str, Any] | None:
        """The run of a step while it runs."""
        return next(
            (r for r in self.steps(parent) if r["name"].startswith(step) and r["state_type"] == "RUNNING"), None
        )

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

    def decided(self, id: str) -> dict[str, Any]:
        """A night that came to an end by itself; one that crashed is started again."""
        over = ("COMPLETED", "FAILED", "CANCELLED")
        return self.until("the night ends", lambda: run if (run := self.run(id))["state_type"] in over else None)

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
    assert set(stack.pids()) == {"prefect", "mlflow", "webhook", "keeper", *workers}


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


def test_a_scheduled_night_runs_across_the_pools(stack: Stack) -> None:
    (nightly,) = stack.post("deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
    schedules = f"{stack.api}/deployments/{nightly['id']}/schedules"
    parameters = {"recipe": "tiny", "overrides": ["training.seed=47"]}
    every_minute = {"schedule": {"cron": "* * * * *"}, "active": True, "parameters": parameters}
    (made,) = httpx.post(schedules, json=[every_minute], timeout=60).raise_for_status().json()
    asked = {"flow_runs": {"deployment_id": {"any_": [nightly["id"]]}}}

    def promoted() -> Any:
        runs = stack.post("flow_runs/filter", asked | {"sort": "START_TIME_ASC"})
        return next((r for r in runs if r["auto_scheduled"] and r["state_name"] == "Promoted"), None)

    try:
        run = stack.until("a scheduled night is promoted", promoted)
    finally:
        httpx.delete(f"{schedules}/{made['id']}", timeout=60).raise_for_status()
    pools = [step["work_pool_name"] for step in stack.steps(run["id"])]
    assert (run["parameters"], pools) == (parameters, ["cpu", "gpu-l4", "gpu-t4", "cpu"])
    # Those that the schedule had begun meanwhile find nothing new.
    stack.until(
        "no night runs", lambda: not [r for r in stack.post("flow_runs/filter", asked) if r["state_type"] in OPEN]
    )


def test_the_command_line_runs_a_night_of_the_deployment(stack: Stack) -> None:
    """A file of this machine goes along by its content; exit codes and outcome are those of a night run here."""
    mine = stack.folder / "mine.yaml"
    text = (Path(__file__).parents[2] / "flows" / "recipes" / "tiny.yaml").read_text()
    mine.write_text(text.replace("name: tiny", "name: mine").replace("text2sql-tiny", "text2sql-mine"))
    asked = ("retrain", str(mine), "--deployed", "--set", "training.seed=11")
    planned = stack.here(*asked, "--dry-run")
    assert (planned["outcome"], planned["recipe"]) == ("planned", "mine")
    assert "text2sql-mine" not in {row["name"] for row in stack.here("releases")}
    outcome = stack.here(*asked)
    assert (outcome["outcome"], outcome["version"], outcome["night"]) == ("promoted", "1", planned["night"])
    assert {gate["status"] for gate in outcome["gates"]} == {"pass"}
    assert outcome["report"].endswith(f"reports/mine-{outcome['night']}.html")
    assert stack.here(*asked)["outcome"] == "nothing_new"
    # A run of the deployment that names a file of the worker's disk reads nothing of it.
    for recipe in (str(mine), "/etc/passwd", "../mine.yaml"):
        refused = stack.ended(stack.trigger(recipe=recipe))
        assert refused["state_type"] == "FAILED"
        assert "takes the name of a recipe, not a file" in refused["state"]["message"]
    rules = [f"data.sources=[{{kind: file, path: {mine}}}]"]
    refused = stack.ended(stack.trigger(recipe="tiny", overrides=rules))
    assert "a place to read from" in refused["state"]["message"]


def test_a_night_ends_when_its_gpu_hours_are_spent_and_goes_on_with_more(stack: Stack) -> None:
    asked = ["training.seed=12", "infra.max_gpu_hours=0.000001"]
    spent = stack.ended(stack.trigger(recipe="tiny", overrides=asked))
    assert spent["state_name"] == "Failed"
    assert "train failed on gpu-l4" in spent["state"]["message"]
    assert "has spent its 1e-06 GPU hours in train (infra.max_gpu_hours)" in spent["state"]["message"]
    more = [asked[0], "infra.max_gpu_hours=1"]
    assert stack.ended(stack.trigger(recipe="tiny", overrides=more))["state_name"] == "Promoted"


def test_new_data_in_a_source_begin_a_night_once(stack: Stack) -> None:
    """`fresh` sees a file change after a night; the trigger of `nightly` starts a run of that recipe, with a reason."""
    folder = stack.folder / "home" / "recipes"
    folder.mkdir(exist_ok=True)
    rows = stack.folder / "rows.jsonl"
    row = {"question": "How many?", "context": "CREATE TABLE t (a INT)", "answer": "SELECT COUNT(*) FROM t"}
    rows.write_text("".join(json.dumps(row | {"question": f"How many of {n}?"}) + "\n" for n in range(3)))
    text = (Path(__file__).parents[2] / "flows" / "recipes" / "tiny.yaml").read_text()
    content = yaml.safe_load(text) | {"name": "watched", "data": {"sources": [{"kind": "file", "path": str(rows)}]}}
    (folder / "watched.yaml").write_text(yaml.safe_dump(content))

    def look() -> str:
        return stack.ended(stack.trigger("fresh", recipe="watched"))["state_name"]

    def triggered() -> list[dict[str, Any]]:
        nights = stack.post("flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}})
        return [run for run in nights if run["parameters"].get("reason") == "new data"]

    assert look() == "NoNight"
    stack.ended(stack.trigger(recipe="watched"))  # three rows break a contract; the night is known all the same
    assert look() == "Unchanged"
    rows.write_text(rows.read_text() + json.dumps(row) + "\n")
    assert look() == "NewData"
    (run,) = stack.until("the trigger starts a night", triggered)
    assert run["parameters"]["recipe"] == "watched"
    stack.ended(run["id"])
    assert look() == "Unchanged"
    assert len(triggered()) == 1


@KINDS
def test_a_night_whose_steps_are_killed_in_turn_goes_on(stack: Stack, kind: signal.Signals) -> None:
    """Each step's process group is ended as soon as it runs: every step runs again, and nothing is done twice."""
    before = len(stack.here("history"))
    run = stack.trigger(recipe="tiny", overrides=[f"training.seed={100 + kind}"])
    killed = []
    for step in STEPS:
        victim = stack.until(f"{step} runs", lambda step=step: stack.running(run, step))
        os.killpg(process_of(stack, victim["id"]).pid, kind)
        killed.append(victim["id"])
    assert stack.decided(run)["state_name"] == "Promoted"
    assert {stack.run(id)["state_type"] for id in killed} <= {"CRASHED", "FAILED"}
    assert_one_more(stack, run, before)


@KINDS
def test_a_night_whose_workers_are_killed_in_turn_goes_on(stack: Stack, kind: signal.Signals) -> None:
    """The worker of each step, and the one of nights, ends while its run runs: the keeper starts another."""
    before = len(stack.here("history"))
    run = stack.trigger(recipe="tiny", overrides=[f"training.seed={200 + kind}"])
    turns = [("nights", "prepare"), ("cpu", "prepare"), ("gpu-l4", "train"), ("gpu-t4", "evaluate"), ("cpu", "promote")]
    for worker, step in turns:
        name = f"worker-{worker}"
        stack.until(f"{step} runs", lambda step=step: stack.running(run, step))
        old = stack.until(f"{name} runs", lambda name=name: stack.pids().get(name))
        os.kill(old, kind)
        stack.until(f"{name} is back", lambda name=name, old=old: stack.pids().get(name, old) != old)
    assert stack.decided(run)["state_name"] == "Promoted"
    assert_one_more(stack, run, before)


@KINDS
def test_a_night_that_is_killed_itself_is_started_again(stack: Stack, kind: signal.Signals) -> None:
    """The parent's process group ends while its training runs elsewhere: the automation puts the run back, and it waits
    for that training instead of starting another."""
    before = len(stack.here("history"))
    run = stack.trigger(recipe="tiny", overrides=[f"training.seed={300 + kind}"])
    training = stack.until("train runs", lambda: stack.running(run, "train"))
    os.killpg(process_of(stack, run).pid, kind)
    assert stack.decided(run)["state_name"] == "Promoted"
    assert stack.run(run)["run_count"] == 2
    trainings = [
        one for one in stack.steps(run) if one["name"].startswith("train") and one["state_type"] == "COMPLETED"
    ]
    assert [one["id"] for one in trainings if "reused" not in one["name"]] == [training["id"]]
    assert_one_more(stack, run, before)


AWAY_SECONDS = 30.0


@contextmanager
def mlflow_away(stack: Stack) -> Iterator[None]:
    """MLflow's server is killed, and the keeper, who would start it at once, is kept out."""
    folder = stack.folder / "home" / "stack"
    with processes.guarded(folder):
        processes.stop(folder, [running := processes.noted(folder)["mlflow"]], seconds=0)
        (folder / "mlflow.json").write_text(json.dumps(asdict(running)))  # noted, and dead
        yield


@contextmanager
def postgres_away(server: Postgres) -> Iterator[None]:
    """Prefect's and MLflow's database is shut down."""
    server.stop()
    yield
    server.start()


@contextmanager
def s3_away(gate: Gate) -> Iterator[None]:
    """S3 refuses connections; those that were open are cut."""
    gate.shut()
    yield
    gate.open()


@pytest.mark.parametrize(("server", "step"), [("s3", "train"), ("postgres", "evaluate"), ("mlflow", "promote")])
def test_a_server_that_is_away_for_half_a_minute_costs_a_night_nothing(
    stack: Stack, s3_servers: tuple[Gate, Any], postgres_server: Postgres, server: str, step: str
) -> None:
    before = len(stack.here("history"))
    run = stack.trigger(recipe="tiny", overrides=[f"training.seed={400 + len(server)}"])
    stack.until(f"{step} runs", lambda: stack.running(run, step))
    away = {"s3": s3_away(s3_servers[0]), "postgres": postgres_away(postgres_server), "mlflow": mlflow_away(stack)}
    with away[server]:
        time.sleep(AWAY_SECONDS)
    decided = stack.decided(run)
    assert decided["state_name"] == "Promoted", decided["state"]["message"]
    assert {one["state_type"] for one in stack.steps(run)} <= {"COMPLETED", "CRASHED"}
    assert_one_more(stack, run, before)


def assert_one_more(stack: Stack, run: str, before: int) -> None:
    """One promotion more than before, in a whole chain, and no stage of the night trained twice to its end."""
    entries = stack.here("history", "--verify")
    assert len(entries) == before + 1
    night = stack.steps(run)[0]["parameters"]["night"]
    assert entries[-1]["night"] == night
    assert trained_twice(stack, night) == []


def process_of(stack: Stack, run: str) -> psutil.Process:
    """The process that executes a flow run: it leads its own group, and its environment names the run."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run and os.getpgid(process.pid) == process.pid:
                return process
        except (psutil.Error, ProcessLookupError):
            continue
    raise AssertionError(f"no process executes run {run}")


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
    heard = [run for run in checks if (run["idempotency_key"] or "").startswith("webhook-")]
    assert {run["parameters"]["release"] for run in heard} == {"text2sql-tiny"}


def test_down_stops_what_up_started_and_nothing_else(stack: Stack) -> None:
    """The last test: afterwards nothing is left."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    family = [p for pid in stack.pids().values() for p in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    try:
        running = set(stack.pids())
        assert set(stack.command("down", "--json")["stopped"]) == running
        assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
        assert bystander.poll() is None
        assert stack.command("down", "--json")["stopped"] == []
    finally:
        bystander.kill()
        bystander.wait()
