"""Leases: one holder, takeover from the dead, nothing taken from the living."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra import lease as leases
from infra.errors import AlreadyExists, Busy
from infra.lease import Lease
from infra.store import LocalStore

HOLD = """
import sys, time
from pathlib import Path
from infra.lease import Lease
from infra.store import LocalStore
with Lease(LocalStore(Path(sys.argv[1])), "night"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_who_holds(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with Lease(store, "night"), pytest.raises(Busy, match="already running: process"), Lease(store, "night"):
        pass


def test_a_released_lease_is_free(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for expected in (1, 2, 3):
        with Lease(store, "night") as lease:
            assert lease.number == expected


def test_a_killed_holder_on_this_host_is_succeeded_at_once(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    store = LocalStore(tmp_path)
    with pytest.raises(Busy), Lease(store, "night"):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with Lease(store, "night") as lease:
        assert lease.number == 2


def test_a_holder_elsewhere_lives_by_its_heartbeat(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    holder = {"pid": 1, "host": "elsewhere", "started": 1.0, "since": time.time() - 500}
    store.create_json("leases/night/00000001.holder", holder)
    store.write_json("leases/night/00000001.beat", {"at": time.time()})
    with pytest.raises(Busy, match="elsewhere"), Lease(store, "night"):
        pass
    store.write_json("leases/night/00000001.beat", {"at": time.time() - 100})
    with Lease(store, "night") as lease:
        assert lease.number == 2


def test_a_holder_elsewhere_that_died_a_moment_ago_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.05)
    store = LocalStore(tmp_path)
    put_holder(store, beat=59.5, place="elsewhere")
    with pytest.raises(Busy), Lease(store, "night"):
        pass
    with Lease(store, "night", patience=30) as lease:
        assert lease.number == 2


def test_a_holder_seen_alive_here_is_not_waited_for(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with Lease(store, "night"), pytest.raises(Busy), Lease(store, "night", patience=3600):
        pass


def other_process() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def put_holder(store: LocalStore, beat: float, **changes: object) -> None:
    """A holder as another process wrote it, whose heartbeat is `beat` seconds old."""
    holder = {"pid": 2**22 + 1, "host": "h", "place": leases.place_of_processes(), "started": 1.0, "since": 1.0}
    store.create_json("leases/night/00000001.holder", holder | changes)
    store.write_json("leases/night/00000001.beat", {"at": time.time() - beat})


def test_a_holder_in_another_container_is_not_dead_because_its_process_is_not_seen_here(tmp_path: Path) -> None:
    """Containers on the host's network all have the host's name."""
    store = LocalStore(tmp_path)
    put_holder(store, beat=1, host=leases.socket.gethostname(), place="the same host/another numbering of processes")
    with pytest.raises(Busy), Lease(store, "night"):
        pass


def test_a_set_clock_does_not_end_a_living_holder(tmp_path: Path) -> None:
    """psutil tells a process' start by the clock of now: after the clock was set it is another one."""
    store = LocalStore(tmp_path)
    process = other_process()
    try:
        started = leases._process_start(process.pid)
        assert started is not None
        put_holder(store, beat=1, pid=process.pid, started=started - 3600)
        with pytest.raises(Busy), Lease(store, "night"):
            pass
        store.write_json("leases/night/00000001.beat", {"at": time.time() - 100})
        with Lease(store, "night") as lease:
            assert lease.number == 2
    finally:
        process.kill()
        process.wait()


class Moody(LocalStore):
    """A store whose next heartbeat fails, as a network does, and that can lose the answer of a create."""

    failures = 0
    loses_answers = False

    def write(self, key: str, data: bytes) -> None:
        if key.endswith(".beat") and self.failures > 0:
            self.failures -= 1
            raise ConnectionError("the store is away")
        super().write(key, data)

    def create(self, key: str, data: bytes) -> None:
        super().create(key, data)
        if self.loses_answers:
            raise AlreadyExists(key)


def test_a_heartbeat_goes_on_after_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    store = Moody(tmp_path)
    with Lease(store, "night"):
        store.failures = 2
        deadline = time.monotonic() + 30
        while store.failures and time.monotonic() < deadline:
            time.sleep(0.01)
        before = store.read_json("leases/night/00000001.beat")["at"]
        while store.read_json("leases/night/00000001.beat")["at"] == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert store.read_json("leases/night/00000001.beat")["at"] > before


def test_a_lease_whose_answer_was_lost_is_held(tmp_path: Path) -> None:
    store = Moody(tmp_path)
    store.loses_answers = True
    with Lease(store, "night") as lease:
        assert lease.number == 1
