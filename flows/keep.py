"""What `nightshift up` started is started again when it dies: one small process that looks every few seconds.

`up` starts it last and `down` stops it first. Compose and Kubernetes restart containers themselves and need none of
this. Limits: a process that lives and hangs is not noticed; Prefect marks its runs by their missing heartbeat.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra import processes
from infra.settings import Settings, load_settings
from infra.stack import FOLDER, Ports, Service, plan_stack

LOOK_SECONDS = 2.0
SHORT_LIFE = 30.0  # seconds; whoever dies sooner waits twice as long for its next start
LONGEST_WAIT = 60.0

log = logging.getLogger("nightshift.keep")


def command(ports: Ports) -> tuple[str, ...]:
    """How the keeper of a stack on `ports` is started."""
    numbers = (str(port) for port in (ports.prefect, ports.mlflow, ports.webhook))
    return (sys.executable, "-m", "flows.keep", ports.host, *numbers)


def environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What `up` was given, so that the keeper plans the same stack; the keeper's own folder is another."""
    return dict(environ) | {"NIGHTSHIFT_HOME": str(settings.root)}


class Keeper:
    """Starts services again that are noted and dead; `waits` are seconds before the next start of one."""

    def __init__(self, folder: Path, services: Sequence[Service]) -> None:
        self.folder, self.services = folder, services
        self.waits: dict[str, float] = {}
        self.found_dead: dict[str, float] = {}

    def look(self, now: float) -> list[str]:
        """Start what has died and has waited long enough; the names of what was started."""
        started = []
        with processes.guarded(self.folder):
            noted = processes.noted(self.folder)
            for service in self.services:
                running = noted.get(service.name)
                if running is None or running.process is not None:
                    continue
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
        return started


def main(arguments: Sequence[str]) -> None:
    """Keep the stack of this home folder until stopped."""
    host, *numbers = arguments
    settings = load_settings()
    stack = plan_stack(settings, Ports(host, *map(int, numbers)), os.environ)
    keeper = Keeper(settings.root / FOLDER, (*stack.servers, *stack.workers))
    while True:
        try:
            keeper.look(time.time())
        except Exception:  # a full disk or a half-written note must not end the keeping
            log.exception("could not look after the stack")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main(sys.argv[1:])
