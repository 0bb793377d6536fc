"""A lease in the store keeps two runs of one night apart.

Holders form a chain `leases/<key>/<n>`: the newest entry holds. Taking over is a conditional create of the next one,
so of several rivals exactly one succeeds, on S3 too. A holder writes a heartbeat; a lease is dead when its heartbeat
is older than `stale_after` seconds, or at once when its process ran here and no process has its id any more.

Limits: heartbeats carry the writer's clock, so machines must agree on the time to well within `stale_after`; a holder
that was stopped for longer than that (a suspended laptop) is not told that somebody else went on.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

import psutil

from infra.errors import AlreadyExists, Busy, NotFound
from infra.store import Store

BEAT_SECONDS = 5.0

log = logging.getLogger("nightshift.lease")


class Lease:
    """Context manager: holds `name` while inside; raises Busy when somebody else does.

    A holder elsewhere, of whom only the heartbeat tells, is waited for up to `patience` seconds: it may have died a
    moment ago. One that is seen to live here is not.
    """

    def __init__(self, store: Store, name: str, stale_after: float = 60.0, patience: float = 0.0) -> None:
        self.store, self.name, self.stale_after, self.patience = store, name, stale_after, patience
        self.number = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _key(self, number: int, part: str) -> str:
        return f"leases/{self.name}/{number:08d}.{part}"

    def __enter__(self) -> Lease:
        deadline = time.monotonic() + self.patience
        while (last := self._last()) and (holder := self._living(last)):
            if holder.get("place") == place_of_processes() or time.monotonic() >= deadline:
                raise Busy(self._message(holder))
            time.sleep(min(BEAT_SECONDS, max(0.0, deadline - time.monotonic())))
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "place": place_of_processes(),
            "started": _process_start(os.getpid()),
            "since": time.time(),
            "id": uuid.uuid4().hex,
        }
        try:
            self.store.create_json(self._key(last + 1, "holder"), me)
        except AlreadyExists:
            # A create whose answer was lost is repeated by the S3 client and meets its own entry.
            if self.store.read_json(self._key(last + 1, "holder")) != me:
                raise Busy(f"{self.name} was taken by another process this very moment; look again shortly") from None
        self.number = last + 1
        self._beat()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def holder(self) -> dict[str, object] | None:
        """Who holds this lease now; None when nobody does."""
        last = self._last()
        return self._living(last) if last else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.store.write_json(self._key(self.number, "released"), {"at": time.time()})

    def _last(self) -> int:
        """The number of the newest entry; 0 when there is none."""
        taken = [key for key in self.store.list(f"leases/{self.name}") if key.endswith(".holder")]
        return int(taken[-1].rpartition("/")[2].partition(".")[0]) if taken else 0

    def _beat(self) -> None:
        self.store.write_json(self._key(self.number, "beat"), {"at": time.time()})

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._beat()
            except Exception as error:  # a store that is away for a moment must not end the heartbeat for good
                log.warning("heartbeat of %s: %s", self.name, error)

    def _living(self, number: int) -> dict[str, object] | None:
        """The holder of lease `number` if it still holds, else None."""
        if self.store.exists(self._key(number, "released")):
            return None
        holder = self.store.read_json(self._key(number, "holder"))
        try:
            last_sign = self.store.read_json(self._key(number, "beat"))["at"]
        except NotFound:
            last_sign = holder["since"]
        if holder.get("place") == place_of_processes():
            started = _process_start(int(holder["pid"]))
            if started is None:
                return None
            if started == holder["started"]:
                return holder
            # Another process with its id, or the same after the clock was set: its heartbeat tells.
        return holder if time.time() - last_sign < self.stale_after else None

    def _message(self, holder: dict[str, object]) -> str:
        minutes = (time.time() - float(str(holder["since"]))) / 60
        return (
            f"this night ({self.name}) is already running: process {holder['pid']} on {holder['host']}, "
            f"for {minutes:.0f} min; it will finish by itself"
        )


def place_of_processes() -> str:
    """What has to be the same for process ids to mean the same: host, boot, and the container's own numbering of them.

    A host name alone will not do: containers on the host's network share it and do not see each other's processes.
    """
    parts = [socket.gethostname()]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(), _process_namespace):
        try:
            parts.append(read())
        except OSError:  # not Linux: the host name is all there is
            continue
    return "/".join(parts)


def _process_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _process_start(pid: int) -> float | None:
    """When the process started, which tells it from a later one with the same id; None when there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
