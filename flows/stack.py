"""`nightshift up` and `down`: the servers, workers and deployments of this machine, started once and stopped by id.

Everything that runs is noted under HOME/stack by process id and start time (see `infra.processes`). `up` keeps what
runs, starts what does not, and ends with an error that names the log of whatever did not come up. From then on the
keeper (`flows.keep`) starts again what dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flows import keep
from infra import processes
from infra.errors import NightshiftError, UserError
from infra.network import taken
from infra.settings import Settings
from infra.stack import FOLDER, SERVERS, Ports, Service, Stack, plan_stack

KEEPER = "keeper"
DEPLOYMENTS = Path(__file__).parents[1] / "prefect.yaml"


def bring_up(settings: Settings, ports: Ports, timeout: float) -> dict[str, Any]:
    """Start what does not run yet, wait until all of it is healthy, and say where it is.

    Raises UserError when a port is taken by something else, NightshiftError when a process does not come up.
    """
    stack = plan_stack(settings, ports, os.environ)
    folder = settings.root / FOLDER
    _start(stack.servers, folder, ports.host, timeout)
    deploy_here(stack)
    _start(stack.workers, folder, "127.0.0.1", timeout)
    keeper = Service(KEEPER, keep.command(ports), keep.environment(settings, os.environ), lambda: True)
    _start([keeper], folder, "127.0.0.1", timeout)
    return {
        "schema_version": 1,
        "prefect": stack.prefect_url,
        "mlflow": stack.mlflow_url,
        "processes": [
            {
                "name": one.name,
                "pid": one.pid,
                "since": datetime.fromtimestamp(one.started).isoformat(sep=" ", timespec="seconds"),
                "log": one.log,
            }
            for one in processes.noted(folder).values()
        ],
    }


def take_down(settings: Settings, timeout: float) -> list[str]:
    """Stop what `bring_up` started: the keeper, then workers, then servers; returns the names of what ran."""
    folder = settings.root / FOLDER
    keeper = [one for name, one in processes.noted(folder).items() if name == KEEPER]
    stopped = processes.stop(folder, keeper, timeout, family=False)  # its children are the others, who end in turn
    # The keeper may have started one again while it was stopped: what is noted now counts.
    running = {name: one for name, one in processes.noted(folder).items() if name not in SERVERS}
    servers = [one for name, one in processes.noted(folder).items() if name in SERVERS]
    return stopped + processes.stop(folder, list(running.values()), timeout) + processes.stop(folder, servers, timeout)


def _start(services: Sequence[Service], folder: Path, host: str, timeout: float) -> None:
    with processes.guarded(folder):
        known = processes.noted(folder)
        for service in services:
            running = known.get(service.name)
            if running is not None and running.process is not None:
                if running.command != service.command:
                    raise UserError(f"{service.name} runs already, with other options; run nightshift down first")
                continue
            if service.port is not None and taken(host, service.port):
                raise UserError(f"port {service.port}, meant for {service.name}, is taken; choose another one")
            processes.start(folder, service.name, service.command, service.environment, folder.parent)
    checks = {service.name: service.healthy for service in services}
    missing = processes.wait_until(checks, processes.noted(folder), timeout)
    if missing:
        logs = ", ".join(str(folder / f"{name}.log") for name in missing)
        raise NightshiftError(f"not healthy after {timeout:.0f} s: {', '.join(missing)}; look into {logs}")


def deploy_here(stack: Stack) -> None:
    """Pools of the type `process`, queues, automations and deployments, as `nightshift deploy` makes them."""
    command = [sys.executable, "-m", "flows.cli", "deploy", "--type", "process", "--file", str(DEPLOYMENTS)]
    done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise NightshiftError(f"the deployments could not be made: {told[-1].removeprefix('nightshift: ')}")
