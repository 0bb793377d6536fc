"""Where MLflow is, from the environment."""

from __future__ import annotations

import os

from infra import tracking
from infra.settings import Settings


def connect_tracking(settings: Settings) -> None:
    """Configure MLflow; the embedded default keeps its files in the home folder, a server keeps its own."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", settings.default_tracking_uri)
    remote = uri.startswith(("http://", "https://"))
    root = settings.artifacts or (None if remote else str(settings.root / "mlartifacts"))
    tracking.configure(uri, root)
