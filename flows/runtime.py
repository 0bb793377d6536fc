"""What every flow needs at run time: its name in the UI, its scratch folder, MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.night import Night
from flows.tracking import connect_tracking
from infra import tracking
from infra.refs import Ref
from infra.settings import Settings, apply_environment, load_settings


def flow_name(step: str) -> Callable[[], str]:
    """Names a flow run `step <night>`, with `(reused)` when the night's store already holds the step's outcome."""

    def name() -> str:
        from prefect.runtime import flow_run

        from flows.night import open_night

        night = flow_run.parameters["night"]
        reused = open_night(night).outcome(step) is not None
        return f"{step} {night}{' (reused)' if reused else ''}"

    return name


def connect() -> Settings:
    """The settings of a flow that belongs to no night, with the environment applied and MLflow configured."""
    settings = load_settings()
    apply_environment(settings, quiet=False)
    connect_tracking(settings)
    return settings


@contextmanager
def locally(night: Night) -> Iterator[Path]:
    """The night's scratch folder on this machine, and MLflow configured."""
    apply_environment(night.settings, quiet=False)
    connect_tracking(night.settings)
    night.work.mkdir(parents=True, exist_ok=True)
    yield night.work


def night_run(night: Night) -> str:
    """The MLflow run of this night."""
    return tracking.night_run(
        night.recipe.name, night.id, f"night {night.id}", {f"nightshift.{k}": v for k, v in night.lineage().items()}
    )


def fetch_dataset(night: Night) -> tuple[Ref, Path]:
    """The reference and a local folder of the dataset that `prepare` made."""
    ref = Ref.model_validate((night.outcome("prepare") or {})["dataset"])
    return ref, night.store.get_tree(ref.key, night.work / "dataset-fetched")
