"""What a night costs beside its work: everything that is not data, training, evaluation or imports, and where it goes.

    python -m tests.benchmarks.overhead            embedded, and across the workers of `nightshift up`
    python -m tests.benchmarks.overhead embedded

A night with the random model, whose work is small. Every process is timed by `stopwatch/sitecustomize.py`; a night's
steps follow each other, so the work and imports of all its processes are taken from its wall time. Workers ask for runs
every PREFECT_WORKER_QUERY_SECONDS (2 here unless set, Prefect's own default is 10), a night looks after its step every
2 s. All are wall times, so the load of the machine stands beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from tests.commands import NIGHTSHIFT, clean_environment
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
WORK = ("data", "training", "model", "evaluation", "imports")
MODEL_PROCESSES = {"tasks/training/session.py": "training", "tasks/models/session.py": "model"}
QUERY_SECONDS = os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "2")


def environment(folder: Path) -> dict[str, str]:
    """Commands below `folder`, each timed."""
    paths = [str(Path(__file__).parent / "stopwatch"), str(ROOT)]
    return clean_environment() | {
        "PYTHONPATH": os.pathsep.join(paths),
        "STOPWATCH_FILE": str(folder / "stopwatch.jsonl"),
        "PREFECT_WORKER_QUERY_SECONDS": QUERY_SECONDS,
    }


def read(folder: Path) -> list[dict[str, Any]]:
    """What the processes that have ended left."""
    return [json.loads(line) for line in (folder / "stopwatch.jsonl").read_text(encoding="utf-8").splitlines()]


def embedded(folder: Path) -> tuple[float, Counter[str]]:
    """Wall seconds of a folder's first `nightshift retrain tiny`, and where they went; `fetch` made its databases."""

    def command(*arguments: str) -> None:
        subprocess.run(
            [*NIGHTSHIFT, *arguments], cwd=folder, env=environment(folder), check=True, stdout=subprocess.DEVNULL
        )

    command("fetch", "tiny")
    began = time.time()
    command("retrain", "tiny", "--json")
    wall = time.time() - began
    (main,) = (one for one in read(folder) if one["command"].endswith("retrain tiny --json"))
    parts = Counter(main["seconds"])
    for one in read(folder):  # the night sleeps while its model processes load and work
        label = next((label for file, label in MODEL_PROCESSES.items() if file in one["command"]), "")
        if label and one["began"] > main["began"]:
            parts[label] += one["ended"] - one["began"]
            parts["sleep"] -= one["ended"] - one["began"]
    parts["interpreter"] = wall - (main["ended"] - main["began"])
    return wall, parts


def across_workers(folder: Path) -> tuple[float, Counter[str]]:
    """The same as a run of the deployment on four pools, from the form to the run's end."""
    ports = {name: free_port() for name in ("prefect", "mlflow", "webhook")}
    known = environment(folder)
    flags = [f"--{name}-port={port}" for name, port in ports.items()]
    up = [*NIGHTSHIFT, "up", *flags, "--timeout=900"]
    subprocess.run(up, cwd=folder, env=known, check=True, stdout=subprocess.DEVNULL)
    try:
        api = f"http://127.0.0.1:{ports['prefect']}/api"
        (folder / "stopwatch.jsonl").unlink(missing_ok=True)
        with httpx.Client(base_url=api, timeout=120) as server:
            asked = {"deployments": {"name": {"any_": ["nightly"]}}}
            (nightly,) = server.post("/deployments/filter", json=asked).json()
            began = time.time()
            body = {"parameters": {"recipe": "tiny"}}
            run = server.post(f"/deployments/{nightly['id']}/create_flow_run", json=body).json()["id"]
            while (state := server.get(f"/flow_runs/{run}").json())["state_type"] not in ("COMPLETED", "FAILED"):
                time.sleep(0.5)
            wall = time.time() - began
            assert state["state_name"] == "Promoted", state["state"]["message"]
            asked = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
            runs = [state, *(r for r in server.post("/flow_runs/filter", json=asked).json() if r["deployment_id"])]
        time.sleep(5)  # until the last process has left its line
        return wall, parts_of_runs(wall, runs, read(folder))
    finally:
        subprocess.run([*NIGHTSHIFT, "down"], cwd=folder, env=known, check=False, stdout=subprocess.DEVNULL)


def parts_of_runs(wall: float, runs: list[dict[str, Any]], lines: list[dict[str, Any]]) -> Counter[str]:
    """Where a dispatched night's seconds went; the night's own waiting is what its steps' processes explain."""
    from datetime import datetime

    parts: Counter[str] = Counter()
    # A step's trainer has the run's id in its environment, too; the engine is what runs the flow.
    engines = {one["run"]: one for one in lines if one["run"] and "prefect/engine.py" in one["command"]}
    for number, run in enumerate(runs):
        one = engines[run["id"]]
        created = datetime.fromisoformat(run["created"].replace("Z", "+00:00")).timestamp()
        parts["picked up by a worker"] += max(0.0, one["began"] - created)
        for label, seconds in one["seconds"].items():
            if not (number == 0 and label == "sleep"):  # the night waits while its steps work
                parts[label] += seconds
    parts["seen by the night (poll)"] = wall - sum(parts.values())
    return parts


def show(title: str, wall: float, parts: Counter[str]) -> None:
    """The table of one night."""
    work = sum(parts[label] for label in WORK)
    drawn = Table(title=f"{title}: {wall:.1f} s, work and imports {work:.1f} s, overhead {wall - work:.1f} s")
    drawn.add_column("")
    drawn.add_column("seconds", justify="right")
    for label in WORK:
        drawn.add_row(f"[dim]{label}[/]", f"{parts[label]:.1f}")
    for label, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        if label not in WORK:
            drawn.add_row(label, f"{seconds:.1f}")
    Console().print(drawn)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    """Print a table for each way to run a night."""
    chosen = sys.argv[1:] or ["embedded", "workers"]
    for way, measure in (("embedded", embedded), ("workers", across_workers)):
        if way in chosen:
            with tempfile.TemporaryDirectory() as folder:
                title = way if way == "embedded" else f"across workers that ask every {QUERY_SECONDS} s"
                show(title, *measure(Path(folder)))


if __name__ == "__main__":
    main()
