"""prefect.yaml and the pools: every deployment renders, through Prefect's own renderer, to the accelerator it names."""

from __future__ import annotations

import asyncio
import datetime
import importlib
import tomllib
import uuid
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args
from zoneinfo import ZoneInfo

import kubernetes_validate
import pytest
import yaml
from docker.types import HostConfig
from prefect.cli.deploy._models import ConcurrencyLimitSpec, DeploymentConfig, PrefectYamlModel, RawScheduleConfig
from prefect.client.schemas.actions import DeploymentScheduleCreate  # noqa: F401  (resolves the models' references)
from prefect.server.schemas.schedules import CronSchedule
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessJobConfiguration
from prefect_docker.worker import DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from flows.deploy import automations, default_template, deployed_pools
from infra.errors import UserError
from infra.gpu import LABEL_KEYS, POOLS, Platform, gpu_class
from infra.pools import GPU_RESOURCE, PoolOptions, PoolType, job_template

ROOT = Path(__file__).parents[2]
FILE = ROOT / "prefect.yaml"
CONTENT = yaml.safe_load(FILE.read_text())
DEPLOYMENTS = {deployment["name"]: deployment for deployment in CONTENT["deployments"]}
RENDERERS = {
    "process": ProcessJobConfiguration,
    "docker": DockerWorkerJobConfiguration,
    "kubernetes": KubernetesWorkerJobConfiguration,
}
# What somebody might write into a run's job variables to reach another accelerator.
ATTEMPT: dict[str, Any] = {
    "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"},
    "gpu_count": 8,
    "tolerations": [],
    "affinity": {},
    "container_create_kwargs": {"device_requests": [{"count": -1, "capabilities": [["gpu"]]}]},
    "privileged": True,
    "labels": {"nvidia.com/gpu.product": "NVIDIA-H200"},
}


def options(type: str, platform: str = "gpu-operator", **more: Any) -> PoolOptions:
    return PoolOptions(type, "registry.example/nightshift:0.1.0", platform, **more)


@cache
def template(pool: str, chosen: PoolOptions) -> dict[str, Any]:
    return job_template(default_template(chosen.type), gpu_class(pool), chosen)


def render(pool: str, chosen: PoolOptions, variables: dict[str, Any] | None = None) -> Any:
    """What a worker of the pool would start, made by Prefect's renderer and completed for a flow run."""
    renderer = RENDERERS[chosen.type]
    # No template names a block or a Prefect variable, so the client is never asked; without one a server would start.
    no_client: Any = SimpleNamespace()
    job = asyncio.run(renderer.from_template_and_values(template(pool, chosen), variables or {}, client=no_client))
    run: Any = SimpleNamespace(id=uuid.uuid4(), name="sturdy-fox", work_pool_name=pool, flow_id=uuid.uuid4())
    run.deployment_id, run.tags, run.parameters = None, [], {}
    job.prepare_for_flow_run(run)
    return job


def accelerator(manifest: dict[str, Any], platform: Platform) -> tuple[str, ...]:
    """The names of the accelerators that a job's pod may land on; empty when it asks for none."""
    pod = manifest["spec"]["template"]["spec"]
    key = LABEL_KEYS[platform]
    if key in pod.get("nodeSelector", {}):
        return (pod["nodeSelector"][key],)
    if "affinity" not in pod:
        return ()
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    ((expression,),) = (term["matchExpressions"] for term in terms)
    assert (expression["key"], expression["operator"]) == (key, "In")
    return tuple(expression["values"])


def check_job(manifest: dict[str, Any], pool: str, platform: Platform) -> None:
    """A valid Kubernetes job that lands on the pool's class and nowhere else."""
    gpu = gpu_class(pool)
    kubernetes_validate.validate(manifest | {"metadata": manifest["metadata"] | {"name": "x"}}, "1.34")
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert accelerator(manifest, platform) == (gpu.labels[platform] if gpu.is_gpu else ())
    assert container["resources"]["limits"].get(GPU_RESOURCE) == (1 if gpu.is_gpu else None)
    tolerated = [item["key"] for item in pod.get("tolerations", [])]
    assert tolerated == ([GPU_RESOURCE] if gpu.is_gpu else [])
    assert container["resources"]["limits"]["memory"] == f"{gpu.ram_gib}Gi"
    assert manifest["spec"]["backoffLimit"] == 0
    assert manifest["spec"]["activeDeadlineSeconds"] == 12 * 3600
    environment = {item["name"]: item.get("value") for item in container["env"]}
    assert environment["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"  # without, a run that is gone is never found out


@pytest.mark.parametrize("platform", get_args(Platform))
def test_each_deployment_becomes_a_valid_job_on_its_own_accelerator(platform: Platform) -> None:
    for deployment in DEPLOYMENTS.values():
        pool = deployment["work_pool"]["name"]
        job = render(pool, options("kubernetes", platform), deployment["work_pool"].get("job_variables", {}))
        check_job(job.job_manifest, pool, platform)


@pytest.mark.parametrize("pool", POOLS)
def test_no_job_variable_reaches_another_accelerator(pool: str) -> None:
    check_job(render(pool, options("kubernetes", "gke"), ATTEMPT).job_manifest, pool, "gke")


def test_the_schema_used_here_refuses_a_broken_job() -> None:
    manifest = render("gpu-l4", options("kubernetes")).job_manifest
    manifest["spec"]["template"]["spec"]["tolerations"] = {"key": "not a list"}
    manifest["metadata"]["name"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.34")


def test_spot_adds_the_platforms_label_and_keeps_the_accelerator() -> None:
    job = render("gpu-l4", options("kubernetes", "gke", spot=True))
    pod = job.job_manifest["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-spot": "true",
    }
    assert {item["key"] for item in pod["tolerations"]} == {GPU_RESOURCE, "cloud.google.com/gke-spot"}
    for wrong in (options, lambda *_, **more: PoolOptions("docker", "x", **more)):
        with pytest.raises(UserError, match="--spot"):
            wrong("kubernetes", "gpu-operator", spot=True)


@pytest.mark.parametrize("pool", POOLS)
def test_docker_pools_start_a_container_with_its_gpu_or_none(pool: str) -> None:
    gpu = gpu_class(pool)
    for variables in ({}, ATTEMPT):
        job = render(gpu.pool, options("docker"), variables)
        assert not job.privileged
        assert job.image == "registry.example/nightshift:0.1.0"
        host = HostConfig(version="1.44", **job.container_create_kwargs)
        asked = host.get("DeviceRequests") or []
        assert [(r["Driver"], r["Count"], r["Capabilities"]) for r in asked] == (
            [("nvidia", 1, [["gpu"]])] if gpu.is_gpu else []
        )


def test_process_pools_are_prefects_own_with_runs_that_say_that_they_live() -> None:
    own = default_template("process")
    own["variables"]["properties"]["env"]["default"] = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    # Hiding the GPU from `cpu` would train a night of one process, whose steps run there, on the CPU unasked.
    for pool in POOLS:
        assert template(pool, options("process")) == own
        assert "CUDA_VISIBLE_DEVICES" not in render(pool, options("process")).env


@pytest.mark.parametrize("type", get_args(PoolType))
def test_templates_keep_what_prefect_offers_except_the_accelerator(type: PoolType) -> None:
    default = default_template(type)
    made = template("gpu-h100", options(type))
    assert set(default["job_configuration"]) <= set(made["job_configuration"])
    lost = set(default["variables"]["properties"]) - set(made["variables"]["properties"])
    assert lost == ({"privileged"} if type == "docker" else set())
    offered = set(made["variables"]["properties"])
    for deployment in DEPLOYMENTS.values():
        assert set(deployment["work_pool"].get("job_variables", {})) <= offered


def test_options_are_checked() -> None:
    with pytest.raises(UserError, match="--image"):
        PoolOptions("docker")
    with pytest.raises(UserError, match="there are process, docker, kubernetes"):
        PoolOptions("ecs")
    with pytest.raises(UserError, match="unknown platform 'aks'"):
        PoolOptions("kubernetes", "x", "aks")


def test_the_file_has_no_key_that_prefect_would_ignore() -> None:
    parsed = PrefectYamlModel.model_validate(CONTENT)
    assert set(CONTENT) == {"name", "pull", "definitions", "deployments"}
    assert len(parsed.deployments) == len(DEPLOYMENTS) == len(CONTENT["deployments"])
    for deployment in DEPLOYMENTS.values():
        assert set(deployment) <= set(DeploymentConfig.model_fields)
        assert set(deployment["work_pool"]) <= {"name", "work_queue_name"}
        assert set(deployment.get("concurrency_limit", {})) <= set(ConcurrencyLimitSpec.model_fields)
        for schedule in deployment.get("schedules", ()):
            RawScheduleConfig.model_validate(schedule)


def test_a_step_has_a_deployment_for_every_class_it_may_run_on() -> None:
    assert set(deployed_pools(FILE)) == set(POOLS)
    for step, pools in (("prepare", ("cpu",)), ("train", POOLS), ("evaluate", POOLS), ("promote", ("cpu",))):
        for pool in pools:
            deployment = DEPLOYMENTS[f"{step}-{pool}"]
            assert deployment["entrypoint"] == f"flows.{step}.{step}"
            assert deployment["work_pool"]["name"] == pool
            gpu = gpu_class(pool)
            assert ([f"gpu:{gpu.name.lower()}"] if gpu.is_gpu else []) == deployment["tags"][1:]
    for pool in POOLS:
        assert DEPLOYMENTS[f"trial-{pool}"]["entrypoint"] == "flows.sweep.trial"
        assert DEPLOYMENTS[f"trial-{pool}"]["work_pool"]["name"] == pool
    assert DEPLOYMENTS["weekly-sweep"]["work_pool"] == DEPLOYMENTS["nightly"]["work_pool"]
    assert DEPLOYMENTS["nightly"]["work_pool"] == {"name": "cpu", "work_queue_name": "nights"}


def test_versions_and_limits_are_stated() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for deployment in DEPLOYMENTS.values():
        assert deployment["version"] == version
        assert deployment["tags"][0] == "nightshift"
        assert deployment["enforce_parameter_schema"] is True
        if limit := deployment.get("concurrency_limit"):
            assert (limit["limit"], limit["collision_strategy"]) == (1, "ENQUEUE")
    assert DEPLOYMENTS["nightly"]["concurrency_limit"]["grace_period_seconds"] >= 1200


def test_every_parameter_of_a_form_says_what_it_is() -> None:
    seen = 0
    for name in ("nightly", "weekly-sweep", "approve", "rollback", "check", "clean", "fresh"):
        module, _, function = DEPLOYMENTS[name]["entrypoint"].rpartition(".")
        schema = parameter_schema(getattr(importlib.import_module(module), function))
        assert set(DEPLOYMENTS[name].get("parameters", {})) <= set(schema.properties)
        for parameter in schema.properties.values():
            assert parameter["description"], parameter
            assert "type" in parameter or "anyOf" in parameter or "enum" in parameter
            seen += 1
    assert seen >= 23


@pytest.mark.parametrize("zone", ["Europe/Rome", "America/New_York", "Australia/Sydney", "America/Santiago", "UTC"])
def test_a_night_runs_once_a_day_at_its_hour_through_both_clock_changes(zone: str) -> None:
    (nightly,) = DEPLOYMENTS["nightly"]["schedules"]
    dates = fire(nightly["cron"], zone)
    assert len(dates) == 365
    assert {(d.hour, d.minute) for d in dates} == {(4, 0)}
    assert {(b.date() - a.date()).days for a, b in pairwise(dates)} == {1}


def test_an_hour_within_the_change_would_not() -> None:
    hours = {(d.hour, d.minute) for d in fire("30 2 * * *", "Europe/Rome")}
    assert hours != {(2, 30)}


def fire(cron: str, zone: str) -> list[datetime.datetime]:
    """When Prefect's scheduler starts a run in the year 2026, in local time."""
    start = datetime.datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    end = datetime.datetime(2026, 12, 31, 23, tzinfo=ZoneInfo(zone))
    found = asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(400, start=start, end=end))
    return [date.astimezone(ZoneInfo(zone)) for date in found]


def test_automations_are_what_prefect_accepts() -> None:
    from prefect.events.schemas.automations import AutomationCore

    named = [item["name"] for item in automations()]
    assert len(named) == len(set(named)) == 6
    for item in automations():
        assert set(item) <= {"name", "description", "trigger", "actions", "notify"}
        core = AutomationCore.model_validate({k: item[k] for k in ("name", "trigger")} | {"actions": []})
        # Prefect fills in what it does not know as a default: each key that stands here must have been read.
        read = core.trigger.model_dump(mode="json")
        assert set(item["trigger"]) <= set(read)
        assert item.get("actions") or set(item["notify"]) == {"subject", "body"}
