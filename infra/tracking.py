"""MLflow for the rest of the project: runs that are found again, curves, parameters, inputs and files.

Every function names its run; nothing uses MLflow's active run, so threads and subflows cannot write into each other's
runs. Every function may be called twice with the same arguments and leaves what one call leaves, because a night that
broke off repeats its steps. Limits: finding or creating a run is not atomic in MLflow; the night's lease keeps two
processes from creating the same one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from infra.errors import NightshiftError, UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

NIGHT_TAG = "nightshift.night"
KIND_TAG = "nightshift.kind"
KEY_TAG = "nightshift.key"
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own: its UI nests child runs by it
PAGE = 1000  # results asked for at once

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

log = logging.getLogger("nightshift.tracking")


@dataclass(frozen=True, slots=True)
class _Settings:
    tracking_uri: str
    artifact_root: str | None


_settings: _Settings | None = None


def configure(tracking_uri: str, artifact_root: str | Path | None = None) -> None:
    """Say where MLflow is, once per process.

    `tracking_uri` is a server (`https://…`) or a database (`sqlite:///…`, whose folder is made). `artifact_root` is the
    folder or `s3://…` prefix below which new experiments keep their files; None leaves that to the server. A database
    without one would put them into the current directory, so there it is required.
    """
    global _settings
    # MLflow reads these when it is first imported; what the user set stays.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if "://" not in tracking_uri or tracking_uri.startswith("file:"):
        raise UserError(f"MLflow address {tracking_uri!r}: give sqlite:///FILE, a database URL or a server's URL")
    if not tracking_uri.startswith(("http://", "https://")) and artifact_root is None:
        raise UserError(f"MLflow address {tracking_uri!r} is a database: say where its artifacts go, too")
    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    root = None if artifact_root is None else str(artifact_root)
    if root is not None and "://" not in root:
        root = Path(root).resolve().as_uri()
    _settings = _Settings(tracking_uri, root.rstrip("/") if root else None)


def tracking_uri() -> str:
    """The address given to `configure`; raises NightshiftError before that."""
    return _configured().tracking_uri


def _configured() -> _Settings:
    if _settings is None:
        raise NightshiftError("MLflow is not configured in this process; call infra.tracking.configure first")
    return _settings


def client() -> MlflowClient:
    """An MLflow client for the configured address; cheap, its connections are shared."""
    settings = _configured()
    from mlflow import MlflowClient

    # Migrations of a new database and waits of no length are announced in lines that say nothing to a person.
    for name in ("mlflow.store.db.utils", "mlflow.store.model_registry", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def experiment_id(name: str) -> str:
    """The id of the experiment called `name`, made when missing; raises UserError for one deleted in MLflow."""
    from mlflow.exceptions import MlflowException

    mlflow, root = client(), _configured().artifact_root
    found = mlflow.get_experiment_by_name(name)
    if found is None:
        place = f"{root}/{_folder_name(name)}" if root else None
        try:
            return mlflow.create_experiment(name, artifact_location=place)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = mlflow.get_experiment_by_name(name)  # another process made it a moment ago
    if found.lifecycle_stage != "active":
        raise UserError(f"experiment {name!r} was deleted in MLflow; restore it there, or rename the recipe")
    return found.experiment_id


def night_run(experiment: str, key: str, name: str, tags: Mapping[str, str] | None = None) -> str:
    """The run id of the night `key` in `experiment`: the one that exists, set running again, or a new one."""
    own = {NIGHT_TAG: key, KIND_TAG: "night"}
    return _find_or_create(experiment_id(experiment), own, name, tags or {})


def search_run(experiment: str, key: str, name: str, tags: Mapping[str, str] | None = None) -> str:
    """The run id of the search `key` in `experiment`, above the runs of its trials; as `night_run`."""
    return _find_or_create(experiment_id(experiment), {KEY_TAG: key, KIND_TAG: "sweep"}, name, tags or {})


def child_run(parent_run_id: str, kind: str, name: str, key: str, tags: Mapping[str, str] | None = None) -> str:
    """The run id of a part (`kind`: stage, scorecard, …) of a night, found again by parent, kind and `key`."""
    parent = client().get_run(parent_run_id)
    own = {PARENT_TAG: parent_run_id, KIND_TAG: kind, KEY_TAG: key}
    night = {NIGHT_TAG: parent.data.tags[NIGHT_TAG]} if NIGHT_TAG in parent.data.tags else {}
    return _find_or_create(parent.info.experiment_id, own, name, {**night, **(tags or {})})


def _find_or_create(experiment: str, own: dict[str, str], name: str, tags: Mapping[str, str]) -> str:
    mlflow = client()
    for key, value in own.items():
        if "'" in value:
            raise UserError(f"{key} {value!r} may not contain a quote")
    condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in own.items())
    found = mlflow.search_runs([experiment], condition, order_by=["attributes.start_time ASC"], max_results=1)
    if not found:
        return mlflow.create_run(experiment, run_name=name, tags={**tags, **own}).info.run_id
    run = found[0]
    if run.info.status != "RUNNING":
        mlflow.update_run(run.info.run_id, status="RUNNING")
    set_tags(run.info.run_id, {key: value for key, value in tags.items() if run.data.tags.get(key) != value})
    return run.info.run_id


def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run, replacing values of the same name."""
    from mlflow.entities import RunTag

    for part in _batches([RunTag(key, str(value)) for key, value in tags.items()], 100):
        client().log_batch(run_id, tags=part)


def log_params(run_id: str, params: Mapping[str, Any]) -> None:
    """Log parameters; nested mappings become dotted names. Raises UserError when a logged one would change."""
    from mlflow.entities import Param
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    flat = {key: str(value)[:MAX_PARAM_VAL_LENGTH] for key, value in flatten(params).items()}
    logged = client().get_run(run_id).data.params
    changed = [key for key, value in flat.items() if logged.get(key, value) != value]
    if changed:
        key = changed[0]
        raise UserError(f"parameter {key} of MLflow run {run_id} is {logged[key]!r} and cannot become {flat[key]!r}")
    for part in _batches([Param(key, value) for key, value in flat.items() if key not in logged], 100):
        client().log_batch(run_id, params=part)


def log_metrics(run_id: str, metrics: Mapping[str, float]) -> None:
    """Log single values; one that is already the metric's latest value is not logged again."""
    from mlflow.entities import Metric

    now, logged = _now(), client().get_run(run_id).data.metrics
    fresh = [Metric(key, float(value), now, 0) for key, value in metrics.items() if logged.get(key) != value]
    for part in _batches(fresh, 1000):
        client().log_batch(run_id, metrics=part)


def log_curve(run_id: str, metric: str, points: Iterable[tuple[int, float]]) -> None:
    """Log a curve of (step, value); steps that the run already holds are left alone.

    So a resumed stage may hand in its whole curve again, and a call that broke off half way is completed.
    """
    from mlflow.entities import Metric

    now, known = _now(), {point.step for point in client().get_metric_history(run_id, metric)}
    fresh = {step: value for step, value in points if step not in known}
    for part in _batches([Metric(metric, float(value), now, step) for step, value in fresh.items()], 1000):
        client().log_batch(run_id, metrics=part)


def log_dataset(
    run_id: str, name: str, digest: str, source: str, context: str, profile: Mapping[str, Any] | None = None
) -> None:
    """Note a dataset as input of a run: `digest` (<= 36 characters), `source` (store key or URL), `context`
    (training, evaluation, …); `profile` holds counts for MLflow's dataset page. The data itself is not copied.

    MLflow keeps one context for a dataset of a run; raises UserError when the same name and digest come with another.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    for known in client().get_run(run_id).inputs.dataset_inputs:
        if (known.dataset.name, known.dataset.digest) == (name, digest):
            contexts = [tag.value for tag in known.tags if tag.key == "mlflow.data.context"]
            if contexts != [context]:
                raise UserError(
                    f"dataset {name!r} is input of this run as {contexts}; give its {context} part its own name"
                )
            return
    dataset = Dataset(
        name=name,
        digest=digest,
        source_type="nightshift",
        source=_json({"uri": source}),
        profile=_json(dict(profile)) if profile else None,
    )
    tags = [InputTag("mlflow.data.context", context)]
    client().log_inputs(run_id, [DatasetInput(dataset=dataset, tags=tags)])


def log_folder(run_id: str, folder: Path, artifact_path: str | None = None) -> None:
    """Copy a folder's files to the run's artifacts, below `artifact_path`; files of the same name are replaced."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; nothing to log to MLflow")
    client().log_artifacts(run_id, str(folder), artifact_path)


def log_text(run_id: str, text: str, artifact_file: str) -> None:
    """Write `text` as one artifact file of the run."""
    client().log_text(run_id, text, artifact_file)


def finish(run_id: str, status: RunStatus) -> None:
    """End a run as FINISHED, FAILED or KILLED."""
    client().set_terminated(run_id, status)


@contextmanager
def ended_by_errors(run_id: str | None, *stops: type[BaseException]) -> Iterator[None]:
    """End the run when the block raises: KILLED by one of `stops` or by what stops a process, else FAILED.

    Whoever goes on with the run sets it running again. An MLflow that is away does not hide the error. None is no run.
    """
    try:
        yield
    except BaseException as error:
        if run_id is not None:
            killed = isinstance(error, stops) or not isinstance(error, Exception)
            try:
                finish(run_id, "KILLED" if killed else "FAILED")
            except Exception:
                log.exception("run %s ended with an error, and MLflow could not be told", run_id)
        raise


def pages(search: Callable[..., Any], condition: str | None) -> list[Any]:
    """Everything that one of MLflow's paged searches finds; `condition` is its filter, None for all."""
    found: list[Any] = []
    token = None
    while True:
        page = search(filter_string=condition or None, max_results=PAGE, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _folder_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, sort_keys=True)


def _now() -> int:
    return int(time.time() * 1000)
