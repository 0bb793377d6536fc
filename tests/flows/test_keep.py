"""The keeper: what died is started again, what lives or was never started is left alone, and nothing is in a hurry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.keep import LOOK_SECONDS, Keeper, Seen
from infra import processes
from infra.stack import Service

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
# A server as MLflow's: a child in its own group. And a worker as Prefect's: a child in a group of its own.
FAMILY = """
import subprocess, sys, time
for apart in (False, True):
    c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=apart)
    print(c.pid, flush=True)
time.sleep(600)
"""


def service(name: str, command: tuple[str, ...] = SLEEP) -> Service:
    return Service(name, command, dict(os.environ), lambda: True)


def nobody(run: str) -> bool:
    raise AssertionError(f"told of {run}")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    processes.stop(tmp_path / "stack", list(processes.noted(tmp_path / "stack").values()))


def kill(folder: Path, name: str) -> processes.Running:
    running = processes.noted(folder)[name]
    os.kill(running.pid, signal.SIGKILL)
    while running.process is not None:
        time.sleep(0.01)
    return running


def test_the_dead_are_started_again_and_nobody_else(folder: Path) -> None:
    services = [service("one"), service("two"), service("never started")]
    for one in services[:2]:
        processes.start(folder, one.name, one.command, one.environment, folder.parent)
    keeper, now = Keeper(folder, services, nobody), time.time()
    assert keeper.look(now) == []
    before = kill(folder, "one")
    assert keeper.look(now) == []  # it lived for a moment only: it waits
    assert keeper.look(now + LOOK_SECONDS) == ["one"]
    after = processes.noted(folder)["one"]
    assert after.process is not None
    assert after.pid != before.pid
    # The second death in a row waits twice as long; one after a long life does not wait.
    kill(folder, "one")
    assert (keeper.look(now), keeper.look(now + LOOK_SECONDS)) == ([], [])
    assert keeper.look(now + 2 * LOOK_SECONDS) == ["one"]
    kill(folder, "two")
    assert keeper.look(now + 3600) == ["two"]


def test_what_a_dead_server_left_in_its_group_ends_and_runs_of_a_dead_worker_go_on(folder: Path) -> None:
    family = service("family", (sys.executable, "-c", FAMILY))
    running = processes.start(folder, family.name, family.command, family.environment, folder.parent)
    deadline = time.monotonic() + 60
    while len(found := Path(running.log).read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    inside, apart = (psutil.Process(int(pid)) for pid in found)
    kill(folder, "family")
    try:
        assert Keeper(folder, [family], nobody).look(time.time() + 3600) == ["family"]
        psutil.wait_procs([inside], timeout=30)
        assert not inside.is_running() or inside.status() == psutil.STATUS_ZOMBIE
        assert apart.is_running()
    finally:
        apart.kill()


WORKER = """
import os, subprocess, sys, time
environment = dict(os.environ, PREFECT__FLOW_RUN_ID=f'run-{os.getpid()}')
c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True, env=environment)
print(c.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def worker(folder: Path) -> tuple[Service, processes.Running, psutil.Process]:
    """A worker that runs, and the process of its run."""
    worker = service("worker-one", (sys.executable, "-c", WORKER))
    running = processes.start(folder, worker.name, worker.command, worker.environment, folder.parent)
    deadline = time.monotonic() + 60
    while not (told := Path(running.log).read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return worker, running, psutil.Process(int(told[0]))


def test_runs_of_a_dead_worker_are_watched_and_their_end_is_told(folder: Path, worker) -> None:
    service, running, run = worker
    heard, answers = [], iter([False, True])

    def crashed(id: str) -> bool:
        heard.append(id)
        return next(answers)

    keeper, now = Keeper(folder, [service], crashed), time.time()
    keeper.look(now)
    kill(folder, "worker-one")
    assert keeper.look(now + 3600) == ["worker-one"]
    assert heard == []  # the run goes on without its worker
    run.kill()
    psutil.wait_procs([run], timeout=30)
    for _ in range(3):  # the server is away at first; told once it is told no more
        keeper.look(now + 3600)
    assert heard == [f"run-{running.pid}"] * 2


def test_a_run_that_its_worker_took_along_is_told_unless_it_runs_again(folder: Path, worker) -> None:
    service, running, run = worker
    heard: list[str] = []
    keeper, now = Keeper(folder, [service], lambda id: heard.append(id) or True), time.time()
    keeper.look(now)
    run.kill()
    psutil.wait_procs([run], timeout=30)
    keeper.look(now + 2)  # the worker still lives, without its run
    assert heard == []
    kill(folder, "worker-one")
    again = {f"run-{running.pid}": Seen(psutil.Process(), now)}
    elsewhere = Keeper(folder, [service], nobody)
    elsewhere.runs = {"worker-one": dict(keeper.runs["worker-one"]), "worker-two": again}
    elsewhere.look(now + 4)
    keeper.look(now + 4)
    assert heard == [f"run-{running.pid}"]


def test_a_run_that_ended_by_itself_is_not_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import keep

    asked: list[tuple[str, object]] = []

    def server(state: str | None) -> None:
        def ask(url: str, auth: str, body: bytes | None = None) -> object:
            asked.append((url, body and json.loads(body)["state"]["type"]))
            return None if state is None else {"state_type": state}

        asked.clear()
        monkeypatch.setattr(keep, "ask", ask)

    server("RUNNING")
    assert keep.tell_crashed("http://x/api", "", "r")
    assert asked == [("http://x/api/flow_runs/r", None), ("http://x/api/flow_runs/r/set_state", "CRASHED")]
    for state in ("COMPLETED", "CRASHED", "SCHEDULED"):
        server(state)
        assert keep.tell_crashed("http://x/api", "", "r")
        assert len(asked) == 1
    server(None)
    assert not keep.tell_crashed("http://x/api", "", "r")


def test_down_stops_the_keeper_first(tmp_path: Path) -> None:
    """A keeper that went on would bring back what `down` stops."""
    from flows.stack import KEEPER, take_down
    from infra.settings import Settings

    folder = tmp_path / "stack"
    one = processes.start(folder, "worker-one", SLEEP, os.environ, tmp_path)
    processes.start(folder, KEEPER, SLEEP, os.environ, tmp_path)
    assert take_down(Settings(home=tmp_path), 10) == [KEEPER, "worker-one"]
    assert one.process is None
    assert processes.noted(folder) == {}


def test_the_keeper_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    """It plans the stack that it was told of, and takes nothing for dead that was never started."""
    from flows import keep
    from infra.settings import Settings
    from infra.stack import Ports

    settings = Settings(home=tmp_path)
    process = subprocess.Popen(
        keep.command(Ports()), env=keep.environment(settings, os.environ), cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "stack" / "lock").exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert processes.noted(tmp_path / "stack") == {}
    finally:
        process.kill()
        process.communicate()
