"""Processes that outlive the command which started them: noted by id and start time, and ended by those alone.

A process id is used again by the system, so the start time belongs to a process's name here; nothing is ever looked up
or ended by what it is called. Limits: one machine; a process that leaves its parents behind (a daemon) is not followed.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Running:
    """A process that was started: `started` is the system's start time of `pid`, `log` where its output goes."""

    name: str
    pid: int
    started: float
    command: tuple[str, ...]
    log: str

    @property
    def process(self) -> psutil.Process | None:
        """The process while it lives, else None; another one with the same id is not it.

        Two seconds of difference are allowed: the system counts from its boot, whose time moves as the clock is set.
        """
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.started) < 2 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if alive else None


def start(folder: Path, name: str, command: Sequence[str], environment: Mapping[str, str], work: Path) -> Running:
    """Start `command` in a session of its own and note it in `folder`; its output goes to `folder/name.log`."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    # A shell hands an ignored SIGINT on to what it runs in the background; Prefect's worker ends by that signal.
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, env=dict(environment), cwd=work, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    running = Running(name, process.pid, psutil.Process(process.pid).create_time(), tuple(command), str(log))
    note = folder / f"{name}.json"
    part = note.with_suffix(".part")
    part.write_text(json.dumps(asdict(running), indent=2))
    os.replace(part, note)
    return running


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Nobody else looks at the notes of `folder` and starts what is missing while inside; waits for whoever does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def noted(folder: Path) -> dict[str, Running]:
    """Every process noted in `folder`, alive or not, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        note = json.loads(path.read_text())
        found[note["name"]] = Running(**note | {"command": tuple(note["command"])})
    return found


def end_group(dead: Running) -> None:
    """Kill what a dead process left behind in its own group, such as the children of a server that hold its port.

    What it put into groups of their own, as workers do with flow runs, goes on.
    """
    left = []
    for process in psutil.process_iter():
        try:
            ours = os.getpgid(process.pid) == dead.pid and process.create_time() > dead.started - 2
        except (ProcessLookupError, psutil.Error):
            continue
        if ours and process.pid != dead.pid:
            left.append(process)
    _signal(left, psutil.Process.kill)
    psutil.wait_procs(left, timeout=5)


def stop(folder: Path, running: Sequence[Running], seconds: float = 15, family: bool = True) -> list[str]:
    """End the processes and everything they started, all at once; returns the names of those that lived.

    First SIGTERM to each; whatever of them and of their descendants is left after `seconds` is killed. Without `family`
    the descendants are left alone.
    """
    lived = {one.name: process for one in running if (process := one.process) is not None}
    targets: list[psutil.Process] = []
    for process in lived.values():
        try:
            targets += [process, *(process.children(recursive=True) if family else ())]
        except psutil.NoSuchProcess:
            continue
    _signal(list(lived.values()), psutil.Process.terminate)
    psutil.wait_procs(lived.values(), timeout=seconds)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        _, left = psutil.wait_procs(targets, timeout=0)
        _signal(left, end)
        psutil.wait_procs(left, timeout=5)
    for one in running:
        (folder / f"{one.name}.json").unlink(missing_ok=True)
    return list(lived)


def _signal(targets: Sequence[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in targets:
        try:
            send(process)  # psutil compares the start time, so that no stranger with the same id is hit
        except psutil.NoSuchProcess:
            continue


def wait_until(ready: Mapping[str, Callable[[], bool]], running: Mapping[str, Running], seconds: float) -> list[str]:
    """Wait until every check in `ready` (name -> callable giving a bool) holds; names of those that did not in time.

    A process that ends while it is waited for ends the waiting at once.
    """
    deadline, missing = time.monotonic() + seconds, dict(ready)
    while missing:
        missing = {name: check for name, check in missing.items() if not check()}
        dead = any(name in running and running[name].process is None for name in missing)
        if not missing or dead or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    return list(missing)
