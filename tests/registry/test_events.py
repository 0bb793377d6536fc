"""What is told to Prefect: each change of Production and each rejection, once, with an id that repetitions share."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from registry.events import announce
from registry.promotion import reject, rollback


@pytest.fixture
def told(monkeypatch):
    found = []

    def emit(event, resource, **more):
        found.append({"event": event, "resource": resource, **more})

    monkeypatch.setattr("prefect.events.emit_event", emit)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        yield found


def test_promoted_rejected_and_rolled_back_are_news(world, told):
    first = world.next("n1")
    world.next("n2")
    candidate = world.register("n3")
    reject(world.name, candidate.version, world.verdict(candidate, "fail"), "too slow")
    rollback(world.store, world.name, None, "ada", "wrong dates")
    world.project()
    news = [(one["event"], one["resource"]["nightshift.version"], one["payload"]["reason"]) for one in told]
    assert news == [
        ("nightshift.promoted", "1", "gates passed"),
        ("nightshift.promoted", "2", "gates passed"),
        ("nightshift.rejected", "3", "too slow"),
        ("nightshift.rolled-back", "1", "wrong dates"),
    ]
    assert {one["resource"]["prefect.resource.id"] for one in told} == {f"nightshift.release.{world.name}"}
    assert told[0]["payload"]["hash"] == first.hash
    assert len({one["id"] for one in told}) == 4


def test_what_is_told_again_after_a_crash_has_the_id_it_had(told):
    for key in ("hash", "hash", "other"):
        announce("promoted", "r", "1", key, {"reason": "x"}, "2026-03-04T03:12:59+00:00")
    assert told[0] == told[1]
    assert told[0]["id"] != told[2]["id"]


def test_without_a_server_nothing_is_sent(world, monkeypatch):
    monkeypatch.setattr("prefect.events.emit_event", lambda *_, **__: pytest.fail("nobody listens"))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert world.next("n1").number == 1
