"""Prefect's API for a command: a server of its own starts beside the imports, one that is named is used as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings, temporary_settings

from flows import embedded
from flows.embedded import prefect_api


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Says what happens instead of a server's start; nothing is imported but what the test names."""
    monkeypatch.setattr(embedded, "NEEDED", ())
    monkeypatch.setattr(embedded, "SPAWN_SECONDS", 0.0)  # there is no process to wait for
    return lambda start: monkeypatch.setattr(SubprocessASGIServer, "start", lambda _: start())


def test_modules_are_imported_while_the_server_starts(
    started: Callable[[Callable[[], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported, told = threading.Event(), []
    monkeypatch.setattr(embedded, "NEEDED", ("this",))
    monkeypatch.setattr(embedded, "import_module", lambda name: (told.append(name), imported.set()))
    started(lambda: told.append("server") if imported.wait(30) else None)
    with prefect_api("flows.retrain"):
        assert told[0] == "flows.retrain"
        assert "server" in told  # it answers before the flow is called


def test_what_is_not_imported_when_the_server_answers_waits_until_it_is_needed(
    started: Callable[[Callable[[], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "NEEDED", ("this",))
    began, told = threading.Event(), []
    started(lambda: began.wait(30) and None)

    def import_slowly(name: str) -> None:
        told.append(name)
        began.set()
        for thread in threading.enumerate():
            if thread.name == "prefect-server":
                thread.join(30)

    monkeypatch.setattr(embedded, "import_module", import_slowly)
    with prefect_api("flows.retrain"):
        assert told == ["flows.retrain"]


def test_what_keeps_the_server_from_starting_is_raised(started: Callable[[Callable[[], None]], None]) -> None:
    def fail() -> None:
        raise RuntimeError("no port is free")

    started(fail)
    with pytest.raises(RuntimeError, match="no port is free"), prefect_api("json"):
        pytest.fail("there is no API to work with")


def test_a_server_of_its_own_hears_no_heartbeats_unless_somebody_asked_for_them(
    started: Callable[[Callable[[], None]], None],
) -> None:
    seen = []
    started(lambda: seen.append(get_current_settings().server.register_blocks_on_start))
    with prefect_api("json"):
        assert get_current_settings().flows.heartbeat_frequency is None
    assert seen == [False]  # the server inherits it
    with temporary_settings({"flows.heartbeat_frequency": 40}), prefect_api("json"):
        assert get_current_settings().flows.heartbeat_frequency == 40


def test_a_named_server_is_used_as_it_is(started: Callable[[Callable[[], None]], None]) -> None:
    started(lambda: pytest.fail("one is named"))
    before = get_current_settings().flows.heartbeat_frequency
    with temporary_settings({"api.url": "http://127.0.0.1:4200/api"}), prefect_api("json"):
        assert get_current_settings().flows.heartbeat_frequency == before is not None
