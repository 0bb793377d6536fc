"""Processes by id and start time: noted, found again, ended with all they started, and never a stranger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra import processes

SLEEP = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
PARENT = (
    sys.executable,
    "-c",
    "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    " start_new_session=True); print(c.pid, flush=True); time.sleep(600)",
)


def first_line(log: str) -> str:
    deadline = time.monotonic() + 60
    while not (text := Path(log).read_text()).endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return text.splitlines()[-1]


def test_started_noted_and_stopped(tmp_path: Path) -> None:
    running = processes.start(tmp_path, "one", SLEEP, os.environ, tmp_path)
    assert first_line(running.log) == "up"
    assert processes.noted(tmp_path) == {"one": running}
    assert running.process is not None
    assert processes.stop(tmp_path, [running]) == ["one"]
    assert (running.process, processes.noted(tmp_path)) == (None, {})
    assert processes.stop(tmp_path, [running]) == []


def test_what_a_process_started_in_a_session_of_its_own_ends_with_it(tmp_path: Path) -> None:
    running = processes.start(tmp_path, "one", PARENT, os.environ, tmp_path)
    child = int(first_line(running.log))
    processes.stop(tmp_path, [running])
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_stranger_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    try:
        note = {"name": "one", "pid": stranger.pid, "started": 1.0, "command": ["x"], "log": "x"}
        (tmp_path / "one.json").write_text(json.dumps(note))
        assert processes.stop(tmp_path, list(processes.noted(tmp_path).values())) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    running = processes.start(tmp_path, "deaf", (sys.executable, "-c", deaf), os.environ, tmp_path)
    first_line(running.log)
    processes.stop(tmp_path, [running], seconds=0.2)
    assert running.process is None


def test_an_ignored_interrupt_is_not_handed_on(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        shows = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        running = processes.start(tmp_path, "one", (sys.executable, "-c", shows), os.environ, tmp_path)
        assert first_line(running.log) == "True"
    finally:
        signal.signal(signal.SIGINT, before)
        processes.stop(tmp_path, [running])


@pytest.mark.parametrize("command", [("-c", "raise SystemExit(1)"), ("-c", "import time; time.sleep(600)")])
def test_waiting_ends_when_the_process_does_or_time_is_over(tmp_path: Path, command: tuple[str, ...]) -> None:
    running = processes.start(tmp_path, "one", (sys.executable, *command), os.environ, tmp_path)
    try:
        seconds = 600 if "Exit" in command[1] else 0
        assert processes.wait_until({"one": lambda: False}, {"one": running}, seconds) == ["one"]
        assert processes.wait_until({"one": lambda: True}, {"one": running}, seconds) == []
    finally:
        processes.stop(tmp_path, [running])
