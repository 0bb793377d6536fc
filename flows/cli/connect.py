"""Settings and MLflow for commands that need both."""

from __future__ import annotations

import logging
import os
import warnings

from infra.settings import PROCESS_ENVIRONMENT, Settings, apply_environment, load_settings


def connected() -> Settings:
    """The settings, with the environment applied and MLflow configured."""
    from flows.tracking import connect_tracking

    settings = load_settings()
    apply_environment(settings)
    connect_tracking(settings)
    return settings


def quiet_model() -> None:
    """For commands that load a model into their own process; call before torch is imported.

    Libraries' notices about themselves stay away, and OpenMP's threads sleep instead of spinning while they wait: on a
    busy machine the difference is seconds an answer.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", PROCESS_ENVIRONMENT["GOMP_SPINCOUNT"])
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
