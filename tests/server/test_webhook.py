"""MLflow's own server sends its webhook: a person moves the alias there, and the receiver starts a check, signed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from cryptography.fernet import Fernet
from mlflow import MlflowClient

from flows.webhook import PATH, create_app, subscribe
from infra import tracking
from infra.errors import UserError
from infra.store import LocalStore
from registry.ledger import Ledger
from tests.servers import free_port, stop_server, wait_for_port

pytestmark = pytest.mark.server

SECRET = "of both sides"


def until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server that may send to the loopback."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", f"{folder}/files",
        "--no-serve-artifacts",
    ]  # fmt: skip
    allowed = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | allowed, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for_port(port, 600)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_server(server)


def test_production_moved_in_mlflow_starts_a_check(
    mlflow_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_settings", None)
    tracking.configure(mlflow_url)
    started: list[tuple[str, str]] = []

    def start(release: str, delivery: str) -> str:
        started.append((release, delivery))
        return "check"

    store = LocalStore(tmp_path)
    Ledger(store, "sql").append(
        "promote", after=None, version="2", adapter_hash="h", champion_at_decision=None, verdict_seal="s",
        actor="ada", reason="better", night="n",
    )  # fmt: skip
    port = free_port()
    receiver = uvicorn.Server(uvicorn.Config(create_app(store, start, SECRET), port=port, log_level="error"))
    thread = threading.Thread(target=receiver.run, daemon=True)
    thread.start()
    wait_for_port(port)
    url = f"http://127.0.0.1:{port}{PATH}"
    for _ in range(2):  # a receiver that starts again leaves one webhook
        subscribe(url, SECRET)
    person = MlflowClient(mlflow_url)
    assert [(hook.name, hook.url) for hook in person.list_webhooks()] == [("nightshift-check", url)]
    person.create_registered_model("sql")
    version = person.create_model_version("sql", source="s3://bucket/adapter").version
    person.set_registered_model_alias("sql", "champion", version)
    person.set_registered_model_alias("sql", "Production", version)
    until(lambda: len(started) == 1)
    person.delete_registered_model_alias("sql", "Production")
    until(lambda: len(started) == 2)
    assert [release for release, _ in started] == ["sql", "sql"]
    assert all(len(delivery) == 36 for _, delivery in started)
    receiver.should_exit = True
    thread.join(30)
    # A scheme that the server does not allow is told with what to set there.
    with pytest.raises(UserError, match="MLFLOW_WEBHOOK_ALLOWED_SCHEMES"):
        subscribe("ftp://127.0.0.1/x")
