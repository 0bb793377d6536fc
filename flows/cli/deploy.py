"""The command that brings a Prefect server to what the files say: deploy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(deploy)


def deploy(
    type: Annotated[str, typer.Option(help="Type of the pools: process, docker or kubernetes.")] = "process",
    image: Annotated[str, typer.Option(help="Image that docker and kubernetes pools run.")] = "",
    platform: Annotated[
        str, typer.Option(help="How the cluster labels its GPU nodes: gke, eks, karpenter, eks-auto or gpu-operator.")
    ] = "gpu-operator",
    namespace: Annotated[str, typer.Option(help="Kubernetes namespace of the jobs.")] = "nightshift",
    spot: Annotated[bool, typer.Option("--spot", help="Put GPU jobs on nodes that can be taken back.")] = False,
    max_hours: Annotated[float, typer.Option(min=0.1, help="Kubernetes ends a job after so many hours.")] = 12.0,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="POOL=RUNS", help="Runs at once on a pool; GPU pools have 1.")
    ] = None,
    notify: Annotated[
        str, typer.Option(metavar="TYPE/NAME", help="Notification block that the automations use: slack-webhook/ops.")
    ] = "",
    file: Annotated[Path, typer.Option(help="The deployments.")] = Path("prefect.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Create or update pools, limits, queues, automations and deployments on the Prefect server; repeatable.

    Example: nightshift deploy --type kubernetes --platform gke --image registry.example/nightshift:0.1.0-cuda
    """
    import os

    from flows.deploy import deploy as bring
    from infra.pools import PoolOptions

    if not os.environ.get("PREFECT_API_URL"):
        raise UserError("deploy needs a Prefect server: set PREFECT_API_URL, such as http://127.0.0.1:4200/api")
    options = PoolOptions(type, image, platform, namespace, spot, max_hours)  # type-checked by PoolOptions itself
    changes = bring(file, options, dict(_limit(text) for text in limit or ()), notify)
    if as_json:
        rows = [{"kind": c.kind, "name": c.name, "done": c.done, "detail": c.detail} for c in changes]
        print(json.dumps({"schema_version": 1, "changes": rows}, indent=2))
        return
    from flows.cli.show import table

    table("Prefect server", ("", "name", "done", ""), [(c.kind, c.name, c.done, c.detail) for c in changes])


def _limit(text: str) -> tuple[str, int]:
    pool, _, runs = text.partition("=")
    if not runs.isdigit() or int(runs) < 1:
        raise UserError(f"--limit {text!r}: write POOL=RUNS, such as gpu-l4=2")
    return pool, int(runs)
