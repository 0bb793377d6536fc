"""What the processes of the promotion tests run; store and MLflow come from the environment.

`python -m tests.cluster.rivals ROOT NUMBER` promotes a version of its own in every round; `victim` promotes once and
kills itself right before one of its writes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

NAME = "sql"


def connect():
    """Store and MLflow as the environment names them."""
    from flows.tracking import connect_tracking
    from infra.settings import load_settings

    settings = load_settings()
    connect_tracking(settings)
    return settings.open_store()


def verdict_on(store, version, night, status="pass"):
    """A sealed verdict on a version against whatever is in Production now."""
    from registry.gates import GateOutcome
    from registry.ledger import Ledger
    from registry.releases import get_release
    from registry.verdict import decide

    head = Ledger(store, NAME).head()
    gate = GateOutcome(
        id="g", metric="execution_accuracy", slice=None, rule="at least", value=0.8, threshold=0.5, status=status,
        evidence="0.8",
    )  # fmt: skip
    return decide(
        [gate],
        release=NAME,
        version=version,
        adapter_hash=get_release(NAME, version).adapter_hash,
        test_fingerprint="t1",
        champion_version=head.version if head else None,
        champion_adapter_hash=head.adapter_hash if head else None,
        night=night,
    )


def register(folder, night):
    """A new version."""
    from infra import tracking
    from registry.releases import register_candidate
    from tasks.data.prompts import PromptSpec
    from tests.registry.conftest import safetensors

    adapter = Path(folder) / f"adapter-{night}"
    adapter.mkdir(parents=True, exist_ok=True)
    (adapter / "weights.safetensors").write_bytes(safetensors(night.encode()))
    (adapter / "prompt.json").write_text(PromptSpec().model_dump_json())
    run = tracking.night_run("recipe", night, f"night {night}")
    return register_candidate(NAME, run, adapter, night, {"nightshift.base_model": "tiny"}, "a candidate").version


def wait_for(path, seconds=900.0):
    """Wait until a file appears."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.02)


def rival(root, me):
    """In each round: judge a version of its own against the champion, wait for the start, promote, tell how it went."""
    from registry.attached import attach_verdict
    from registry.ledger import StalePromotion
    from registry.promotion import promote

    store, number = connect(), 0
    while True:
        number += 1
        go, stop = root / f"go-{number}", root / "stop"
        while not go.exists():
            if stop.exists():
                return
            time.sleep(0.02)
        version = json.loads(go.read_text())[me]
        verdict = verdict_on(store, version, f"r{number}-{me}")
        attach_verdict(NAME, version, verdict)
        (root / f"ready-{number}-{me}").touch()
        wait_for(root / f"start-{number}")
        try:
            told = {"won": promote(store, NAME, verdict, actor=f"rival {me}", reason="better").version}
        except StalePromotion as error:
            told = {"lost": str(error)}
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        done = root / f"done-{number}-{me}"
        done.with_suffix(".tmp").write_text(json.dumps(told))
        done.with_suffix(".tmp").rename(done)


WRITES = ("write", "create", "delete")
MLFLOW = (
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "transition_model_version_stage",
    "set_registered_model_tag",
    "set_model_version_tag",
    "log_text",
)


def victim(environment, version, fatal, counted):
    """Promote `version`, and die by SIGKILL right before write number `fatal` (from 1; 0: count them and live)."""
    from infra import lease, tracking
    from registry.promotion import promote

    os.environ.update(environment)  # the server that forks us keeps the one it was started with
    store = connect()
    lease.BEAT_SECONDS = 3600.0  # heartbeats would be writes of another thread
    verdict = verdict_on(store, version, f"night-{version}")
    client, count = type(tracking.client()), 0

    def deadly(cls, name):
        original = getattr(cls, name)

        def call(self, *args, **more):
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *args, **more)

        setattr(cls, name, call)

    for name in WRITES:
        deadly(type(store), name)
    for name in MLFLOW:
        deadly(client, name)
    promote(store, NAME, verdict, actor="victim", reason="better")
    counted.write_text(str(count))


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    rival(Path(sys.argv[1]), sys.argv[2])
