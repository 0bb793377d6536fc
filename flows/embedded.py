"""Prefect's API for a flow that a command starts: the server that the environment names, or one of this process.

A server of its own takes this process seconds to start, and so do the libraries that a night needs: both at once. It
ends with this process, however that ends: Prefect stops it at a regular exit, a watcher after a kill.
"""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

# Its input ends with the process that started it.
WATCHER = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), 15)"
SPAWN_SECONDS = 5.0  # that Prefect may take to start a process; it takes some hundredths
# What every night imports sooner or later, in this order.
NEEDED = ("mlflow", "great_expectations", "transformers.models.auto.tokenization_auto")


@contextmanager
def prefect_api(flow: str) -> Iterator[None]:
    """Inside, Prefect's API answers; `flow` is the module of the flow to run, imported while the server starts.

    Raises what Prefect raises when its server does not start.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    # Nobody listens to heartbeats here, and at its end every flow waits for the thread that sends them, up to two
    # seconds. A block registers its own type when it is saved.
    spared = {"flows.heartbeat_frequency": None, "server.register_blocks_on_start": False}
    with temporary_settings(set_defaults=spared):
        start = _Start()
        start.begin()
        for module in (flow, *NEEDED):
            if not start.is_alive():  # what is missing now is imported where it is needed
                break
            import_module(module)
        start.finish()
        yield


class _Start(threading.Thread):
    """Starts Prefect's own server, once in a process: the clients that are made later find it running."""

    def __init__(self) -> None:
        from prefect.server.api.server import SubprocessASGIServer

        # A daemon: Ctrl-C ends the command, not the wait for a server.
        super().__init__(name="prefect-server", daemon=True)
        self._server = SubprocessASGIServer()
        self._settings = contextvars.copy_context()
        self._error: BaseException | None = None
        self._watched = 0

    def begin(self) -> None:
        """Start, and return as soon as there is a process to watch: it must not outlive a kill while others import."""
        self.start()
        until = time.monotonic() + SPAWN_SECONDS
        while self.is_alive() and self._server.server_process is None and time.monotonic() < until:
            time.sleep(0.01)
        self._watch()

    def run(self) -> None:
        try:
            self._settings.run(self._server.start)
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        """Wait until the server answers; raises what kept it from starting."""
        self.join()
        if self._error is not None:
            raise self._error
        self._watch()

    def _watch(self) -> None:
        server = self._server.server_process
        if server is None or server.pid == self._watched:  # Prefect starts another where the port was taken
            return
        self._watched = server.pid
        command = [sys.executable, "-S", "-c", WATCHER, str(server.pid)]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # A session of its own: Ctrl-C is for this process, which stops the server itself.
        self.watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **silent)
