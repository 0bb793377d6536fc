"""Leases: one holder, takeover from the dead, nothing taken from the living."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.errors import Busy
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
