"""A local server that speaks OpenAI's protocol: what it is sent, what is tried again, what ends a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.errors import NightshiftError, UserError
from tasks.data.dataset import write_examples
from tasks.data.example import Example
from tasks.data.prompts import PromptSpec
from tasks.models import endpoint
from tasks.models.answers import partial_of
from tasks.models.endpoint import KEY, EndpointSpec
from tasks.models.job import GenerationJob, SubjectJob
from tasks.models.session import run
from tests.chat_server import ChatServer

DDL = "CREATE TABLE cars (id INTEGER, name TEXT)"
ROWS = "INSERT INTO cars VALUES (1, 'Fiat')"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setattr(endpoint, "_FIRST_PAUSE", 0.01)
    monkeypatch.delenv(KEY, raising=False)
    with ChatServer() as made:
        yield made


def ask(
    server: ChatServer, folder: Path, rows: int = 1, prompt: PromptSpec | None = None, **more: Any
) -> list[dict[str, Any]]:
    """Predictions of a whole generation job against the server."""
    examples = [Example(str(i), "cars", f"How many cars{'?' * i}", DDL, "", setup=ROWS) for i in range(rows)]
    write_examples(folder / "test.jsonl", examples)
    spec = EndpointSpec(url=server.url, model="m", **{k: more.pop(k) for k in ("tries", "concurrency") if k in more})
    subject = SubjectJob(
        role="base",
        endpoint=spec,
        prompt=prompt or PromptSpec(),
        demonstrations=more.pop("shots", 0),
        output="p.jsonl",
    )
    job = GenerationJob(
        examples=str(folder / "test.jsonl"), subjects=(subject,), max_new_tokens=7, batch_size=2, workers=1, **more
    )
    (folder / "job.json").write_text(job.model_dump_json())
    run(folder / "job.json")
    return [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]


def test_a_chat_goes_as_messages_with_the_key_of_the_environment(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    [row] = ask(server, tmp_path)
    assert (row["prediction"], row["tokens"]) == ("SELECT 1", 3)
    assert row["seconds"] > 0
    [request] = server.requests
    assert (request["path"], request["key"]) == ("/v1/chat/completions", "Bearer secret")
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("m", 0, 7)
    assert request["messages"] == [
        {"role": "system", "content": PromptSpec().system},
        {"role": "user", "content": "cars(id, name)\n\nHow many cars"},
    ]
    assert "secret" not in (tmp_path / "job.json").read_text()


def test_a_text_format_goes_as_it_is(server: ChatServer, tmp_path: Path) -> None:
    ask(server, tmp_path, prompt=PromptSpec(format="plain"))
    [request] = server.requests
    assert (request["path"], request["key"]) == ("/v1/completions", None)
    assert request["prompt"] == "cars(id, name)\n\nQuestion: How many cars\nSQL:\n"


def test_what_may_pass_is_tried_again(server: ChatServer, tmp_path: Path) -> None:
    replies = [(503, "starting", {}), (429, "{}", {"retry-after": "0.01"}), (500, "", {}), "SELECT 2"]
    server.reply = lambda request: replies.pop(0)
    assert ask(server, tmp_path)[0]["prediction"] == "SELECT 2"
    assert len(server.requests) == 4


def test_questions_are_in_flight_together_and_never_more_than_allowed(server: ChatServer, tmp_path: Path) -> None:
    def reply(request: dict[str, Any]) -> str:
        time.sleep(0.05)
        return request["messages"][1]["content"].rpartition("\n")[2]

    server.reply = reply
    rows = ask(server, tmp_path, rows=12, concurrency=4)
    assert [row["prediction"] for row in rows] == [f"How many cars{'?' * i}" for i in range(12)]
    assert 1 < server.most_busy <= 4


@pytest.mark.parametrize(
    ("reply", "error", "told"),
    [
        ((401, '{"error": {"message": "bad key"}}', {}), UserError, rf"401 bad key; put the key into {KEY}"),
        ((404, '{"detail": "no such model"}', {}), UserError, "no such model; is /v1 missing"),
        ((400, '{"message": "too long"}', {}), UserError, "400 too long"),
        ((200, "<html>", {}), NightshiftError, "something else than JSON"),
        ((200, '{"choices": []}', {}), NightshiftError, "without choices"),
        ((302, "", {"location": "http://127.0.0.1:9/"}), UserError, "302"),
        ((500, "out of\nmemory", {}), NightshiftError, r"500 out of memory \(2 tries\); answers so far are kept"),
    ],
)
def test_what_does_not_pass_is_one_clear_line(
    server: ChatServer, tmp_path: Path, reply: Any, error: type[Exception], told: str
) -> None:
    server.reply = lambda request: reply
    with pytest.raises(error, match=told) as caught:
        ask(server, tmp_path, tries=2)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == (2 if reply[0] == 500 else 1)


def test_a_server_that_is_gone_is_one_clear_line(server: ChatServer, tmp_path: Path) -> None:
    server.http.server_close()
    with pytest.raises(NightshiftError, match=r"/chat/completions: .* \(2 tries\)"):
        ask(server, tmp_path, tries=2)


def test_answers_so_far_are_kept_when_the_server_fails(server: ChatServer, tmp_path: Path) -> None:
    # The longest question goes first: three are answered before one is refused.
    server.reply = lambda request: "SELECT 1" if str(request["messages"]).count("?") >= 3 else (400, "no more", {})
    with pytest.raises(UserError, match="no more"):
        ask(server, tmp_path, rows=6, concurrency=2)
    kept = len(partial_of(tmp_path / "p.jsonl").read_text().splitlines())
    assert kept == 3
    server.requests.clear()
    server.reply = lambda request: "SELECT 2"
    answers = [row["prediction"] for row in ask(server, tmp_path, rows=6, concurrency=2)]
    assert sorted(answers) == ["SELECT 1"] * 3 + ["SELECT 2"] * 3
    assert len(server.requests) == 3


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://user:key@host/v1", "ftp://host", "http://host/v1?key=x"])
def test_addresses_that_are_none_or_hold_secrets_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"such as http://|holds no secret"):
        EndpointSpec(url=url, model="m")


def test_an_answer_that_does_not_run_is_corrected_with_the_databases_words(server: ChatServer, tmp_path: Path) -> None:
    def reply(request: dict[str, Any]) -> str:
        asked = request["messages"][1]["content"]
        if "This query does not run: SELECT age FROM cars" in asked:
            return "SELECT name FROM cars"
        return "SELECT age FROM cars"

    server.reply = reply
    [row] = ask(server, tmp_path, corrections=3)
    assert (row["prediction"], row["tries"], row["tokens"]) == ("SELECT name FROM cars", 2, 6)
    asked = server.requests[1]["messages"][1]["content"]
    assert "no such column: age" in asked
    assert asked.startswith("cars(id, name)\n\nHow many cars\n")


def test_corrections_end_by_number_and_with_one_who_repeats_himself(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request: f"SELECT wrong{len(server.requests)} FROM cars"
    (tmp_path / "a").mkdir()
    assert ask(server, tmp_path / "a", corrections=3)[0]["tries"] == 4
    server.requests.clear()
    server.reply = lambda request: "SELECT wrong FROM cars"
    (tmp_path / "b").mkdir()
    assert ask(server, tmp_path / "b", corrections=3)[0]["tries"] == 2
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", ["SELECT 'wrong, but it runs'", "DELETE FROM cars", "SELECT name FROM cars WHERE 0"])
def test_what_runs_or_may_be_meant_is_not_corrected(server: ChatServer, tmp_path: Path, answer: str) -> None:
    """No verdict reaches the model: only that a query cannot run is told."""
    server.reply = lambda request: answer
    assert ask(server, tmp_path, corrections=3)[0]["tries"] == 1
    assert len(server.requests) == 1


def test_examples_are_shown_as_turns_and_counted(server: ChatServer, tmp_path: Path) -> None:
    train = [Example("x", "a", "How many songs?", "CREATE TABLE song (title TEXT)", "SELECT count(*) FROM song")]
    write_examples(tmp_path / "shown.jsonl", train)
    [row] = ask(server, tmp_path, shots=2, demonstrations=str(tmp_path / "shown.jsonl"))
    assert row["shown"] == 1
    [request] = server.requests
    assert [turn["content"] for turn in request["messages"][1:]] == [
        "song(title)\n\nHow many songs?",
        "SELECT count(*) FROM song",
        "cars(id, name)\n\nHow many cars",
    ]


def test_shots_that_never_fit_are_an_error_and_not_left_out_in_silence(server: ChatServer, tmp_path: Path) -> None:
    train = [Example("x", "a", "How many? " * 200, "CREATE TABLE song (title TEXT)", "SELECT count(*) FROM song")]
    write_examples(tmp_path / "shown.jsonl", train)
    with pytest.raises(UserError, match=r"raise prompt\.max_tokens"):
        ask(server, tmp_path, shots=1, demonstrations=str(tmp_path / "shown.jsonl"))
    assert server.requests == []


def test_samples_are_drawn_each_with_a_seed_and_count_in_no_cost(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda request: f"SELECT {request['seed']}" if request["temperature"] else "SELECT 'greedy'"
    rows = ask(server, tmp_path, rows=2, samples=3, temperature=0.5)
    assert [(r["prediction"], r["tokens"]) for r in rows] == [("SELECT 'greedy'", 3)] * 2
    assert [r["samples"] for r in rows] == [["SELECT 0", "SELECT 1", "SELECT 2"]] * 2
    assert sorted(r["temperature"] for r in server.requests) == [0] * 2 + [0.5] * 6
