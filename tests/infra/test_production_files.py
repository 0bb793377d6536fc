"""Compose, Dockerfile, Kubernetes, Prometheus and dev container files: valid by their own rules, and agreeing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from infra.gpu import LABEL_KEYS, POOLS, gpu_class
from infra.pools import HOME, USER, PoolOptions, job_template

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
KUBERNETES = sorted((INFRA / "kubernetes").glob("*.yaml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def documents() -> list[dict[str, Any]]:
    """Every Kubernetes object of the folder."""
    return [
        item
        for path in KUBERNETES
        if path.stem != "kustomization"
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def objects(kind: str) -> list[dict[str, Any]]:
    return [item for item in documents() if item["kind"] == kind]


def test_the_compose_file_follows_the_specification_and_a_broken_one_would_not(tmp_path: Path) -> None:
    def check(path: Path) -> int:
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False).returncode

    assert check(INFRA / "compose.yaml") == 0
    broken = tmp_path / "compose.yaml"
    broken.write_text((INFRA / "compose.yaml").read_text().replace("restart: unless-stopped", "restarts: always"))
    assert check(broken) != 0


def test_compose_listens_on_this_machine_alone_and_holds_no_secret() -> None:
    content = yaml.safe_load((INFRA / "compose.yaml").read_text())
    ports = [port for service in content["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for name, service in content["services"].items():
        image = service["image"]
        assert "latest" not in image, name
        assert re.search(r":[^:]*\d", image), name
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH", key):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.*\}", value), f"{name}: {key} must come from the environment"


def test_compose_has_a_worker_for_nights_one_for_steps_and_one_for_the_gpu() -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    pools = {name: s["command"][s["command"].index("--pool") + 1] for name, s in services.items() if "worker" in name}
    assert pools == {"worker-nights": "cpu", "worker-cpu": "cpu", "worker-gpu": "${GPU_POOL:-gpu-l4}"}
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])


def test_the_dockerfile_passes_its_linter_and_runs_as_the_user_the_pods_ask_for() -> None:
    path = INFRA / "images" / "Dockerfile"
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--failure-threshold", "info", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    text = path.read_text()
    assert f"USER {USER}\n" in text
    assert f"--home-dir {HOME} " in text
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+", base), f"{base} is not pinned"
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for source in line.split()
    }
    assert all((ROOT / source).exists() for source in copied)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert copied == kept


@pytest.mark.parametrize("number", range(len(documents())))
def test_each_kubernetes_object_is_valid(number: int) -> None:
    kubernetes_validate.validate(documents()[number], "1.34", strict=True)


def test_the_kubernetes_files_agree_with_each_other_and_with_the_pools() -> None:
    kustomization = yaml.safe_load((INFRA / "kubernetes" / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == {p.name for p in KUBERNETES} - {
        "kustomization.yaml",
        "secret.example.yaml",
    }
    assert kustomization["images"][0]["newTag"].startswith(VERSION)
    assert len(objects("Deployment")) == len(POOLS) + 1
    worked = set()
    for worker in objects("Deployment"):
        pod = worker["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        arguments = container["args"]
        worked.add((arguments[arguments.index("--pool") + 1], arguments[arguments.index("--work-queue") + 1]))
        assert worker["spec"]["selector"]["matchLabels"] == worker["spec"]["template"]["metadata"]["labels"]
        assert pod["securityContext"]["runAsUser"] == USER
        assert container["image"] == kustomization["images"][0]["name"]
        assert "nvidia.com/gpu" not in container["resources"]["limits"], "workers start jobs; they need no GPU"
    assert worked == {("cpu", "nights"), *((pool, "default") for pool in POOLS)}

    accounts = {item["metadata"]["name"] for item in objects("ServiceAccount")}
    job = job_template(_default(), gpu_class("gpu-l4"), PoolOptions("kubernetes", "x"))
    assert job["variables"]["properties"]["service_account_name"]["default"] in accounts
    assert job["variables"]["properties"]["namespace"]["default"] == objects("Namespace")[0]["metadata"]["name"]
    sources = job["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert [next(iter(source.values()))["name"] for source in sources] == [
        objects("ConfigMap")[0]["metadata"]["name"],
        objects("Secret")[0]["metadata"]["name"],
    ]


def _default() -> dict[str, Any]:
    from flows.deploy import default_template

    return default_template("kubernetes")


def test_alerts_ask_for_metrics_that_exist_and_each_has_its_runbook_section() -> None:
    from prometheus_client import generate_latest

    from registry.service.metrics import Metrics

    exported = generate_latest(Metrics(_engine())._registry).decode()
    exported = set(re.findall(r"^# TYPE (\S+)", exported, re.MULTILINE))
    jobs = {job["job_name"] for job in yaml.safe_load((INFRA / "prometheus/scrape.yaml").read_text())["scrape_configs"]}
    headings = re.findall(r"^### (.+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    (group,) = yaml.safe_load((INFRA / "prometheus/alerts.yaml").read_text())["groups"]
    assert len(group["rules"]) == 5
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert set(re.findall(r"\bnightshift_\w+", rule["expr"])) <= exported
        assert set(re.findall(r'job="([^"]+)"', rule["expr"])) <= jobs
        assert rule["alert"] in headings
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def _engine() -> Any:
    from types import SimpleNamespace

    served = SimpleNamespace(release="r", version="1")
    return SimpleNamespace(waiting=0, trouble="", switches=0, failed_switches=0, served=served)


def test_each_automation_has_its_runbook_section() -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert {item["name"] for item in yaml.safe_load((INFRA / "automations.yaml").read_text())} <= set(headings)


def test_the_guide_names_the_labels_of_the_table() -> None:
    text = (ROOT / "docs" / "deploying.md").read_text()
    rows = {cells[0].strip(" `"): cells for line in text.splitlines() if len(cells := line.strip("| ").split("|")) == 5}
    for platform, key in LABEL_KEYS.items():
        cells = [cell.strip(" `") for cell in rows[platform]]
        assert cells[1] == key
        for cell, pool in zip(cells[2:], POOLS[1:], strict=True):
            named = cell.split(", ")
            labels = gpu_class(pool).labels[platform]
            assert all(label.startswith(cell) for label in labels) if platform == "eks" else set(named) == set(labels)


def test_the_dev_container_uses_the_projects_own_commands() -> None:
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert content["postCreateCommand"].startswith("make setup TORCH=")
    assert "latest" not in content["image"]
