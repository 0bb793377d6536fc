"""The receiver of MLflow's webhook: what starts a check, what does not, and who is not believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flows.webhook import create_app
from infra.store import LocalStore
from registry.ledger import Ledger

SECRET = "of both sides"


class Receiver:
    """The app with a ledger whose head is version 1, and a list of the checks it started."""

    def __init__(self, folder: Path, secret: str = "") -> None:
        self.started: list[tuple[str, str]] = []
        self.fails = False
        store = LocalStore(folder)
        Ledger(store, "sql").append(
            "promote", after=None, version="1", adapter_hash="h", champion_at_decision=None, verdict_seal="s",
            actor="ada", reason="better", night="n",
        )  # fmt: skip
        self.client = TestClient(create_app(store, self.start, secret))

    def start(self, release: str, delivery: str) -> str:
        if self.fails:
            raise ConnectionError("no Prefect server")
        self.started.append((release, delivery))
        return "brave-check"

    def send(self, body: bytes, **headers: str) -> Any:
        sent = {"content-type": "application/json", "x-mlflow-delivery-id": "d1"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.client.post("/mlflow", content=body, headers=sent)


def event(
    alias: str = "Production", version: str | None = "2", entity: str = "model_version_alias", name: str = "sql"
) -> bytes:
    data = {"name": name, "alias": alias} | ({"version": version} if version else {})
    action = "created" if version else "deleted"
    return json.dumps({"entity": entity, "action": action, "timestamp": "t", "data": data}).encode()


def signature(body: bytes, at: int, secret: str = SECRET) -> dict[str, str]:
    told = base64.b64encode(hmac.new(secret.encode(), b"d1.%d." % at + body, hashlib.sha256).digest()).decode()
    return {"x_mlflow_timestamp": str(at), "x_mlflow_signature": f"v1,{told}"}


@pytest.mark.parametrize("version", ["2", None])
def test_a_person_moved_or_removed_production(tmp_path: Path, version: str | None) -> None:
    receiver = Receiver(tmp_path)
    answer = receiver.send(event(version=version))
    assert (answer.status_code, answer.json()) == (202, {"started": "brave-check"})
    assert receiver.started == [("sql", "d1")]


@pytest.mark.parametrize(
    "body", [event(version="1"), event("Previous"), event("production"), event(entity="prompt_alias")]
)
def test_what_starts_nothing(tmp_path: Path, body: bytes) -> None:
    """Our own projection of the ledger's head, other aliases, prompts."""
    receiver = Receiver(tmp_path)
    answer = receiver.send(body)
    assert (answer.status_code, answer.json()["started"], receiver.started) == (200, None, [])


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"entity": "model_version_alias", "action": "created"}'])
def test_what_is_no_event(tmp_path: Path, body: bytes) -> None:
    assert Receiver(tmp_path).send(body).status_code == 400


def test_a_model_without_a_ledger_starts_a_look_at_all_releases(tmp_path: Path) -> None:
    """Names of other people's models need not be names that a release of ours may have."""
    receiver = Receiver(tmp_path)
    assert receiver.send(event(name="somebody's model")).status_code == 202
    assert receiver.started == [("", "d1")]


def test_a_large_body_is_not_read(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    assert receiver.send(b" " * 65_537).status_code == 413
    assert receiver.send(event(), content_length="many").status_code == 413


def test_a_web_page_cannot_start_a_check(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    assert receiver.send(event(), content_type="text/plain").status_code == 415
    assert receiver.started == []


def test_mlflow_is_asked_to_repeat_while_prefect_is_away(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    receiver.fails = True
    assert receiver.send(event()).status_code == 503


def test_with_a_secret_only_fresh_signed_messages_count(tmp_path: Path) -> None:
    receiver, body, now = Receiver(tmp_path, SECRET), event(), int(time.time())
    assert receiver.send(body).status_code == 401
    assert receiver.send(body, **signature(body, now, "guessed")).status_code == 401
    assert receiver.send(event(version="3"), **signature(body, now)).status_code == 401
    assert receiver.send(body, **signature(body, now - 3600)).status_code == 401
    assert receiver.send(body, **signature(body, now) | {"x_mlflow_delivery_id": "d2"}).status_code == 401
    assert receiver.started == []
    assert receiver.send(body, **signature(body, now)).status_code == 202
