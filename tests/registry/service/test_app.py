"""The HTTP service: what it answers, whom it refuses, and what becomes of feedback."""

from __future__ import annotations

import base64
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import UserError
from registry.service.access import Access, access_from_environment
from registry.service.app import Databases
from tasks.data.feedback import Feedback, read_feedback, trusted
from tasks.sql.databases import SqliteFile
from tests.registry.service.conftest import ADA, TOKEN

SCRIPT = "CREATE TABLE cars (id INTEGER, name TEXT); INSERT INTO cars VALUES (1, 'Fiat'), (2, NULL);"
PATHS = ("/", "/health", "/release", "/databases", "/metrics", "/openapi.json")


@pytest.fixture
def cars(tmp_path):
    path = tmp_path / "cars.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(SCRIPT)
    connection.close()
    return SqliteFile(path)


def test_a_database_by_name_and_a_pasted_schema(world, cars):
    world.start()
    client = world.client({"cars": cars})
    sql = "SELECT name FROM cars ORDER BY id"
    for place in ({"database": "cars"}, {"schema": SCRIPT}):
        answer = client.post("/ask", json={"question": sql, "explain": True} | place)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert (document["sql"], document["valid"], document["status"], document["version"]) == (sql, True, "ok", "1")
        assert (document["columns"], document["rows"], document["row_count"]) == (["name"], [["Fiat"], [None]], 2)
        assert document["explanation"] == ["reads cars", "sorts by id, lowest first", "shows name"]
        assert document["plan"][0] == "SCAN cars"
    assert client.get("/databases").json()[0]["schema"].startswith("CREATE TABLE cars")
    # The model may look at the values of either.
    named, pasted = world.writers["1"].databases
    assert named is cars
    assert world.writers["1"].looked == [named, pasted]
    assert pasted.setup == "INSERT INTO cars VALUES (1, 'Fiat'), (2, NULL);"


def test_sql_is_written_but_not_run_when_so_asked(world):
    world.start()
    document = world.client().post("/ask", json={"question": "q", "schema": SCRIPT, "run": False}).json()
    assert (document["valid"], document["status"], document["rows"]) == (True, None, [])


def test_sql_that_changes_or_fails_says_so_and_changes_nothing(world, cars):
    world.start()
    client = world.client({"cars": cars})
    before = cars.path.read_bytes()
    for sql, status in (
        ("SELECT nope FROM cars", "schema_error"),
        ("SELECT 1; DELETE FROM cars", "multiple_statements"),
    ):
        document = client.post("/ask", json={"question": sql, "database": "cars"}).json()
        assert (document["valid"], document["status"], document["rows"]) == (False, status, [])
        assert document["message"]
    assert cars.path.read_bytes() == before


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"question": "q"}, "database or schema"),
        ({"question": " ", "schema": SCRIPT}, "empty"),
        ({"question": "q", "schema": SCRIPT, "database": "cars"}, "database or schema"),
        ({"question": "q", "database": "../../etc/passwd"}, "no database"),
        ({"question": "q", "schema": "hello"}, "schema"),
        ({"question": "q" * 3000, "schema": SCRIPT}, "2000"),
        ({"question": "q", "schema": SCRIPT, "nonsense": 1}, "Extra inputs"),
    ],
)
def test_bad_requests_are_422_and_say_why(world, body, told):
    world.start()
    answer = world.client().post("/ask", json=body)
    assert answer.status_code == 422
    assert told in answer.text


def test_a_batch_is_answered_in_order_by_one_version(world):
    world.start()
    questions = [{"question": f"SELECT {n}", "schema": SCRIPT} for n in range(20)]
    answers = world.client().post("/batch", json={"questions": questions}).json()["answers"]
    assert [answer["rows"] for answer in answers] == [[[n]] for n in range(20)]
    assert {answer["version"] for answer in answers} == {"1"}
    assert world.client().post("/batch", json={"questions": []}).status_code == 422


def test_health_release_and_metrics_tell_what_serves(world):
    world.start()
    client = world.client()
    client.post("/ask", json={"question": "SELECT 1", "schema": SCRIPT})
    client.post("/ask", json={"question": "SELECT nope", "schema": SCRIPT})
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/release").json()["entry"]["number"] == 1
    text = client.get("/metrics").text
    assert 'nightshift_answers_total{outcome="valid",version="1"} 1.0' in text
    assert 'nightshift_answers_total{outcome="invalid",version="1"} 1.0' in text
    assert 'nightshift_serving_info{release="text2sql",version="1"} 1.0' in text
    assert {"/ask", "/batch", "/feedback", "/health"} <= set(client.get("/openapi.json").json()["paths"])


def test_the_page_needs_nothing_from_elsewhere(world):
    world.start()
    answer = world.client().get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# ---- who may ask ----


def test_with_a_token_every_path_needs_one(world):
    world.start()
    client = world.client(access=Access(TOKEN, {"ada": ADA}))
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    for path in (*PATHS, "/nothing"):
        assert client.get(path).status_code == 401, path
        assert client.get(path, headers={"authorization": "Bearer wrong-token-123"}).status_code == 401
    for header in (f"Bearer {TOKEN}", f"Basic {basic}", f"Bearer {ADA}"):
        for path in PATHS:
            assert client.get(path, headers={"authorization": header, "host": "example.org"}).status_code == 200
    assert client.post("/ask", json={"question": "q", "schema": SCRIPT}).status_code == 401


def test_without_a_token_only_loopback_names_are_served(world):
    world.start()
    client = world.client()
    for host, status in (("localhost:8080", 200), ("[::1]:8080", 200), ("127.0.0.1", 200), ("evil.example", 403)):
        assert client.get("/health", headers={"host": host}).status_code == status


def test_only_json_of_a_known_and_modest_length_is_read(world):
    world.start()
    client = world.client()
    body = b'{"question": "q", "schema": "CREATE TABLE t (a)"}'
    assert client.post("/ask", content=body, headers={"content-type": "text/plain"}).status_code == 415
    large = b" " * (3 << 20)
    assert client.post("/ask", content=large, headers={"content-type": "application/json"}).status_code == 413
    chunks = client.post("/ask", content=iter([body]), headers={"content-type": "application/json"})
    assert chunks.status_code == 411


def test_beyond_loopback_a_token_is_needed_to_start(monkeypatch):
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        monkeypatch.delenv("NIGHTSHIFT_SERVE_TOKEN", raising=False)
        with pytest.raises(UserError, match="beyond this machine"):
            access_from_environment(host)
        monkeypatch.setenv("NIGHTSHIFT_SERVE_TOKEN", "short")
        with pytest.raises(UserError, match="at least"):
            access_from_environment(host)
        monkeypatch.setenv("NIGHTSHIFT_SERVE_TOKEN", TOKEN)
        assert access_from_environment(host).guarded
    monkeypatch.delenv("NIGHTSHIFT_SERVE_TOKEN")
    assert not access_from_environment("127.0.0.1").guarded


# ---- feedback ----


def judge(client, world, headers=None, **body):
    answer = client.post("/ask", json={"question": "SELECT 1", "schema": SCRIPT}).json()
    return client.post("/feedback", json={"answer_id": answer["answer_id"]} | body, headers=headers or {})


def test_an_opinion_is_kept_and_never_trusted(world):
    world.start()
    client = world.client()
    sent = judge(client, world, verdict="right")
    assert (sent.status_code, sent.json()["reviewer"]) == (201, "")
    [(_, record)] = list(read_feedback(world.feedback))
    assert isinstance(record, Feedback)
    assert (record.sql, record.version, record.reviewer) == ("SELECT 1", "1", "")
    assert record.setup.startswith("INSERT")
    assert not trusted(record, {"ada": ADA})


def test_a_reviewers_token_signs_and_a_wrong_one_is_refused(world):
    world.start()
    client = world.client()
    correction = {"verdict": "wrong", "corrected_sql": "SELECT count(*) FROM cars;"}
    assert judge(client, world, {"x-reviewer-token": "guessed-token-1"}, **correction).status_code == 401
    assert list(read_feedback(world.feedback)) == []
    assert judge(client, world, {"x-reviewer-token": ADA}, **correction).json()["reviewer"] == "ada"
    [(_, record)] = list(read_feedback(world.feedback))
    assert trusted(record, {"ada": ADA})
    assert record.corrected_sql == "SELECT count(*) FROM cars"


@pytest.mark.parametrize(
    "sql", ["SELECT nope FROM cars", "DELETE FROM cars", "SELECT 1; SELECT 2", "hello", "SELECT 1"]
)
def test_a_correction_must_be_another_query_over_the_schema(world, sql):
    world.start()
    sent = judge(world.client(), world, verdict="wrong", corrected_sql=sql)
    assert sent.status_code == 422
    assert list(read_feedback(world.feedback)) == []


def test_the_same_opinion_twice_is_one_and_an_unknown_answer_is_404(world):
    world.start()
    client = world.client()
    answer = client.post("/ask", json={"question": "SELECT 1", "schema": SCRIPT}).json()
    body = {"answer_id": answer["answer_id"], "verdict": "wrong"}
    assert [client.post("/feedback", json=body).json()["new"] for _ in range(2)] == [True, False]
    assert client.post("/feedback", json=body | {"answer_id": "unknown"}).status_code == 404


class Slow:
    """A database whose schema comes when it is let go."""

    def __init__(self):
        self.reading, self.go = threading.Event(), threading.Event()

    def schema(self):
        self.reading.set()
        assert self.go.wait(30)
        return "CREATE TABLE late (id INTEGER);"


class Quick:
    def schema(self):
        return "CREATE TABLE soon (id INTEGER);"


def test_a_slow_database_keeps_no_other_waiting():
    slow = Slow()
    databases = Databases({"slow": slow, "quick": Quick()})
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(databases.open, "slow")
        assert slow.reading.wait(30)
        try:
            assert "soon" in pool.submit(databases.open, "quick").result(10)[1]
        finally:
            slow.go.set()
        assert "late" in late.result(30)[1]
