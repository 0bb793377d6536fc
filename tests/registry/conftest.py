"""A real MLflow on SQLite, started once, and short ways to make things happen in it."""

from __future__ import annotations

import itertools
import json
import os
import struct

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is first imported, so before any test

import pytest

from infra import tracking
from infra.store import LocalStore
from registry.gates import GateOutcome
from registry.ledger import Ledger
from registry.promotion import project, promote
from registry.releases import PRODUCTION_ALIAS, list_releases, register_candidate
from registry.verdict import decide
from tasks.data.prompts import PromptSpec
from tests.registry.shown import production_version


def safetensors(data):
    """A file of that format with one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


NAMES = (f"sql-{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def mlflow_settings(tmp_path_factory):
    """Where the shared MLflow is; its start costs seconds, so every test takes a release name of its own instead."""
    root = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "_settings", None)
        tracking.configure(f"sqlite:///{root}/mlflow.db", root / "artifacts")
        return tracking._settings


@pytest.fixture
def world(tmp_path, mlflow_settings, monkeypatch):
    """One release name in the shared MLflow, with a ledger of its own."""
    monkeypatch.setattr(tracking, "_settings", mlflow_settings)
    return World(tmp_path, tracking.client())


class World:
    """One release name with its own ledger, and short ways to make things happen."""

    def __init__(self, folder, client):
        self.folder, self.client, self.name = folder, client, next(NAMES)
        self.store = LocalStore(folder / "store")
        self.ledger = Ledger(self.store, self.name)

    def register(self, night, weights=None):
        adapter = self.folder / f"adapter-{night}"
        (adapter / "sub").mkdir(parents=True, exist_ok=True)
        (adapter / "weights.safetensors").write_bytes(safetensors((weights or night).encode()))
        (adapter / "sub" / "notes.json").write_text("{}")
        (adapter / "prompt.json").write_text(PromptSpec().model_dump_json())
        run = tracking.night_run("recipe", night, f"night {night}")
        return register_candidate(self.name, run, adapter, night, {"nightshift.base_model": "tiny"}, "a candidate")

    def verdict(self, candidate, status="pass", champion="now", **changes):
        head = self.ledger.head() if champion == "now" else champion
        gate = GateOutcome(
            id="g", metric="execution_accuracy", slice=None, rule="at least", value=0.8, threshold=0.5, status=status,
            evidence="0.8",
        )  # fmt: skip
        facts = {
            "release": self.name,
            "version": candidate.version,
            "adapter_hash": candidate.adapter_hash,
            "test_fingerprint": "t1",
            "champion_version": head.version if head else None,
            "champion_adapter_hash": head.adapter_hash if head else None,
            "night": "n",
        }
        return decide([gate], **(facts | changes))

    def promote(self, verdict, **more):
        return promote(self.store, self.name, verdict, **({"actor": "night", "reason": "gates passed"} | more))

    def project(self, **more):
        return project(self.store, self.name, **more)

    def next(self, night):
        """Register, judge and promote."""
        return self.promote(self.verdict(self.register(night)))

    @property
    def stages(self):
        return {row.version: row.stage for row in list_releases(self.name)}

    def set_production(self, version):
        """What a person does in MLflow's pages."""
        self.client.set_registered_model_alias(self.name, PRODUCTION_ALIAS, version)

    def nothing_promoted(self):
        assert self.ledger.entries() == []
        assert production_version(self.name) is None
        return True
