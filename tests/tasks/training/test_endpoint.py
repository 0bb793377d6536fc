"""Wrong answers from a chat-completions server: retried and resumable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.errors import NightshiftError, UserError
from tasks.data.example import Example
from tasks.models.completions import KEY
from tasks.training.endpoint import Endpoint
from tasks.training.specs.pairs import EndpointSpec
from tests.chat_server import ChatServer

DDL = "CREATE TABLE cars (id INTEGER, name TEXT)"
ROWS = [Example(f"r{i}", "cars", f"Car {i}?", DDL, f"SELECT name FROM cars WHERE id = {i}") for i in range(6)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv(KEY, "secret")
    with ChatServer() as made:
        made.reply = lambda request: "SELECT id FROM cars"
        yield made


def endpoint(server: ChatServer, answers: Path, waits: list[float] | None = None, **more: Any) -> Endpoint:
    spec = EndpointSpec(url=server.url, **{"models": ("small", "large"), "workers": 1} | more)
    return Endpoint(spec, answers, sleep=(waits if waits is not None else []).append)


def test_models_take_turns_and_answers_are_extracted(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request: "```sql\nSELECT id FROM cars;\n```"
    found = endpoint(server, tmp_path / "a.jsonl").propose(ROWS)
    assert [[c.sql for c in one] for one in found] == [["SELECT id FROM cars"]] * 6
    assert {one[0].maker for one in found} == {"endpoint:small", "endpoint:large"}
    request = server.requests[0]
    assert request["key"] == "Bearer secret"
    told = request["messages"][1]["content"]
    assert DDL in told
    assert "Car 0?" in told
    assert ROWS[0].sql in told


def test_refusals_are_tried_again_after_the_wait_the_server_names(server: ChatServer, tmp_path: Path) -> None:
    replies = [(429, "", {"retry-after": "7"}), (503, "", {}), (503, "", {}), "SELECT id FROM cars"]
    server.reply = lambda request: replies.pop(0)
    waits: list[float] = []
    endpoint(server, tmp_path / "a.jsonl", waits, models=("small",)).propose(ROWS[:1])
    assert waits == [7, 10, 20]  # named by the server, then 5 s doubled
    assert len(server.requests) == 4


def test_a_model_at_its_daily_limit_is_given_up_and_the_next_one_asked(server: ChatServer, tmp_path: Path) -> None:
    limit = (429, "", {"retry-after": "3600"})
    server.reply = lambda request: limit if request["model"] == "small" else "SELECT 1"
    found = endpoint(server, tmp_path / "a.jsonl").propose(ROWS)
    assert {one[0].maker for one in found} == {"endpoint:large"}
    assert sum(request["model"] == "small" for request in server.requests) == 1


def test_a_run_that_broke_off_asks_for_the_missing_answers_alone(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request: "SELECT id FROM cars" if len(server.requests) <= 3 else (500, "", {})
    answers = tmp_path / "a.jsonl"
    with pytest.raises(NightshiftError, match=r"no model answers .*500 .* run again"):
        endpoint(server, answers, models=("small",), attempts=2).propose(ROWS)
    with answers.open("a") as handle:
        handle.write('{"id": "r3", "sq')  # the process died here
    server.requests.clear()
    server.reply = lambda request: "SELECT name FROM cars"
    found = endpoint(server, answers).propose(ROWS)
    assert len(server.requests) == 3
    assert [one[0].sql for one in found] == ["SELECT id FROM cars"] * 3 + ["SELECT name FROM cars"] * 3
    assert len(endpoint(server, answers).propose(ROWS)) == 6
    assert len(server.requests) == 3


def test_what_no_retry_mends_is_said_at_once(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request: (401, "", {})
    with pytest.raises(UserError, match=KEY):
        endpoint(server, tmp_path / "a.jsonl").propose(ROWS[:1])
    assert len(server.requests) == 1
