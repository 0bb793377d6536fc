"""An S3 that goes away: it is waited for with ever longer pauses, not for ever, and only where waiting can help."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra import s3
from infra.errors import AlreadyExists, NightshiftError, NotFound
from infra.s3 import S3Store
from tests.servers import Gate, s3_gate


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    """A gate before an S3 server, which this process's boto3 finds through the environment."""
    import boto3

    with s3_gate() as (gate, environment), pytest.MonkeyPatch.context() as patch:
        for key, value in (environment | {"AWS_MAX_ATTEMPTS": "1"}).items():
            patch.setenv(key, value)
        boto3.client("s3").create_bucket(Bucket="nights")
        yield gate


@pytest.fixture
def store(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setattr(s3, "FIRST_WAIT", 0.05)
    return S3Store("s3://nights/store")


def test_every_verb_survives_an_absence(gate: Gate, store: S3Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"weights" * 100)
    store.write("a/old", b"old")
    verbs = {
        "write": lambda: store.write("a/b", b"bytes"),
        "put": lambda: store.put("a/file", source),
        "create": lambda: store.create("a/once", b"mine"),
        "read": lambda: store.read("a/old"),
        "fetch": lambda: store.fetch("a/old", tmp_path / "fetched").read_bytes(),
        "exists": lambda: store.exists("a/old"),
        "list": lambda: store.list("a"),
        "delete": lambda: store.delete("a/old"),
    }
    told = {}
    for name, verb in verbs.items():
        gate.shut()
        opening = threading.Timer(0.4, gate.open)
        opening.start()
        told[name] = verb()
        opening.join()
    assert (told["read"], told["fetch"], told["exists"]) == (b"old", b"old", True)
    assert told["list"] == ["a/b", "a/file", "a/old", "a/once"]
    assert store.list("a") == ["a/b", "a/file", "a/once"]
    assert store.read("a/file") == source.read_bytes()


def test_patience_ends_with_a_line_that_names_the_store(
    gate: Gate, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "AWAY_SECONDS", 0.3)
    gate.shut()
    try:
        with pytest.raises(NightshiftError, match="the store s3://nights/store has not answered for 0 s"):
            store.read("a")
    finally:
        gate.open()


def test_answers_are_not_taken_for_absence(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3.time, "sleep", lambda seconds: pytest.fail("waited for an answer that was there"))
    store.create("b/once", b"")
    with pytest.raises(AlreadyExists):
        store.create("b/once", b"")
    with pytest.raises(NotFound):
        store.read("b/nothing")
    assert not store.exists("b/nothing")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        S3Store("s3://none/store").write("a", b"")
