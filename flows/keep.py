"""What `nightshift up` started is started again when it dies: one small process that looks every few seconds.

`up` starts it last and `down` stops it first. A worker that dies leaves its runs to nobody: the keeper watches them
from then on and tells Prefect of the end of those that end without a word. Compose and Kubernetes restart containers
themselves and need none of this. Limits: a process that lives and hangs is not noticed; a run that began within two
seconds of its worker's death is known by its missing heartbeat only.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra import processes
from infra.network import ask
from infra.settings import Settings, load_settings
from infra.stack import FOLDER, Ports, Service, plan_stack

LOOK_SECONDS = 2.0
SHORT_LIFE = 30.0  # seconds; whoever dies sooner waits twice as long for its next start
LONGEST_WAIT = 60.0
AFTERMATH = 60.0  # seconds for which a run that has ended is remembered, in case its worker ends as well

log = logging.getLogger("nightshift.keep")


def command(ports: Ports) -> tuple[str, ...]:
    """How the keeper of a stack on `ports` is started."""
    numbers = (str(port) for port in (ports.prefect, ports.mlflow, ports.webhook))
    return (sys.executable, "-m", "flows.keep", ports.host, *numbers)


def environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What `up` was given, so that the keeper plans the same stack; the keeper's own folder is another."""
    return dict(environ) | {"NIGHTSHIFT_HOME": str(settings.root)}


@dataclass(frozen=True, slots=True)
class Seen:
    """A flow run's process, and when it was last there."""

    process: psutil.Process
    at: float


class Keeper:
    """Starts services again that are noted and dead; `waits` are seconds before the next start of one.

    `crashed(run)` tells Prefect that a flow run's process is gone, and says whether it could be told.
    """

    def __init__(self, folder: Path, services: Sequence[Service], crashed: Callable[[str], bool]) -> None:
        self.folder, self.services, self.crashed = folder, services, crashed
        self.waits: dict[str, float] = {}
        self.found_dead: dict[str, float] = {}
        self.runs: dict[str, dict[str, Seen]] = {}  # of each worker that lives, those that ended a moment ago too
        self.orphans: dict[str, psutil.Process] = {}  # of workers that have died

    def look(self, now: float) -> list[str]:
        """Start what has died and has waited long enough; the names of what was started."""
        started = []
        with processes.guarded(self.folder):
            noted = processes.noted(self.folder)
            for service in self.services:
                running = noted.get(service.name)
                if running is None:
                    continue
                if (process := running.process) is not None:
                    self._see_runs(service.name, process, now)
                    continue
                self.orphans |= {run: seen.process for run, seen in self.runs.pop(service.name, {}).items()}
                died = self.found_dead.setdefault(service.name, now)
                short = died - running.started < SHORT_LIFE
                wait = min(LONGEST_WAIT, 2 * self.waits.get(service.name, 0.0) or LOOK_SECONDS) if short else 0.0
                if now - died < wait:
                    continue
                processes.end_group(running)
                processes.start(self.folder, service.name, service.command, service.environment, self.folder.parent)
                self.waits[service.name] = wait
                del self.found_dead[service.name]
                log.warning("%s had died (process %d) and was started again", service.name, running.pid)
                started.append(service.name)
        for run in [run for run, process in self.orphans.items() if _ended(process)]:
            again = any(run in runs for runs in self.runs.values())  # another worker has it now
            if again or self.crashed(run):
                del self.orphans[run]
        return started

    def _see_runs(self, worker: str, process: psutil.Process, now: float) -> None:
        """Note what a worker runs. One that is asked to end takes its runs along and lives on for a moment."""
        known = {run: seen for run, seen in self.runs.get(worker, {}).items() if now - seen.at < AFTERMATH}
        self.runs[worker] = known | {run: Seen(child, now) for run, child in runs_of(process).items()}


def runs_of(worker: psutil.Process) -> dict[str, psutil.Process]:
    """The flow runs that a worker executes, each with its process."""
    found = {}
    try:
        for process in worker.children():
            if run := process.environ().get("PREFECT__FLOW_RUN_ID"):
                found[run] = process
    except psutil.Error:  # one ended while it was looked at
        pass
    return found


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def tell_crashed(api: str, auth: str, run: str) -> bool:
    """Mark a flow run as crashed on the Prefect server, unless it ended well or badly by itself; False: not told."""
    now = ask(f"{api}/flow_runs/{run}", auth)
    if now is None:
        return False
    if now["state_type"] not in ("PENDING", "RUNNING", "CANCELLING"):
        return True
    state = {"type": "CRASHED", "message": "its process is gone, and so is the worker that started it"}
    return ask(f"{api}/flow_runs/{run}/set_state", auth, json.dumps({"state": state}).encode()) is not None


def main(arguments: Sequence[str]) -> None:
    """Keep the stack of this home folder until stopped."""
    host, *numbers = arguments
    settings = load_settings()
    stack = plan_stack(settings, Ports(host, *map(int, numbers)), os.environ)
    api, auth = stack.environment["PREFECT_API_URL"], settings.auth.get_secret_value()
    keeper = Keeper(settings.root / FOLDER, (*stack.servers, *stack.workers), lambda run: tell_crashed(api, auth, run))
    while True:
        try:
            keeper.look(time.time())
        except Exception:  # a full disk or a half-written note must not end the keeping
            log.exception("could not look after the stack")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(sys.argv[1:])
