"""Here or on its pool: a step as a plain subflow, or as a run of its deployment on the pool that the recipe names.

A dispatched step is known by its idempotency key (night, step, pool, attempt), so that a night which was broken off
finds the step it started before, waits for it and never starts it twice. A step whose process died is started again, a
step that failed ends the night, and one that finds no place in time is taken back and tried on its next pool. The
parent hands on the night's key and reads the outcome from the store: no result crosses machines. Limits: a step that is
taken back is cancelled while it still waits; one that starts in that very moment is left alone and waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from flows.deployed import patiently
from flows.night import Night
from infra.errors import NightshiftError
from infra.progress import emit

CRASHES = 3  # of one step in one night; then something is wrong that another start does not mend
POLL_SECONDS = 2.0

Phase = Literal["waiting", "running", "completed", "crashed", "failed"]


@dataclass(frozen=True, slots=True)
class Seen:
    """How a dispatched run stands; `message` is what its state says."""

    phase: Phase
    message: str = ""


class Runs(Protocol):
    """The Prefect server, as far as this needs it."""

    def start(self, step: str, pool: str, night: str, key: str) -> str:
        """The id of the run with this idempotency key, started now or before."""

    def look(self, run: str) -> Seen:
        """How the run stands."""

    def take_back(self, run: str) -> bool:
        """Cancel a run that waits; False when it does not wait any more."""


def run_step(night: Night, step: str, flow: Callable[[str], Any]) -> None:
    """Run one step of the night to its end, here or on its pool as NIGHTSHIFT_DISPATCH says."""
    if night.settings.dispatch == "here":
        flow(night.id)
        return
    infra = night.recipe.infra
    dispatch(PrefectRuns(), step, infra.pools(step), night.id, infra.patience_minutes * 60)


def dispatch(
    runs: Runs,
    step: str,
    pools: tuple[str, ...],
    night: str,
    patience: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Have the step run on the first of `pools` with a place within `patience` seconds; the last one is waited for.

    Raises NightshiftError when the step fails, or dies for the third time.
    """
    crashes, attempt, place = 0, 1, 0
    while True:
        pool = pools[place]
        run = runs.start(step, pool, night, f"{night}-{step}-{pool}-{attempt}")
        seen = runs.look(run)
        # A run found ended is of an earlier life of this night. Its step gets another attempt, which is a matter of
        # seconds where the store holds what it left, and right where that does not count any more (a new champion).
        if seen.phase not in ("waiting", "running"):
            attempt += 1
            continue
        emit(step, f"on {pool}", 0, 1)
        since = clock()
        while seen.phase in ("waiting", "running"):
            last = place == len(pools) - 1
            if seen.phase == "waiting" and not last and clock() - since > patience and runs.take_back(run):
                break
            sleep(POLL_SECONDS)
            seen = runs.look(run)
        if seen.phase == "completed":
            emit(step, f"on {pool}", 1, 1)
            return
        if seen.phase == "failed":
            raise NightshiftError(f"{step} failed on {pool}: {seen.message}")
        if seen.phase == "crashed":
            crashes += 1
            if crashes == CRASHES:
                raise NightshiftError(f"{step} died {crashes} times, last on {pool}: {seen.message}")
            attempt += 1
        else:
            emit(step, f"no place on {pool} within {patience / 60:.0f} min", 0, 1)
            place += 1


class PrefectRuns:
    """Runs of deployments named `<step>/<step>-<pool>`, as subflows of the flow run that asks.

    `parameter` is the flow's one parameter, what is run: a night, or a trial.
    """

    def __init__(self, parameter: str = "night") -> None:
        self.parameter = parameter

    def start(self, step: str, pool: str, night: str, key: str) -> str:
        from prefect.deployments import run_deployment
        from prefect.exceptions import ObjectNotFound

        name = f"{step}/{step}-{pool}"

        def begin() -> Any:
            return run_deployment(name, parameters={self.parameter: night}, timeout=0, idempotency_key=key)

        try:
            return str(patiently(begin).id)
        except ObjectNotFound:
            raise NightshiftError(f"the Prefect server has no deployment {name}; run nightshift deploy") from None

    def look(self, run: str) -> Seen:
        from prefect.client.orchestration import get_client

        def read() -> Any:
            with get_client(sync_client=True) as client:
                return client.read_flow_run(_uuid(run)).state

        state = patiently(read)
        return Seen("waiting") if state is None else Seen(_phase(state), state.message or state.name or "")

    def take_back(self, run: str) -> bool:
        from prefect.client.orchestration import get_client
        from prefect.states import Cancelled

        with get_client(sync_client=True) as client:
            state = client.read_flow_run(_uuid(run)).state
            if state is None or not state.is_scheduled():
                return False
            answer = client.set_flow_run_state(_uuid(run), Cancelled(message="no place in time; another pool is tried"))
            return answer.status.value == "ACCEPT"


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


def _phase(state: Any) -> Phase:
    if state.is_completed():
        return "completed"
    if state.is_crashed():
        return "crashed"
    if state.is_final():
        return "failed"
    return "waiting" if state.is_scheduled() else "running"
