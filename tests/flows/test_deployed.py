"""A night followed from elsewhere: its own document, or why there is none; a server that is away is waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.states import Completed, Crashed, Failed, Running, State

from flows import deployed
from flows.cli.nights import EXIT_CODES
from infra.errors import NightshiftError

DOCUMENT = {"outcome": "promoted", "reason": "all gates passed", "text": "``` and 'quotes'"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A run that goes through `states`, one a look, and the document it left."""
    now = SimpleNamespace(states=[], document=None, seconds=0.0)

    def read(_: str) -> Any:
        state = now.states.pop(0) if len(now.states) > 1 else now.states[0]
        if isinstance(state, Exception):
            raise state
        return SimpleNamespace(state=state)

    def sleep(seconds: float) -> None:
        now.seconds += seconds

    monkeypatch.setattr(deployed, "_read", read)
    monkeypatch.setattr(deployed, "_children", lambda _: [])
    monkeypatch.setattr(deployed, "_outcome", lambda _: now.document)
    monkeypatch.setattr(deployed, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now.seconds))
    return now


def states(server: SimpleNamespace, *states: State | Exception) -> dict[str, Any]:
    server.states = list(states)
    return deployed.follow("run", "tiny")


def test_a_document_survives_the_artifact() -> None:
    assert deployed.from_artifact(deployed.as_artifact(DOCUMENT)) == DOCUMENT


def test_the_runs_own_document_is_the_outcome(server: SimpleNamespace) -> None:
    server.document = DOCUMENT
    assert states(server, Running(), Running(), Completed(name="Promoted")) == DOCUMENT
    server.document = {"outcome": "data_rejected"}
    assert states(server, Failed(name="DataRejected"))["outcome"] == "data_rejected"


def test_a_night_that_failed_says_why_with_the_exit_code_of_failure(server: SimpleNamespace) -> None:
    told = states(server, Running(), Failed(message="train failed on gpu-l4: no space"))
    assert (told["outcome"], told["reason"]) == ("failed", "train failed on gpu-l4: no space")
    assert EXIT_CODES[told["outcome"]] == 1


def test_a_crashed_night_is_given_time_to_come_back(server: SimpleNamespace) -> None:
    server.document = DOCUMENT
    assert states(server, Running(), Crashed(), Crashed(), Running(), Completed()) == DOCUMENT
    server.document, server.seconds = None, 0.0
    told = states(server, Running(), Crashed(message="killed"))
    assert (told["outcome"], told["reason"]) == ("failed", "the run crashed: killed")
    assert server.seconds >= deployed.REVIVAL_SECONDS


def answer(code: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError(str(code), request=httpx.Request("GET", "http://x"), response=httpx.Response(code))


def test_a_server_that_is_away_is_waited_for_and_a_refusal_is_not(server: SimpleNamespace) -> None:
    server.document = DOCUMENT
    assert states(server, httpx.ConnectError("away"), answer(500), answer(503), Completed()) == DOCUMENT
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        states(server, answer(404))
    with pytest.raises(httpx.ConnectError):
        states(server, httpx.ConnectError("away"))
    assert server.seconds >= deployed.OUTAGE_SECONDS


def test_without_the_deployment_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import prefect.deployments
    from prefect.exceptions import ObjectNotFound

    def missing(*_: Any, **__: Any) -> None:
        raise ObjectNotFound(Exception("none"))

    monkeypatch.setattr(prefect.deployments, "run_deployment", missing)
    with pytest.raises(NightshiftError, match="run nightshift deploy"):
        deployed.start({})
