"""The command line run as a user runs it, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

NIGHTSHIFT = [sys.executable, "-m", "flows.cli"]
HANGS = 1800.0  # seconds; a busy machine is slow, and only what will never end is to be ended


def clean_environment() -> dict[str, str]:
    """This process's environment without what would point commands at other servers or folders."""
    hidden = ("NIGHTSHIFT_", "PREFECT_", "MLFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


def nightshift(folder: Path, *arguments: str, timeout: float = HANGS) -> tuple[int, Any]:
    """Exit code and JSON of a command (None if it printed none)."""
    done = subprocess.run(
        [*NIGHTSHIFT, *arguments, "--json"],
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None


class Place:
    """One folder in which commands run, as one user's project would be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = clean_environment()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that runs on; `run` waits for it."""
        return subprocess.Popen(
            [*NIGHTSHIFT, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_silently(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command to be killed. No pipes: the embedded server outlives its parent and would hold their other end."""
        return subprocess.Popen(
            [*NIGHTSHIFT, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, *arguments: str) -> tuple[int, Any, str]:
        """Exit code, the JSON printed (None if none), stderr."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=HANGS)
        except subprocess.TimeoutExpired:
            process.kill()  # else the night goes on behind the tests that follow
            raise
        return process.returncode, json.loads(out) if out.startswith(("{", "[")) else None, err


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[Any], seconds: float = 600) -> None:
    """Return once the condition holds, while the process runs; it is killed when that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        if time.monotonic() > deadline:
            process.kill()  # else it goes on behind the tests that follow
            raise AssertionError(f"it did not happen within {seconds} s")
        time.sleep(0.05)


def kill_night(victim: subprocess.Popen[Any], module: str) -> None:
    """Kill a night while a process of `module` works for it; all that it started must end by itself."""
    children = psutil.Process(victim.pid).children(recursive=True)
    assert any(module in " ".join(_command(child)) for child in children)
    victim.kill()
    victim.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not [_command(child) for child in alive]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
