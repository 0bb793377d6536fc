"""Every test keeps to its own folders; nothing reaches a hub or reports anywhere."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.commands import nightshift
from tests.realdata import FOLDER

os.environ.update(
    HF_HUB_OFFLINE="1",
    DO_NOT_TRACK="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    GX_ANALYTICS_ENABLED="false",
    TOKENIZERS_PARALLELISM="false",
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the random two-layer model."""
    from tasks.models.resolve import resolve_model

    return resolve_model("random:llama-tiny", tmp_path_factory.mktemp("models")).path


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder as `nightshift fetch tiny` leaves it: empty databases of Prefect and MLflow, the tiny model."""
    folder = tmp_path_factory.mktemp("fetched")
    assert nightshift(folder, "fetch", "tiny")[0] == 0
    return folder / ".nightshift"


@pytest.fixture
def project(tmp_path: Path, tiny_home: Path) -> Path:
    """A folder for commands, of this test alone, with a copy of that home: its first night makes no databases."""
    shutil.copytree(tiny_home, tmp_path / ".nightshift")
    return tmp_path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with samples of public benchmarks; tests that need it are skipped where there is none."""
    if not FOLDER.is_dir():
        pytest.skip("no real data: set NIGHTSHIFT_REALDATA to a folder that holds spider/train_spider.jsonl")
    return FOLDER


@pytest.fixture(scope="session")
def spider_jobs(real_data: Path) -> list:
    """Spider's sample as jobs of the judge: every gold query against itself, on its own database file."""
    from tasks.sql.judgement import Job

    lines = (real_data / "spider" / "train_spider.jsonl").read_text(encoding="utf-8").splitlines()
    databases = real_data / "spider" / "database"
    return [
        Job(str(i), row["query"], row["query"], database=str(databases / row["db_id"] / f"{row['db_id']}.sqlite"))
        for i, row in enumerate(map(json.loads, lines))
    ]
