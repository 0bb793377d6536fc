"""Wrong answers from a chat-completions server: retried, resumable, and the key goes nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.errors import NightshiftError, UserError
from tasks.data.example import Example
from tasks.training.endpoint import Endpoint
from tasks.training.specs.pairs import EndpointSpec

DDL = "CREATE TABLE cars (id INTEGER, name TEXT)"
ROWS = [Example(f"r{i}", "cars", f"Car {i}?", DDL, f"SELECT name FROM cars WHERE id = {i}") for i in range(6)]

Answer = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], dict[str, Any]]]


class Server:
    """A chat-completions server on 127.0.0.1; `answer(number, body)` gives status, headers and content."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[tuple[dict[str, Any], str]] = []
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.requests.append((body, self.headers.get("Authorization", "")))
                    number = len(outer.requests)
                status, headers, content = answer(number, body)
                payload = json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def says(text: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    return 200, {}, {"choices": [{"message": {"content": text}}]}


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    started: list[Server] = []

    def start(answer: Answer) -> Server:
        started.append(Server(answer))
        return started[-1]

    yield start
    for server in started:
        server.close()


def endpoint(server: Server, answers: Path, waits: list[float] | None = None, **more: Any) -> Endpoint:
    spec = EndpointSpec(url=server.url, **{"models": ("small", "large"), "workers": 1} | more)
    return Endpoint(spec, answers, key="secret", sleep=(waits if waits is not None else []).append)


def test_models_take_turns_and_answers_are_extracted(serve: Callable[[Answer], Server], tmp_path: Path) -> None:
    server = serve(lambda n, body: says("```sql\nSELECT id FROM cars;\n```"))
    found = endpoint(server, tmp_path / "a.jsonl").propose(ROWS)
    assert [[c.sql for c in one] for one in found] == [["SELECT id FROM cars"]] * 6
    assert {one[0].maker for one in found} == {"endpoint:small", "endpoint:large"}
    body, authorization = server.requests[0]
    assert authorization == "Bearer secret"
    told = body["messages"][1]["content"]
    assert DDL in told
    assert "Car 0?" in told
    assert ROWS[0].sql in told


def test_refusals_are_tried_again_after_the_wait_the_server_names(
    serve: Callable[[Answer], Server], tmp_path: Path
) -> None:
    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        if number == 1:
            return 429, {"Retry-After": "7"}, {}
        return (503, {}, {}) if number in (2, 3) else says("SELECT id FROM cars")

    waits: list[float] = []
    server = serve(answer)
    endpoint(server, tmp_path / "a.jsonl", waits, models=("small",)).propose(ROWS[:1])
    assert waits == [7, 10, 20]  # named by the server, then 5 s doubled
    assert len(server.requests) == 4


def test_a_model_at_its_daily_limit_is_given_up_and_the_next_one_asked(
    serve: Callable[[Answer], Server], tmp_path: Path
) -> None:
    server = serve(lambda n, b: (429, {"Retry-After": "3600"}, {}) if b["model"] == "small" else says("SELECT 1"))
    found = endpoint(server, tmp_path / "a.jsonl").propose(ROWS)
    assert {one[0].maker for one in found} == {"endpoint:large"}
    assert sum(body["model"] == "small" for body, _ in server.requests) == 1


def test_a_run_that_broke_off_asks_for_the_missing_answers_alone(
    serve: Callable[[Answer], Server], tmp_path: Path
) -> None:
    server = serve(lambda n, body: says("SELECT id FROM cars") if n <= 3 else (500, {}, {}))
    answers = tmp_path / "a.jsonl"
    with pytest.raises(NightshiftError, match=r"no model answers .*HTTP 500.* run again"):
        endpoint(server, answers, models=("small",), attempts=2).propose(ROWS)
    with answers.open("a") as handle:
        handle.write('{"id": "r3", "sq')  # the process died here
    healthy = serve(lambda n, body: says("SELECT name FROM cars"))
    found = endpoint(healthy, answers).propose(ROWS)
    assert len(healthy.requests) == 3
    assert [one[0].sql for one in found] == ["SELECT id FROM cars"] * 3 + ["SELECT name FROM cars"] * 3
    assert len(endpoint(healthy, answers).propose(ROWS)) == 6
    assert len(healthy.requests) == 3


@pytest.mark.parametrize(("status", "message"), [(401, "NIGHTSHIFT_ENDPOINT_KEY"), (404, "check url and models")])
def test_what_no_retry_mends_is_said_at_once(
    serve: Callable[[Answer], Server], tmp_path: Path, status: int, message: str
) -> None:
    server = serve(lambda n, body: (status, {}, {}))
    with pytest.raises(UserError, match=message):
        endpoint(server, tmp_path / "a.jsonl").propose(ROWS[:1])
    assert len(server.requests) == 1


def test_the_key_is_not_carried_to_another_address(serve: Callable[[Answer], Server], tmp_path: Path) -> None:
    other = serve(lambda n, body: says("SELECT 1"))
    server = serve(lambda n, body: (302, {"Location": f"{other.url}/chat/completions"}, {}))
    with pytest.raises(UserError, match="HTTP 302"):
        endpoint(server, tmp_path / "a.jsonl").propose(ROWS[:1])
    assert other.requests == []
