"""Packed releases of a tiny random model: loaded, checked, asked in this process and, by MLflow, in others."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from infra import tracking
from infra.settings import Settings
from registry import answering
from registry.answering import Answerer, Ask, why_invalid
from registry.answers import KEPT_FILES, judged, recall, remember
from registry.download import AdapterChanged, download_adapter, download_release
from registry.ledger import chosen_release
from registry.manifest import FILE, Incompatible, check_manifest, make_manifest
from registry.package import ADAPTER, ARTIFACTS, adapter_of, pack_release
from registry.releases import register_candidate
from registry.service.access import Access
from registry.service.app import Databases, create_app
from registry.service.run import build_engine, note_key
from registry.serving import finish_answer, load_production
from tasks.data.example import Example
from tasks.data.prompts import Prompter, PromptSpec
from tasks.data.values import add_values
from tasks.models.loading import load_base, load_tokenizer
from tasks.sql.continuation import Continuation
from tasks.sql.databases import Script, SqliteFile
from tasks.sql.executor import Limits

DDL = "CREATE TABLE cars (id INTEGER, name TEXT)"


@pytest.fixture(scope="session")
def adapters(tmp_path_factory, tiny_model):
    """Two adapters of the tiny model."""
    import torch
    from peft import LoraConfig, get_peft_model

    folders = []
    for number in range(2):
        folder = tmp_path_factory.mktemp("adapters") / "adapter"
        torch.manual_seed(number)
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(load_base(tiny_model), config).save_pretrained(folder)
        load_tokenizer(tiny_model).save_pretrained(folder)
        (folder / "prompt.json").write_text(PromptSpec(max_tokens=1200).model_dump_json())
        folders.append(folder)
    return folders


@pytest.fixture
def promoted(world, adapters, tmp_path):
    """A way to register and promote one of the adapters in the shared MLflow, and settings to serve from."""

    def promote(number, night):
        manifest = make_manifest(adapters[number], "random:llama-tiny", 6)
        packed = pack_release(tmp_path / night, adapters[number], manifest, {"night": night})
        run = tracking.night_run("recipe", night, night)
        release = register_candidate(world.name, run, packed, night, {}, "tiny")
        world.promote(world.verdict(release))
        return release

    world.release = promote
    world.settings = Settings(home=tmp_path, store=str(world.store.root), models=tmp_path / "models")
    return world


def test_the_manifest_finds_another_base_tokenizer_prompt_or_adapter(adapters, tiny_model, tmp_path):
    adapter = tmp_path / "adapter"
    shutil.copytree(adapters[0], adapter)
    manifest, tokenizer = make_manifest(adapter, f"path:{tiny_model}", 6), load_tokenizer(tiny_model)
    check_manifest(manifest, adapter, tokenizer)
    for change, told in (
        ({"base_revision": "other"}, "base model"),
        ({"tokenizer_hash": "other"}, "tokenizer"),
        ({"prompt_hash": "other"}, "renders prompts differently"),
        ({"adapter_hash": "other"}, "adapter's files"),
    ):
        with pytest.raises(Incompatible, match=told):
            check_manifest(manifest.model_copy(update=change), adapter, tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant", "model")
    with pytest.raises(Incompatible, match="tokenizer"):
        check_manifest(manifest, adapter, tokenizer)
    (adapter / "prompt.json").write_text(PromptSpec(max_tokens=1200, system="Write SQL.").model_dump_json())
    with pytest.raises(Incompatible, match=r"adapter's files.*renders prompts differently"):
        check_manifest(manifest, adapter, load_tokenizer(tiny_model))


def test_a_release_is_the_adapter_its_code_and_nothing_pickled(promoted, adapters):
    promoted.release(0, "n1")
    folder = download_release(promoted.name, "1", promoted.folder / "all")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "pyfunc.py", "input_example.json", "requirements.txt", f"{ARTIFACTS}/{FILE}"} <= files
    assert {"code/registry/answering.py", "code/tasks/data/prompts.py", "code/infra/errors.py"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pyc", ".bin", ".pt"))]
    assert sum((folder / name).stat().st_size for name in files) < 5_000_000  # no base model in it
    mlmodel = (folder / "MLmodel").read_text()
    assert "night: n1" in mlmodel
    assert str(promoted.folder) not in mlmodel
    alone = download_adapter(promoted.name, "1", promoted.folder / "alone")
    assert {p.name for p in alone.iterdir()} == {p.name for p in adapters[0].iterdir()}
    assert adapter_of(folder) == folder / ARTIFACTS / ADAPTER


def test_production_is_loaded_whole_or_not_at_all(promoted):
    release = promoted.release(0, "n1")
    assert chosen_release(promoted.store, None) == promoted.name
    served = load_production(promoted.settings, promoted.name)
    assert served.version == "1"
    [written, unreadable] = served.answerer.answer([Ask("How many?", DDL), Ask("How many?", "hello")])
    assert written.tokens == 6
    assert "schema" in unreadable.reason
    shutil.rmtree(promoted.folder / "serving")
    place = f"adapter/{release.adapter_hash}/{ARTIFACTS}/{ADAPTER}/prompt.json"
    tracking.client().log_text(release.run_id, "{}", place)
    with pytest.raises(AdapterChanged):
        load_production(promoted.settings, promoted.name)


def test_an_adapter_taught_with_sample_values_is_asked_with_them(adapters, tiny_model, tmp_path, monkeypatch):
    adapter = tmp_path / "adapter"
    shutil.copytree(adapters[0], adapter)
    spec = PromptSpec(max_tokens=1200, sample_values=2)
    (adapter / "prompt.json").write_text(spec.model_dump_json())
    connection = sqlite3.connect(tmp_path / "cars.sqlite")
    connection.executescript(f"{DDL}; INSERT INTO cars VALUES (1, 'Fiat'), (2, 'Opel'), (3, 'Opel'), (4, NULL);")
    connection.close()
    answerer = Answerer(tiny_model, adapter, make_manifest(adapter, f"path:{tiny_model}", 6))
    database = SqliteFile(tmp_path / "cars.sqlite")
    ask = Ask("How many?", database.schema(), database=database)
    asked = answerer.prompt(ask)
    assert "cars(id [1, 2], name ['Opel', 'Fiat'])" in asked
    [taught] = add_values([Example("a", "cars", "How many?", DDL, "", database=str(database.path))], 2)
    assert asked == Prompter(spec, load_tokenizer(tiny_model)).render(taught.schema, "How many?")
    # Values are read once, again when someone looks and they are old; a database that has gone is told by `answer`.
    connection = sqlite3.connect(database.path)
    connection.execute("INSERT INTO cars VALUES (5, 'Seat'), (6, 'Seat'), (7, 'Seat')")
    connection.commit()
    connection.close()
    answerer.look(ask)
    assert answerer.prompt(ask) == asked
    monkeypatch.setattr(answering, "_VALUES_SECONDS", 0.0)
    answerer.look(ask)
    assert "name ['Seat', 'Opel']" in answerer.prompt(ask)
    database.path.unlink()
    answerer.look(ask)
    # A pasted script has the rows that it inserts, a schema alone none.
    script = Script(DDL, "INSERT INTO cars VALUES (7, 'Fiat');")
    assert "cars(id [7], name ['Fiat'])" in answerer.prompt(Ask("How many?", DDL, database=script))
    assert "cars(id, name)" in answerer.prompt(Ask("How many?", DDL))


def test_valid_means_a_query_that_runs_on_the_schema():
    assert why_invalid("SELECT name FROM cars", DDL) == ""
    for sql, told in (
        ("", "no SQL"),
        ("SELECT nope FROM cars", "no such column"),
        ("DELETE FROM cars", "forbidden"),
        ("SELECT 1; SELECT 2", "multiple"),
    ):
        assert told in why_invalid(sql, DDL)
    assert (
        why_invalid("SELECT name FROM cars", "CREATE TABLE `cars` (id int(11) AUTO_INCREMENT, name text) ENGINE=X")
        == ""
    )


def test_an_answer_can_be_judged_later(promoted, tmp_path, monkeypatch):
    promoted.release(0, "n1")
    served = load_production(promoted.settings, promoted.name)
    path = tmp_path / "cars.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(DDL)
    connection.close()
    monkeypatch.setattr(Answerer, "answer", lambda self, asks: [])
    from registry.answering import Written

    database = SqliteFile(path)
    ask = Ask("How many cars?", database.schema())
    written = Written("SELECT count(*) FROM cars", True, "", 5, 0.1)
    answer = finish_answer(served, ask, written, database, Limits(), explained=True)
    document = answer.document(explained=True)
    assert (document["rows"], document["status"], document["explanation"][0]) == ([[0]], "ok", "reads cars")
    for _ in range(3):
        remember(promoted.settings, answer)
    assert recall(promoted.settings, "last") == recall(promoted.settings, answer.id)
    record = judged(recall(promoted.settings, "last"), "wrong", "SELECT count(id) FROM cars;")
    assert (record.db_id, record.version, record.corrected_sql) == ("cars", "1", "SELECT count(id) FROM cars")
    assert len(list((promoted.settings.root / "answers").iterdir())) <= KEPT_FILES


@pytest.mark.server
def test_rollback_under_load_gives_only_whole_answers_of_one_release_or_the_other(promoted):
    """A client asks in a loop through the HTTP service while Production moves on and back."""
    from fastapi.testclient import TestClient

    promoted.release(0, "n1")
    promoted.release(1, "n2")
    engine = build_engine(promoted.settings, promoted.name, poll=0.05)
    engine.start()
    client = TestClient(
        create_app(engine, Databases({}), promoted.settings.open_feedback(), Access()), base_url="http://localhost"
    )
    seen, faults, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            sent = client.post("/batch", json={"questions": [{"question": q, "schema": DDL} for q in ("a", "b")]})
            if sent.status_code != 200:
                faults.append(sent.text)
                continue
            answers = sent.json()["answers"]
            versions = {answer["version"] for answer in answers}
            if len(versions) != 1 or len(answers) != 2 or any(answer["sql"] is None for answer in answers):
                faults.append(sent.text)
            seen.append(versions.pop())

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for thread in clients:
        thread.start()
    try:
        for version in ("1", "2", "1"):  # rollback, forward, rollback
            entries = promoted.ledger.entries()
            target = next(entry for entry in entries if entry.version == version)
            promoted.ledger.append(
                "rollback", after=entries[-1], version=version, adapter_hash=target.adapter_hash,
                champion_at_decision=None, verdict_seal=target.verdict_seal, actor="Ada", reason="test",
            )  # fmt: skip
            deadline = time.monotonic() + 600
            while engine.served.version != version:
                assert time.monotonic() < deadline, engine.trouble
                time.sleep(0.05)
            known = len(seen)
            while len(seen) < known + 6:
                assert time.monotonic() < deadline, faults
                time.sleep(0.05)
            assert set(seen[-2:]) == {version}
            assert promoted.store.read_json(note_key(promoted.name))["version"] == version
    finally:
        stop.set()
        for thread in clients:
            thread.join(30)
        engine.stop()
    assert faults == []
    assert set(seen) == {"1", "2"}


ROWS = {"dataframe_records": [{"question": "How many?", "schema": DDL}, {"question": "How many?", "database": "no"}]}
LOAD = """
import json, sys, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
print("found", json.dumps(model.predict(json.loads(sys.argv[2])["dataframe_records"])))
import tasks; print("code", tasks.__file__)
"""


@pytest.mark.server
def test_mlflow_loads_and_serves_production_with_the_packed_code(promoted, tmp_path):
    promoted.release(0, "n1")
    uri = f"models:/{promoted.name}@Production"
    hidden = ("PYTHONPATH", "NIGHTSHIFT_HOME")
    environment = {k: v for k, v in os.environ.items() if k not in hidden} | {
        "MLFLOW_TRACKING_URI": tracking.tracking_uri(),
        "NIGHTSHIFT_MODELS": str(tmp_path / "models"),
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LOAD, uri, json.dumps(ROWS)],
        cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("found ", "code ")))
    first, second = json.loads(told["found"])
    assert set(first) >= {"sql", "valid", "reason"}
    assert first["tokens"] == 6
    assert (second["valid"], "no database file" in second["reason"]) == (False, True)
    assert "/code/tasks/" in told["code"]
    _served_by_mlflow(uri, elsewhere, environment)


def _served_by_mlflow(uri, folder, environment):
    import socket
    import urllib.error
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "-p", str(port)]
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps(ROWS).encode(),
            {"content-type": "application/json"},
        )
        deadline = time.monotonic() + 600
        while True:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    found = json.load(answer)["predictions"]
                    break
            except urllib.error.HTTPError as error:
                raise AssertionError(error.read().decode()) from None
            except (OSError, urllib.error.URLError):
                time.sleep(0.5)
        assert [set(row) >= {"sql", "valid", "reason"} for row in found] == [True, True]
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def test_a_release_taught_with_constrained_decoding_answers_with_it(adapters, tiny_model, tmp_path):
    adapter = shutil.copytree(adapters[0], tmp_path / "adapter")
    ask = Ask("How many cars?", DDL)
    free = Answerer(tiny_model, adapter, make_manifest(adapter, "random:llama-tiny", 12)).answer([ask])[0]
    (adapter / "prompt.json").write_text(PromptSpec(max_tokens=1200, decoding="constrained").model_dump_json())
    held = Answerer(tiny_model, adapter, make_manifest(adapter, "random:llama-tiny", 12))
    rule = Continuation(DDL, ask.question)
    assert not rule.allows(free.sql)
    assert rule.allows(held.answer([ask])[0].sql)
