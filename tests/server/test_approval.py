"""Approval through a real Prefect server: the approve flow suspends with a form, and a person or time decides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.server.conftest import ROOT, Servers

pytestmark = pytest.mark.cluster

RELEASE = "sql"
ACT = """
import json, sys
from flows.tracking import connect_tracking
from infra.settings import apply_environment, load_settings
settings = load_settings(); apply_environment(settings); connect_tracking(settings)
store = settings.open_store()
from tests.cluster import rivals
from flows.approve import ask_person
from registry.attached import attach_verdict
from pathlib import Path
version = rivals.register(Path(sys.argv[1]), sys.argv[2])
verdict = rivals.verdict_on(store, version, sys.argv[2], "needs_approval")
attach_verdict(rivals.NAME, version, verdict)
asked = ask_person(store, rivals.NAME, verdict, "close call", float(sys.argv[3]))
print(json.dumps({"version": version, "asked": asked}))
"""


def request(servers: Servers, night: str, hours: float) -> dict[str, Any]:
    """What a night does with a version that needs a person, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ACT, str(servers.folder), night, str(hours)],
        env=servers.environment,
        cwd=servers.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def command(servers: Servers, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments, "--json"],
        env=servers.environment,
        cwd=servers.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(done.stdout)


def deploy(servers: Servers, *names: str) -> None:
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    content["deployments"] = [d for d in content["deployments"] if d["name"] in names]
    assert len(content["deployments"]) == len(names)
    (servers.folder / "prefect.yaml").write_text(yaml.safe_dump(content))
    servers.prefect("work-pool", "create", "cpu", "--type", "process")
    servers.prefect("deploy", "--all")


def approval_run(servers: Servers, version: str) -> dict[str, Any]:
    runs = [run for run in servers.runs() if run["name"] == f"approve {RELEASE} version {version}"]
    return runs[0] if runs else {"state_type": None, "state_name": None}


def events(servers: Servers) -> dict[str, dict[str, Any]]:
    """Our events by name and version."""
    body = {"filter": {"event": {"prefix": ["nightshift."]}}}
    found = httpx.post(f"{servers.api}/events/filter", json=body).json()["events"]
    return {f"{event['event']} {event['resource']['nightshift.version']}": event for event in found}


@pytest.fixture
def servers(tmp_path: Path, tiny_home: Path):
    running = Servers(tmp_path, tiny_home)
    running.environment["PYTHONPATH"] = str(ROOT)
    try:
        yield running
    finally:
        running.stop()


def test_approve_reject_and_time_out(servers: Servers) -> None:
    deploy(servers, "approve", "check")
    servers.start("worker", "prefect", "worker", "start", "--pool", "cpu")
    first = request(servers, "n1", hours=1)
    request(servers, "n2", hours=1)
    assert "in the Prefect UI" in first["asked"]

    def suspended(version: str) -> bool:
        return approval_run(servers, version)["state_name"] == "Suspended"

    servers.until(lambda: suspended("1") and suspended("2"), 600, "both approvals are suspended")
    assert command(servers, "history") == []
    run = approval_run(servers, "1")
    # The form is typed: an answer without a name, or with another word than the two, is refused and nothing happens.
    for wrong in ({"approver": "", "decision": "approve", "reason": "x"}, {"decision": "maybe"}):
        answer = httpx.post(f"{servers.api}/flow_runs/{run['id']}/resume", json={"run_input": wrong}).json()
        assert answer["status"] == "REJECT"
    assert suspended("1")
    for version, decision in (("1", "approve"), ("2", "reject")):
        form = {"approver": "Ada", "decision": decision, "reason": f"{decision} it"}
        id = approval_run(servers, version)["id"]
        answer = httpx.post(f"{servers.api}/flow_runs/{id}/resume", json={"run_input": form}, timeout=120).json()
        assert answer.get("status") == "ACCEPT", answer
    servers.until(lambda: approval_run(servers, "1")["state_name"] == "Promoted", 600, "version 1 is promoted")
    servers.until(lambda: approval_run(servers, "2")["state_name"] == "Rejected", 600, "version 2 is rejected")
    (entry,) = command(servers, "history")
    assert (entry["version"], entry["approver"], entry["reason"]) == ("1", "Ada", "approve it")
    # Nobody answers about the third: Prefect fails its run, the check flow hears of it and rejects the version.
    request(servers, "n3", hours=240 / 3600)
    servers.until(lambda: approval_run(servers, "3")["state_type"] == "FAILED", 600, "the third approval runs out")
    servers.until(lambda: "nightshift.rejected 3" in events(servers), 600, "the check flow rejects the third version")
    assert "nightshift.promoted 1" in events(servers)
    assert "nobody decided" in events(servers)["nightshift.rejected 3"]["payload"]["reason"]
    assert len(command(servers, "history")) == 1
    (status,) = command(servers, "status")["releases"]
    assert (status["production"]["version"], status["awaiting_approval"]) == ("1", [])
