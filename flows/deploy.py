"""`nightshift deploy`: bring a Prefect server to what the files say, and change nothing that is so already.

Pools with their templates, limits and queues, the automations of infra/automations.yaml, and then Prefect's own
`prefect deploy --all` on prefect.yaml. Every part can be done with Prefect's command line as well; nothing here is kept
anywhere else. Limits: it adds and updates, and never deletes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from infra.errors import NightshiftError, UserError
from infra.gpu import GpuClass, gpu_class
from infra.pools import PoolOptions, job_template

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Nights wait for their steps; a worker of this queue alone starts them, so that waiting never fills the steps' places.
QUEUES = {"cpu": {"nights": 1}}
Done = Literal["created", "updated", "unchanged", "left out"]


@dataclass(frozen=True, slots=True)
class Change:
    """What was done about one thing on the server."""

    kind: Literal["pool", "queue", "automation", "deployments"]
    name: str
    done: Done
    detail: str = ""


def default_template(type: str) -> dict[str, Any]:
    """Prefect's own base job template of a pool type, from the installed package: no server or network is asked."""
    folder = resources.files("prefect.server.api") / "collections_data" / "views"
    known = json.loads((folder / "aggregate-worker-metadata.json").read_text(encoding="utf-8"))
    found = [workers[type] for workers in known.values() if type in workers]
    if not found:
        raise UserError(f"the installed Prefect knows no pool type {type!r}")
    return found[0]["default_base_job_configuration"]


def deployed_pools(file: Path) -> list[str]:
    """The pools that the deployments of `file` name, in order."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        names = [deployment["work_pool"]["name"] for deployment in content["deployments"]]
    except OSError:
        raise UserError(f"no file {file}: run this where prefect.yaml is, or name it with --file") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{file.name} names no deployments with their work pools: {error}") from None
    return list(dict.fromkeys(names))


def deploy(file: Path, options: PoolOptions, limits: Mapping[str, int], notify: str = "") -> list[Change]:
    """Make or update everything on the Prefect server of PREFECT_API_URL; says what changed.

    `limits` are runs at once by pool; GPU pools have one unless it says otherwise. `notify` is a notification block,
    `type/name`. Raises UserError for an unknown pool or block, or a pool that exists with another type.
    """
    from prefect.client.orchestration import get_client

    pools = [gpu_class(name) for name in deployed_pools(file)]
    if unknown := [name for name in limits if name not in {gpu.pool for gpu in pools}]:
        raise UserError(f"--limit {unknown[0]}: {file.name} has pools {', '.join(gpu.pool for gpu in pools)}")
    template = default_template(options.type)
    with get_client(sync_client=True) as client:
        block = _block(client, notify) if notify else ""
        changes = [_pool(client, gpu, options, template, limits.get(gpu.pool)) for gpu in pools]
        changes += [_queue(client, pool, name, rank) for pool, names in QUEUES.items() for name, rank in names.items()]
        changes += [_automation(client, wanted, block) for wanted in automations()]
    return [*changes, _deployments(file)]


def _pool(
    client: SyncPrefectClient, gpu: GpuClass, options: PoolOptions, default: dict[str, Any], limit: int | None
) -> Change:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    template = job_template(default, gpu, options)
    limit = limit if limit is not None else (1 if gpu.is_gpu else None)
    detail = f"{options.type}, {'no limit' if limit is None else f'{limit} at once'}"
    try:
        found = client.read_work_pool(gpu.pool)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(name=gpu.pool, type=options.type, base_job_template=template, concurrency_limit=limit)
        )
        return Change("pool", gpu.pool, "created", detail)
    if found.type != options.type:
        raise UserError(
            f"pool {gpu.pool} is of type {found.type} and Prefect cannot change that: "
            f"`prefect work-pool delete {gpu.pool}` first, or deploy with --type {found.type}"
        )
    if (found.base_job_template, found.concurrency_limit) == (template, limit):
        return Change("pool", gpu.pool, "unchanged", detail)
    client.update_work_pool(gpu.pool, WorkPoolUpdate(base_job_template=template, concurrency_limit=limit))
    return Change("pool", gpu.pool, "updated", detail)


def _queue(client: SyncPrefectClient, pool: str, name: str, priority: int) -> Change:
    from prefect.exceptions import ObjectNotFound

    label = f"{pool}/{name}"
    try:
        client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        client.create_work_queue(name, work_pool_name=pool, priority=priority)
        return Change("queue", label, "created")
    return Change("queue", label, "unchanged")


def automations() -> list[dict[str, Any]]:
    """The automations that come with Nightshift, as infra/automations.yaml has them."""
    return yaml.safe_load((resources.files("infra") / "automations.yaml").read_text(encoding="utf-8"))


def _automation(client: SyncPrefectClient, wanted: Mapping[str, Any], block: str) -> Change:
    from prefect.events.schemas.automations import AutomationCore

    name = wanted["name"]
    content = {key: wanted[key] for key in ("name", "description", "trigger")}
    actions = list(wanted.get("actions", ()))
    if "notify" in wanted:
        if not block:
            return Change("automation", name, "left out", "needs --notify")
        actions.append({"type": "send-notification", "block_document_id": block, **wanted["notify"]})
    core = AutomationCore.model_validate(content | {"actions": actions})
    found = client.read_automations_by_name(name)
    if not found:
        client.create_automation(core)
        return Change("automation", name, "created")
    if _content(found[0]) == _content(core):
        return Change("automation", name, "unchanged")
    client.update_automation(found[0].id, core)
    return Change("automation", name, "updated")


def _content(automation: Any) -> dict[str, Any]:
    """What an automation says, without what the server adds to it."""
    content = automation.model_dump(mode="json", include={"name", "description", "trigger", "actions"})
    content["trigger"].pop("id", None)
    return content


def _block(client: SyncPrefectClient, label: str) -> str:
    from prefect.exceptions import ObjectNotFound

    slug, _, name = label.partition("/")
    try:
        return str(client.read_block_document_by_name(name, slug).id)
    except ObjectNotFound:
        raise UserError(
            f"no block {label!r} on the Prefect server; write TYPE/NAME, such as slack-webhook/ops, and make it in the "
            "UI under Blocks first"
        ) from None


def _deployments(file: Path) -> Change:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise NightshiftError(f"prefect deploy failed: {lines[-1] if lines else 'no message'}")
    count = len(yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"])
    return Change("deployments", file.name, "updated", f"{count} deployments")
