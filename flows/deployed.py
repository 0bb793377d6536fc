"""`nightshift retrain --deployed`: a night as a run of its deployment, followed from here to its outcome.

Everything but a recipe file goes through the Prefect server: the run, its steps' states, and the outcome, which the run
leaves as an artifact. Limits: whoever stops following does not stop the night.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flows.outcome import failed_document
from infra.errors import NightshiftError
from infra.progress import emit

DEPLOYMENT = "retrain/nightly"
OUTCOME = "outcome"  # the artifact's key
FENCE = "```"
POLL_SECONDS = 2.0
OUTAGE_SECONDS = 600.0  # how long the Prefect server may be away
REVIVAL_SECONDS = 120.0  # a crashed night is put back on the schedule within; otherwise it is over

T = TypeVar("T")


def as_artifact(outcome: dict[str, Any]) -> str:
    """An outcome document as Markdown that reads as JSON."""
    return f"{FENCE}json\n{json.dumps(outcome, indent=1)}\n{FENCE}"


def from_artifact(text: str) -> dict[str, Any]:
    """The document that `as_artifact` wrote."""
    return json.loads(text.strip().removeprefix(f"{FENCE}json").removesuffix(FENCE))


def start(parameters: dict[str, Any]) -> str:
    """The id of a new run of the deployment `nightly` with these parameters."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    try:
        return str(run_deployment(DEPLOYMENT, parameters=parameters, timeout=0, as_subflow=False).id)
    except ObjectNotFound:
        raise NightshiftError(f"the Prefect server has no deployment {DEPLOYMENT}; run nightshift deploy") from None


def follow(run: str, recipe: str) -> dict[str, Any]:
    """Wait for the run's end, telling what its steps do; its outcome document."""
    crashed_at: float | None = None
    while True:
        seen = patiently(lambda: _read(run))
        state = seen.state
        for child in patiently(lambda: _children(run)):
            phase = child.state.name.lower() if child.state else "waiting"
            ended = bool(child.state and child.state.is_final())
            emit(child.name.split()[0], f"{phase} on {child.work_pool_name}", int(ended), 1)
        if state is not None and state.is_crashed():
            crashed_at = time.monotonic() if crashed_at is None else crashed_at
            if time.monotonic() - crashed_at > REVIVAL_SECONDS:
                return failed_document("", recipe, "", f"the run crashed: {state.message}")
        elif state is not None and state.is_final():
            told = patiently(lambda: _outcome(run))
            if told is None or (state.is_failed() and told["outcome"] != "data_rejected"):
                return failed_document("", recipe, "", state.message or state.name or "the run failed")
            return told
        else:
            crashed_at = None
            emit("night", (state.name if state else "waiting").lower())
        time.sleep(POLL_SECONDS)


def patiently(look: Callable[[], T]) -> T:
    """What `look` sees; a Prefect server that is away, or whose database is, is asked again for ten minutes."""
    import httpx

    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return look()
        except httpx.HTTPError as error:
            told = getattr(error, "response", None)
            if (told is not None and told.status_code < 500) or time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def _read(run: str) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(_uuid(run))


def _children(run: str) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.client.schemas.sorting import FlowRunSort

    asked = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[_uuid(run)]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=asked, sort=FlowRunSort.EXPECTED_START_TIME_ASC)


def _outcome(run: str) -> dict[str, Any] | None:
    """The document that the run left last; None when it left none."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    asked = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[_uuid(run)]), key=ArtifactFilterKey(any_=[OUTCOME])
    )
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=asked, sort=ArtifactSort.CREATED_DESC, limit=1)
    return from_artifact(str(found[0].data)) if found else None


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)
