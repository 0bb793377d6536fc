"""Every test keeps to its own folders; nothing reaches a hub or reports anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
def real_data() -> Path:
    """The folder with samples of public benchmarks; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("NIGHTSHIFT_REALDATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no real data: set NIGHTSHIFT_REALDATA to a folder that holds spider/train_spider.jsonl")
    return folder
