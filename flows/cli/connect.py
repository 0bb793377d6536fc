"""Settings and MLflow for commands that need both."""

from __future__ import annotations

import logging
import os
import warnings

from infra.errors import UserError
from infra.settings import PROCESS_ENVIRONMENT, Settings, apply_environment, load_settings


def connected() -> Settings:
    """The settings, with the environment applied and MLflow configured."""
    from flows.tracking import connect_tracking

    settings = load_settings()
    apply_environment(settings)
    connect_tracking(settings)
    return settings


def need_server() -> None:
    """Raise UserError where no Prefect server is named: what is deployed runs nowhere else."""
    if not os.environ.get("PREFECT_API_URL"):
        raise UserError("--deployed needs a Prefect server: set PREFECT_API_URL, such as http://127.0.0.1:4200/api")


def quiet_model() -> None:
    """For commands that load a model into their own process; call before torch is imported.

    Libraries' notices about themselves stay away, and OpenMP's threads sleep instead of spinning while they wait: on a
    busy machine the difference is seconds an answer.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", PROCESS_ENVIRONMENT["GOMP_SPINCOUNT"])
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
