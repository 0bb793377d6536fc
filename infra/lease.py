"""A lease in the store keeps two runs of one night apart.

Holders form a chain `leases/<key>/<n>`: the newest entry holds. Taking over is a conditional create of the next one,
so of several rivals exactly one succeeds, on S3 too. A holder writes a heartbeat; a lease is dead when its heartbeat
is older than `stale_after` seconds, or at once when its process ran on this host and is gone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from types import TracebackType

import psutil

from infra.errors import AlreadyExists, Busy, NotFound
from infra.store import Store

BEAT_SECONDS = 5.0


class Lease:
    """Context manager: holds `name` while inside; raises Busy when somebody else does."""

    def __init__(self, store: Store, name: str, stale_after: float = 60.0) -> None:
        self.store, self.name, self.stale_after = store, name, stale_after
        self.number = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _key(self, number: int, part: str) -> str:
        return f"leases/{self.name}/{number:08d}.{part}"

    def __enter__(self) -> Lease:
        taken = [key for key in self.store.list(f"leases/{self.name}") if key.endswith(".holder")]
        last = int(taken[-1].rpartition("/")[2].partition(".")[0]) if taken else 0
        if last and (holder := self._living(last)):
            raise Busy(self._message(holder))
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": _process_start(os.getpid()),
            "since": time.time(),
        }
        try:
            self.store.create_json(self._key(last + 1, "holder"), me)
        except AlreadyExists:
            raise Busy(f"{self.name} was taken by another process this very moment; look again shortly") from None
        self.number = last + 1
        self._beat()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.store.write_json(self._key(self.number, "released"), {"at": time.time()})

    def _beat(self) -> None:
        self.store.write_json(self._key(self.number, "beat"), {"at": time.time()})

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._beat()

    def _living(self, number: int) -> dict[str, object] | None:
        """The holder of lease `number` if it still holds, else None."""
        if self.store.exists(self._key(number, "released")):
            return None
        holder = self.store.read_json(self._key(number, "holder"))
        try:
            last_sign = self.store.read_json(self._key(number, "beat"))["at"]
        except NotFound:
            last_sign = holder["since"]
        if holder["host"] == socket.gethostname():
            return holder if _process_start(int(holder["pid"])) == holder["started"] else None
        return holder if time.time() - last_sign < self.stale_after else None

    def _message(self, holder: dict[str, object]) -> str:
        minutes = (time.time() - float(str(holder["since"]))) / 60
        return (
            f"this night ({self.name}) is already running: process {holder['pid']} on {holder['host']}, "
            f"for {minutes:.0f} min; it will finish by itself"
        )


def _process_start(pid: int) -> float | None:
    """When the process started, which tells it from a later one with the same id; None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
