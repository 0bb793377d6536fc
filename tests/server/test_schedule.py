"""A real Prefect server and worker: a scheduled run appears by itself, runs the night, and completes."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml

from tests.server.conftest import ROOT, Servers

pytestmark = pytest.mark.server


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
