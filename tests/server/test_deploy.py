"""`nightshift deploy` on a real Prefect server: all is there after the first call, the second changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from infra.gpu import POOLS
from tests.server.conftest import ROOT, Servers

pytestmark = pytest.mark.server


def deploy(servers: Servers, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", "deploy", "--file", str(ROOT / "prefect.yaml"), "--json", *arguments]
    return subprocess.run(
        command, env=servers.environment, cwd=servers.folder, capture_output=True, text=True, check=False
    )


def test_deploying_twice_changes_nothing_the_second_time(servers: Servers) -> None:
    first = deploy(servers)
    assert first.returncode == 0, first.stderr
    done = {(c["kind"], c["name"]): c["done"] for c in json.loads(first.stdout)["changes"]}
    assert {name for kind, name in done if kind == "pool"} == set(POOLS)
    assert done[("automation", "nightshift zombie run")] == "created"
    assert done[("automation", "nightshift missed night")] == "left out"
    second = json.loads(deploy(servers).stdout)["changes"]
    assert {c["done"] for c in second if c["kind"] != "deployments"} == {"unchanged", "left out"}

    raised = json.loads(deploy(servers, "--limit", "gpu-l4=2").stdout)["changes"]
    assert [c["name"] for c in raised if c["done"] == "updated" and c["kind"] == "pool"] == ["gpu-l4"]
    wrong = deploy(servers, "--type", "docker", "--image", "x")
    assert wrong.returncode == 2
    assert "pool cpu is of type process" in wrong.stderr
    assert "no block 'slack-webhook/ops'" in deploy(servers, "--notify", "slack-webhook/ops").stderr

    found = httpx.post(f"{servers.api}/deployments/filter", json={}).json()
    pools = {d["name"]: (d["work_pool_name"], d["work_queue_name"], d["version"]) for d in found}
    assert pools["train-gpu-h100"] == ("gpu-h100", "default", "0.1.0")
    assert pools["nightly"] == ("cpu", "nights", "0.1.0")
    assert len(pools) == len(found) == 21
