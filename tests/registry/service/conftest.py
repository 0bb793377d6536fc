"""A service without a model: answers are made up by version, everything around them is real."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from fastapi.testclient import TestClient

from infra.store import LocalStore
from registry.answering import Written, why_invalid
from registry.ledger import Ledger
from registry.manifest import Manifest
from registry.service.access import Access
from registry.service.app import Databases, create_app
from registry.service.engine import Engine
from registry.service.run import newest_entry
from registry.serving import Served

TOKEN, ADA = "service-token-1234", "ada-token-123456"
MANIFEST = Manifest(
    base_model="random:llama-tiny",
    base_revision="r",
    tokenizer_hash="t",
    prompt_hash="p",
    adapter_hash="a",
    max_new_tokens=8,
    libraries={},
)


class Writer:
    """Stands where the model does: every question gets a query that names the version."""

    manifest = MANIFEST

    def __init__(self, version):
        self.version, self.batches, self.databases, self.looked = version, [], [], []
        self.gate = threading.Event()
        self.gate.set()

    def look(self, ask):
        self.looked.append(ask.database)

    def answer(self, asks, batch_size=32):
        self.gate.wait(10)
        self.batches.append([ask.question for ask in asks])
        self.databases += [ask.database for ask in asks]
        if any("explode" in ask.question for ask in asks):
            raise RuntimeError("out of memory")
        found = []
        for ask in asks:
            sql = ask.question if ask.question.startswith("SELECT") else f"SELECT '{self.version}' AS version"
            found.append(Written(sql, not why_invalid(sql, ask.schema), why_invalid(sql, ask.schema), 5, 0.01))
        return found


class World:
    """A ledger that can be moved, an engine that follows it, and a client of the application."""

    name = "text2sql"

    def __init__(self, folder):
        self.store, self.feedback = LocalStore(folder / "store"), LocalStore(folder / "feedback")
        self.ledger, self.broken, self.writers = Ledger(self.store, self.name), set(), {}
        self.engine = None

    def promote(self, version):
        return self.ledger.append(
            "promote",
            after=self.ledger.head(),
            version=version,
            adapter_hash=f"hash{version}",
            champion_at_decision=None,
            verdict_seal="s",
            actor="test",
            reason="test",
        )

    def load(self, entry):
        if entry.version in self.broken:
            raise RuntimeError(f"version {entry.version} has no files")
        writer = self.writers.setdefault(entry.version, Writer(entry.version))
        return Served(self.name, entry, writer)

    def start(self, **options):
        self.engine = Engine(partial(newest_entry, self.store, self.name), self.load, poll_seconds=0.02, **options)
        self.engine.start()
        return self.engine

    def client(self, databases=None, access=None):
        app = create_app(self.engine, Databases(databases or {}), self.feedback, access or Access("", {"ada": ADA}))
        return TestClient(app, base_url="http://127.0.0.1:8080")


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.promote("1")
    yield made
    if made.engine:
        made.engine.stop()
