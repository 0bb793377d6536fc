"""Model work as a process of its own: started with the allocator settings it needs, followed by its progress file.

A process keeps the flow small, gives its memory back when it ends, and may be killed for memory without taking the
night along. The child ends itself when its parent is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from infra.errors import NightshiftError, UserError
from infra.settings import PROCESS_ENVIRONMENT

FAILURE = "nightshift-error: "
MISUSE = "nightshift-misuse: "  # a UserError: a launcher has exit codes of its own
ASKED_TO_END = (-signal.SIGINT, -signal.SIGTERM)  # exit codes of a child that somebody ended on purpose
POLL_SECONDS = 0.25
PARENT = "NIGHTSHIFT_PARENT"  # the process that waits for this one; a launcher may stand between them
_LAUNCHER_ENDED = "SignalException"  # what torchrun raises when it is asked to end


class Interrupted(NightshiftError):
    """The process was asked to end, as by Ctrl-C: that says nothing about its job."""


class ModelProcess:
    """Runs `python -m MODULE JOB`; `wait` polls until it ends or a condition holds.

    Several `processes` are started and ended together by torchrun, which tells each its place (torch documentation,
    "torchrun").
    """

    def __init__(self, module: str, job: Path, processes: int = 1) -> None:
        self.module = module
        here = ("--standalone", "--local-addr=127.0.0.1")
        together = ["torch.distributed.run", *here, f"--nproc-per-node={processes}", "-m"]
        # stderr goes to a file: a full pipe would block the child, and its end explains a failure.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", *(together if processes > 1 else []), module, str(job)],
            env=PROCESS_ENVIRONMENT | dict(os.environ) | {PARENT: str(os.getpid())},
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def wait(self, until: Callable[[], bool] = lambda: False, tick: Callable[[], None] = lambda: None) -> None:
        """Return when `until()` holds or the process has ended well; `tick` runs at every poll.

        Raises NightshiftError with the child's own words when it failed (UserError where the child says that it was
        asked for what cannot be), Interrupted when it was asked to end.
        """
        while not until():
            code = self._process.poll()
            if code is not None:
                if code in ASKED_TO_END:
                    raise Interrupted(f"{self.module} was ended by {signal.Signals(-code).name}")
                if code != 0:
                    raise self._failure(code)
                return
            tick()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_SECONDS)  # its end is seen at once, the condition at the next poll

    def stop(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()

    def _failure(self, code: int) -> NightshiftError:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        told = [line for line in lines if line.startswith((FAILURE, MISUSE))]
        if told and told[-1].startswith(MISUSE):
            return UserError(told[-1].removeprefix(MISUSE))
        if told:
            return NightshiftError(told[-1].removeprefix(FAILURE))
        if code == -9:
            return NightshiftError(
                f"{self.module} was killed (out of memory?); lower training.per_device_batch or evaluation.batch_size"
            )
        said = lines[-1] if lines else "no message"
        reason = f"{self.module} failed with exit code {code}: {said}"
        return Interrupted(reason) if _LAUNCHER_ENDED in reason else NightshiftError(reason)


def end_with_parent() -> None:
    """In a child: end when the parent is gone, or who waits behind it: a killed night leaves nothing running."""
    parent, waiting = os.getppid(), int(os.environ.get(PARENT) or os.getppid())

    def watch() -> None:
        while os.getppid() == parent and psutil.pid_exists(waiting):
            time.sleep(0.5)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def child_main(run: Callable[[Path], None], arguments: list[str]) -> int:
    """The `main` of a child module: runs the job file; known failures end as one marked line and their exit code."""
    end_with_parent()
    try:
        run(Path(arguments[1]))
    except NightshiftError as error:
        print(f"{MISUSE if isinstance(error, UserError) else FAILURE}{error}", file=sys.stderr)
        return error.exit_code
    return 0


def write_atomically(path: Path, value: Any) -> None:
    """Write JSON under a temporary name and rename, so that a reader never sees half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def read_progress(path: Path) -> dict[str, Any]:
    """The last progress a child wrote, or nothing yet."""
    return json.loads(path.read_text()) if path.is_file() else {}
