"""Settings from the environment (`NIGHTSHIFT_…`), and the environment that Prefect, MLflow and the models need.

Embedded by default: everything lives under one folder and no server is needed. The same code runs against servers when
PREFECT_API_URL, MLFLOW_TRACKING_URI or NIGHTSHIFT_STORE name them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import UserError
from infra.store import Store, open_store

SHORTEST_PASSWORD = 12  # MLflow's server refuses shorter ones


class Settings(BaseSettings):
    """Where Nightshift keeps its things."""

    model_config = SettingsConfigDict(env_prefix="NIGHTSHIFT_", frozen=True, extra="ignore")

    home: Path = Field(Path(".nightshift"), description="folder of the embedded default")
    store: str = Field("", description="store url: a folder or s3://bucket/prefix; default HOME/store")
    feedback: str = Field(
        "", description="where feedback lands: a folder or s3://bucket/prefix; default STORE/feedback"
    )
    artifacts: str = Field(
        "", description="where MLflow keeps files when it is a plain database; default HOME/mlartifacts"
    )
    unsanctioned: Literal["flag", "revert"] = Field(
        "flag", description="what `check` and `status` do about a version set to Production without a passed verdict"
    )
    optuna: str = Field(
        "",
        description="database of the searches' studies, for Optuna's tools: sqlite:///FILE or postgresql://…, never "
        "MLflow's; default HOME/optuna.db",
    )
    models: Path | None = Field(None, description="cache of fetched and converted models; default HOME/models")
    recipes: Path | None = Field(
        None, description="folder of the recipes that a run of the deployment may name; default HOME/recipes"
    )
    dispatch: Literal["here", "pools"] = Field(
        "here",
        description="where a night's steps run: in the night's own process, or each on the pool its recipe names",
    )
    prices: dict[str, float] = Field(
        {}, description='what an hour on a pool costs you, for `plan`: {"gpu-t4": 0.4, "gpu-l4": 0.8}'
    )
    auth: SecretStr = Field(
        SecretStr(""), description="user:password of the Prefect and the MLflow server, for `up` and for every client"
    )

    @field_validator("auth")
    @classmethod
    def _check_auth(cls, value: SecretStr) -> SecretStr:
        user, sign, password = value.get_secret_value().partition(":")
        if value.get_secret_value() and (not user or not sign or len(password) < SHORTEST_PASSWORD):
            raise UserError(f"NIGHTSHIFT_AUTH is user:password, the password of {SHORTEST_PASSWORD} characters or more")
        return value

    def client_environment(self) -> dict[str, str]:
        """What the clients of both servers read to sign in; empty without `auth`."""
        user, _, password = (auth := self.auth.get_secret_value()).partition(":")
        if not auth:
            return {}
        return {
            "PREFECT_API_AUTH_STRING": auth,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    @property
    def root(self) -> Path:
        """HOME, absolute."""
        return self.home.expanduser().absolute()

    @property
    def models_path(self) -> Path:
        """The model cache."""
        return (self.models or self.root / "models").expanduser().absolute()

    @property
    def recipes_path(self) -> Path:
        """The recipe folder."""
        return (self.recipes or self.root / "recipes").expanduser().absolute()

    @property
    def work(self) -> Path:
        """Scratch of running nights: checkpoints and unfinished stages."""
        return self.root / "work"

    @property
    def default_tracking_uri(self) -> str:
        """The embedded MLflow database."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def optuna_uri(self) -> str:
        """The database of the searches' studies."""
        return self.optuna or f"sqlite:///{self.root / 'optuna.db'}"

    @property
    def store_url(self) -> str:
        """Where the store is: a folder or `s3://bucket/prefix`."""
        return self.store or str(self.root / "store")

    def open_store(self) -> Store:
        """The store these settings name."""
        return open_store(self.store_url)

    def open_feedback(self) -> Store:
        """The store that feedback is written to (see `tasks.data.feedback`)."""
        return open_store(self.feedback or f"{self.store_url.rstrip('/')}/feedback")


def load_settings() -> Settings:
    """Read the settings from the environment."""
    return Settings()


def apply_environment(settings: Settings, quiet: bool = True) -> None:
    """Set what the libraries read from the environment, wherever the user has not; call before importing them.

    No telemetry leaves the machine. `quiet` keeps Prefect's log lines out of a terminal that shows progress.
    """
    settings.root.mkdir(parents=True, exist_ok=True)
    defaults = {
        "PREFECT_HOME": str(settings.root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # seconds; minutes where the machine is busy
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_TRACKING_URI": settings.default_tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # a server's addresses would stand before our JSON
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        # MLflow's own calls to S3: a bucket that is away is asked again for a minute (boto3's own limit is seconds).
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": "12",
        **settings.client_environment(),
    }
    if quiet:
        defaults |= {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_LOGGING_TO_API_ENABLED": "true"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


# The trainer and the evaluator are processes of their own; these must stand before their first allocation and thread.
# Measured on two cores: keeping freed memory instead of returning it made training up to 1.5 times faster, and letting
# OpenMP's threads spin for some microseconds before they sleep another 1.25 times; spinning for long starves whoever
# else works on the machine.
PROCESS_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 * 1024**3),
    "GOMP_SPINCOUNT": "20000",
}
