"""Base job templates of the work pools, generated from the table of GPU classes.

A template is Prefect's own default for that pool type with the accelerator written into it as a constant: no job
variable names it, so neither a deployment nor a run started in the UI can land on another class. (Prefect replaces
whole objects when a variable is overridden, so a selector offered as a variable could lose its accelerator.)
Limits: a process pool runs where its worker runs; there the class is what the worker's host has. A job gets one GPU.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, get_args

from infra.errors import UserError
from infra.gpu import LABEL_KEYS, SPOT_LABELS, GpuClass, Platform

PoolType = Literal["process", "docker", "kubernetes"]
GPU_RESOURCE = "nvidia.com/gpu"
TAINT = {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
# A node with a GPU may have to be bought and booted first; Prefect's default of 60 seconds would call that a crash.
NODE_SECONDS = 1200
FINISHED_JOB_SECONDS = 86_400
# Where the images keep caches and scratch, and who they run as (infra/images/).
HOME = "/var/lib/nightshift"
USER = 10001
# A run that is told to end goes back on the schedule, from where it continues with its finished stages; Prefect's
# Kubernetes worker sets this by itself.
RESCHEDULE = {"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule"}
# Every run says so often, in seconds, that it lives; infra/automations.yaml takes one for dead that did not for 300.
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What a template needs to know about where it will be used."""

    type: PoolType
    image: str = ""
    platform: Platform = "gpu-operator"
    namespace: str = "nightshift"
    spot: bool = False
    max_hours: float = 12.0

    def __post_init__(self) -> None:
        for value, kind, name in ((self.type, PoolType, "type"), (self.platform, Platform, "platform")):
            if value not in get_args(kind):
                raise UserError(f"unknown {name} {value!r}; there are {', '.join(get_args(kind))}")
        if self.type != "process" and not self.image:
            raise UserError(f"{self.type} pools need --image, such as registry.example/nightshift:0.1.0-cuda")
        if self.spot and (self.type != "kubernetes" or self.platform not in SPOT_LABELS):
            raise UserError(f"--spot is for Kubernetes on {', '.join(SPOT_LABELS)}")


def job_template(default: dict[str, Any], gpu: GpuClass, options: PoolOptions) -> dict[str, Any]:
    """The template of `gpu`'s pool: `default`, Prefect's own for the type, with the accelerator fixed in it."""
    template = copy.deepcopy(default)
    properties = template["variables"]["properties"]
    properties["env"]["default"] = dict(HEARTBEAT)
    if options.type == "docker":
        _docker(template["job_configuration"], properties, gpu, options)
    elif options.type == "kubernetes":
        _kubernetes(template["job_configuration"], properties, gpu, options)
    return template


def _docker(job: dict[str, Any], properties: dict[str, Any], gpu: GpuClass, options: PoolOptions) -> None:
    properties["image"]["default"] = options.image
    properties["env"]["default"] |= RESCHEDULE
    properties["auto_remove"]["default"] = True
    # A privileged container sees every device of its host, so this is no choice either.
    job["privileged"] = False
    for fixed in ("privileged", "container_create_kwargs"):
        properties.pop(fixed, None)
    create: dict[str, Any] = {"shm_size": "2g", "security_opt": ["no-new-privileges:true"], "cap_drop": ["ALL"]}
    if gpu.is_gpu:
        create["device_requests"] = [{"driver": "nvidia", "count": 1, "capabilities": [["gpu"]]}]
    job["container_create_kwargs"] = create


def _kubernetes(job: dict[str, Any], properties: dict[str, Any], gpu: GpuClass, options: PoolOptions) -> None:
    defaults: dict[str, Any] = {
        "image": options.image,
        "namespace": options.namespace,
        "service_account_name": "nightshift-job",
        "finished_job_ttl": FINISHED_JOB_SECONDS,
        "pod_watch_timeout_seconds": NODE_SECONDS,
        "cpu_request": str(gpu.cores),
        "memory_request": f"{gpu.ram_gib}Gi",
        "memory_limit": f"{gpu.ram_gib}Gi",
    }
    for name, value in defaults.items():
        properties[name]["default"] = value
    properties["active_deadline_seconds"] = {
        "title": "Active Deadline Seconds",
        "description": "Kubernetes ends a job that runs longer: the cap on what one run can cost.",
        "type": "integer",
        "minimum": 60,
        "default": int(options.max_hours * 3600),
    }
    spec = job["job_manifest"]["spec"]
    spec["backoffLimit"] = 0  # retries are Prefect's
    spec["activeDeadlineSeconds"] = "{{ active_deadline_seconds }}"
    pod = spec["template"]["spec"]
    pod["securityContext"] = {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER}
    pod["automountServiceAccountToken"] = False
    container = pod["containers"][0]
    container["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    # Addresses and secrets of the servers: infra/kubernetes/ says which keys.
    container["envFrom"] = [{"configMapRef": {"name": "nightshift"}}, {"secretRef": {"name": "nightshift"}}]
    container["volumeMounts"] = [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "home", "mountPath": HOME}]
    # PyTorch's workers exchange tensors through /dev/shm, which containers get 64 MB of.
    pod["volumes"] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        {"name": "home", "emptyDir": {}},
    ]
    if gpu.is_gpu:
        container["resources"]["limits"][GPU_RESOURCE] = 1
        pod["tolerations"] = [dict(TAINT)]
        _select(pod, gpu, options)


def _select(pod: dict[str, Any], gpu: GpuClass, options: PoolOptions) -> None:
    """Tie the pod to nodes of the class; where a platform has several names for it, any of them."""
    key, values = LABEL_KEYS[options.platform], gpu.labels[options.platform]
    selector: dict[str, str] = {}
    if len(values) == 1:
        selector[key] = values[0]
    else:
        expression = {"key": key, "operator": "In", "values": list(values)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    if options.spot:
        label, value = SPOT_LABELS[options.platform]
        selector[label] = value
        pod["tolerations"].append({"key": label, "operator": "Equal", "value": value, "effect": "NoSchedule"})
    if selector:
        pod["nodeSelector"] = selector
