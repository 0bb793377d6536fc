"""Many processes, killed processes: one winner a round, a linear ledger, and never a state between old and new.

Both on folders with SQLite and on S3 with PostgreSQL, chosen by environment variables alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import rivals
from tests.cluster.rivals import NAME

pytestmark = pytest.mark.cluster

RIVALS = 8
ROUNDS = int(os.environ.get("ROUNDS", "50"))


def start(environment: dict[str, str], *arguments: str, log: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.cluster.rivals", *arguments]
    err = log.open("w") if log else subprocess.PIPE
    out = subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=environment["PYTHONPATH"], stdout=out, stderr=err, text=True)


def victim(here: dict[str, str], version: str, fatal: int, counted: Path) -> int | None:
    """The exit code of a process that promotes and dies right before write number `fatal` (0: it counts and lives)."""
    context = multiprocessing.get_context("forkserver")  # imports once; no connection of ours is inherited
    context.set_forkserver_preload(["mlflow.store.model_registry.sqlalchemy_store", "registry.promotion"])
    process = context.Process(target=rivals.victim, args=(here, version, fatal, counted))
    process.start()
    process.join(900)
    return process.exitcode


def aliases() -> dict[str, str]:
    from tests.registry.shown import aliases_of

    return aliases_of(NAME)


def test_eight_processes_promote_at_once(here: dict[str, str], tmp_path: Path) -> None:
    from registry.ledger import Ledger
    from registry.projection import project, verify
    from registry.releases import list_releases

    store = rivals.connect()
    versions = [rivals.register(tmp_path, f"v{number}") for number in range(RIVALS + 1)]
    root = tmp_path / "rounds"
    root.mkdir()
    processes = [start(here, str(root), str(n), log=tmp_path / f"rival-{n}.log") for n in range(RIVALS)]
    try:
        champion: str | None = None
        for number in range(1, ROUNDS + 1):
            free = [version for version in versions if version != champion][:RIVALS]
            going = root / f"go-{number}"
            going.with_suffix(".tmp").write_text(json.dumps({str(n): v for n, v in enumerate(free)}))
            going.with_suffix(".tmp").rename(going)
            for n in range(RIVALS):
                rivals.wait_for(root / f"ready-{number}-{n}")
            (root / f"start-{number}").touch()
            told = []
            for n in range(RIVALS):
                rivals.wait_for(root / f"done-{number}-{n}")
                told.append(json.loads((root / f"done-{number}-{n}").read_text()))
            assert [t for t in told if "error" in t] == []
            (winner,) = [t["won"] for t in told if "won" in t]
            head = Ledger(store, NAME).head()
            assert head is not None
            assert (head.number, head.version, head.previous_version) == (number, winner, champion)
            # Every process has ended its command, so nothing is left to repair.
            expected = {"Production": winner} | ({"Previous": champion} if champion else {})
            assert aliases() == expected
            assert project(store, NAME).changed is False
            champion = winner
    finally:
        (root / "stop").touch()
        for process in processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
    assert verify(store, NAME) == ROUNDS
    assert {e.action for e in Ledger(store, NAME).entries()} == {"promote"}
    assert [row.version for row in list_releases(NAME) if row.stage == "Production"] == [champion]


def test_killed_between_every_two_writes(here: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL right before each write of a promotion: the state is the old or the new one, the next command repairs."""
    from registry.ledger import Ledger
    from registry.projection import project, verify
    from registry.promotion import promote
    from registry.releases import list_releases

    store = rivals.connect()
    ledger = Ledger(store, NAME)
    first = rivals.register(tmp_path, "first")
    promote(store, NAME, rivals.verdict_on(store, first, "first"), actor="a", reason="b")
    second = rivals.register(tmp_path, "second")
    counted = tmp_path / "writes"
    assert victim(here, second, 0, counted) == 0
    writes = int(counted.read_text())
    assert writes >= 8  # verdict, ledger, lease, two aliases, stage, tag: a count of 0 would test nothing
    outcomes = []
    for fatal in range(1, writes + 1):
        before = ledger.head()
        assert before is not None
        version = rivals.register(tmp_path, f"n{fatal}")
        assert victim(here, version, fatal, counted) == -signal.SIGKILL, f"write {fatal} of {writes}"
        after = ledger.head()
        assert after is not None
        assert (after == before) or (after.number, after.version, after.previous_version) == (
            before.number + 1,
            version,
            before.version,
        )
        outcomes.append(after != before)
        started = time.monotonic()
        projection = project(store, NAME)
        assert time.monotonic() - started < 60  # a dead process on this machine is not waited for
        assert (projection.heard, projection.unsanctioned) == (False, None)
        assert aliases() == {"Production": after.version, "Previous": after.previous_version}
        assert [r.version for r in list_releases(NAME) if r.stage == "Production"] == [after.version]
        assert project(store, NAME).changed is False
    assert {True, False} <= set(outcomes)
    assert verify(store, NAME) == 2 + sum(outcomes)


def nightshift(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )
    return done.returncode, done.stdout, done.stderr


def test_a_night_a_rollback_and_the_commands(place: dict[str, str], tmp_path: Path) -> None:
    """A whole tiny night, a second one, the way back, and the commands; nothing but the environment differs."""
    for more in ((), ("--set", "training.seed=43", "--set", "release.approval=manual")):
        code, out, err = nightshift(place, tmp_path, "retrain", "tiny", "--json", *more)
        assert code == (4 if more else 0), err + out
    assert nightshift(place, tmp_path, "rollback", "--by", "Ada", "--reason", "no way back yet")[0] == 1
    code, _, err = nightshift(place, tmp_path, "promote", "2", "--approve", "--by", "Ada", "--reason", "looks right")
    assert code == 0, err
    code, out, err = nightshift(place, tmp_path, "rollback", "--by", "Bob", "--reason", "wrong dates", "--json")
    assert code == 0, err
    assert json.loads(out)["version"] == "1"
    code, out, err = nightshift(place, tmp_path, "history", "--verify", "--json")
    assert code == 0, err
    assert [(e["action"], e["version"], e["approver"]) for e in json.loads(out)] == [
        ("promote", "1", None),
        ("promote", "2", "Ada"),
        ("rollback", "1", None),
    ]
    code, out, err = nightshift(place, tmp_path, "diff", "1", "2", "--json")
    assert code == 0, err
    assert {"key": "training.seed", "a": 42, "b": 43} in json.loads(out)["recipe"]
    code, out, err = nightshift(place, tmp_path, "status", "--json")
    assert code == 0, err
    (status,) = json.loads(out)["releases"]
    assert (status["production"]["version"], status["previous"], status["findings"]) == ("1", "2", [])
    code, out, _ = nightshift(place, tmp_path, "releases", "--json")
    assert [(r["version"], r["aliases"], r["stage"]) for r in json.loads(out)] == [
        ("2", ["Previous"], "Archived"),
        ("1", ["Production"], "Production"),
    ]
