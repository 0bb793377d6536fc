"""`nightshift evaluate` as a person runs it, with the tiny random model."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import answers
from flows.answers import answer
from flows.recipe import load_recipe
from flows.subject import find_subject
from infra.errors import UserError
from infra.settings import Settings
from tasks.data.dataset import read_examples
from tasks.data.example import Example
from tasks.data.prompts import PromptSpec
from tasks.models.answers import Answer, KeptAnswers
from tasks.models.job import GenerationJob
from tests.chat_server import ChatServer
from tests.commands import Place

TINY = ["evaluate", "random:llama-tiny", "--recipe", "tiny"]
SCHEMA = "CREATE TABLE cars (id INTEGER, name TEXT); INSERT INTO cars VALUES (1, 'Fiat'), (2, 'Opel');"


class Asked(Place):
    """A place with examples in it."""

    def __init__(self, folder: Path, models: Path, rows: int = 6) -> None:
        super().__init__(folder)
        self.environment["NIGHTSHIFT_MODELS"] = str(models)
        examples = [
            {"id": str(i), "db_id": "cars", "question": f"How many {'x' * i}?", "schema": SCHEMA, "sql": "SELECT 2"}
            for i in range(rows)
        ]
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, examples)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Asked:
    return Asked(tmp_path_factory.mktemp("project"), tiny_model.parent)


def test_the_scorecard_is_that_of_its_predictions_scored_later(place: Asked) -> None:
    made = ("--predictions", "answers.parquet", "--report", "report.html", "--suite", "2", "--json", "-")
    made = (*made, "--samples", "2", "--temperature", "1.5")
    code, card, err = place.run(*TINY, "--data", "rows.jsonl", *made)
    assert code == 0, err
    assert card["subject"]["name"] == "random:llama-tiny"
    assert (card["n"], card["suite"], card["gold"]) == (6, 2, {"ok": 6, "empty": 0, "failed": 0})
    assert {"execution_accuracy", "latency_seconds", "tokens_per_second"} <= set(card["metrics"])
    assert "random:llama-tiny" in (place.folder / "report.html").read_text()
    assert card["metrics"]["pass_at_2"]["n"] == card["metrics"]["execution_vote"]["n"] == 6
    code, scored, err = place.run(
        "score", "--examples", "rows.jsonl", "--predictions", "answers.parquet", "--suite", "2", "--json", "-"
    )
    assert code == 0, err
    assert scored["metrics"] == card["metrics"]
    assert [e["sql"] for e in scored["examples"]] == [e["sql"] for e in card["examples"]]
    assert not list(place.folder.glob(".nightshift/work/evaluate/*"))  # nothing unfinished stays


@pytest.mark.night
def test_killed_with_its_answers_it_goes_on_where_it_stopped(tmp_path: Path, tiny_model: Path) -> None:
    place = Asked(tmp_path, tiny_model.parent, rows=24)
    small = ("--set", "evaluation.batch_size=1", "--set", "evaluation.max_new_tokens=100")
    victim = place.start(*TINY, "--data", "rows.jsonl", *small)
    deadline = time.monotonic() + 240
    pattern = ".nightshift/work/evaluate/*/*.partial.jsonl"
    while not any(path.stat().st_size for path in tmp_path.glob(pattern)):
        assert victim.poll() is None, victim.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    [partial] = tmp_path.glob(pattern)
    with partial.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # held by the generation process, which ends when its parent is gone
    # The answers are marked: whoever asks again would lose the mark.
    lines = [json.loads(line) for line in partial.read_text().splitlines()]
    assert len(lines) < 24
    partial.write_text("".join(json.dumps(line | {"prediction": "SELECT 2 -- kept"}) + "\n" for line in lines))
    code, card, err = place.run(*TINY, "--data", "rows.jsonl", *small, "--json", "-")
    assert code == 0, err
    kept = {e["id"] for e in card["examples"] if e["prediction"] == "SELECT 2 -- kept"}
    assert kept >= {line["id"] for line in lines[:4]}
    assert card["n"] == 24


def test_a_server_is_asked_instead_of_a_model(place: Asked) -> None:
    train = {"id": "a", "db_id": "x", "question": "Which songs?", "schema": "CREATE TABLE song (title TEXT)"}
    (place.folder / "train.jsonl").write_text(json.dumps(train | {"sql": "SELECT title FROM song"}))
    with ChatServer() as server:
        first = "How many ?"  # of six; asked for a correction, more follows it
        server.reply = lambda request: (
            "SELECT wrong" if request["messages"][-1]["content"].endswith(first) else "```sql\nSELECT 2;\n```"
        )
        at = ("--endpoint", server.url, "--model-name", "m", "--data", "rows.jsonl", "--recipe", "tiny")
        more = ("--shots-from", "train.jsonl", "--corrections", "1", "--predictions", "remote.jsonl", "--json", "-")
        code, card, err = place.run("evaluate", *at, *more)
        assert code == 0, err
        assert card["subject"]["name"] == f"m at {server.url}"
        assert card["metrics"]["execution_accuracy"]["value"] == 1.0
        assert card["metrics"]["tries"]["value"] == pytest.approx(7 / 6)
        assert len(server.requests) == 7
        assert "song(title)" in str(server.requests[0]["messages"])
        # What a server has under a name may have changed: finished answers are asked for anew.
        server.reply = lambda request: (401, "who are you?", {})
        code, _, err = place.run("evaluate", *at, *more)
        assert code == 2
        assert server.url in err
        assert err.strip().endswith("401 who are you?; put the key into NIGHTSHIFT_ENDPOINT_KEY")
        assert len(err.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    from tasks.models.loading import load_base

    folder = tmp_path_factory.mktemp("adapters") / "adapter"
    get_peft_model(load_base(tiny_model), LoraConfig(r=2, target_modules="all-linear")).save_pretrained(folder)
    (folder / "prompt.json").write_text(PromptSpec(format="plain", max_tokens=900).model_dump_json())
    return folder


def test_an_adapter_is_asked_by_its_own_prompt_on_the_recipes_model(adapter: Path, tmp_path: Path) -> None:
    recipe, settings = load_recipe("tiny"), Settings(home=tmp_path)
    found, most = find_subject(str(adapter), recipe, settings, None, None, lambda _: None)
    assert (found.prompt.format, found.prompt.max_tokens, most) == ("plain", 900, recipe.evaluation.max_new_tokens)
    assert found.base.ref.text == "random:llama-tiny"
    assert found.adapter == adapter
    bare, _ = find_subject("random:llama-tiny", recipe, settings, None, None, lambda _: None)
    assert (bare.prompt, bare.adapter) == (recipe.prompt, None)
    assert bare.fingerprint != found.fingerprint
    with pytest.raises(UserError, match="unknown model reference"):
        find_subject(str(adapter), recipe, settings, None, "gpt-5", lambda _: None)


def test_what_is_no_model_is_told_in_a_line(adapter: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds neither a model"):
        find_subject(str(empty), load_recipe("tiny"), Settings(home=tmp_path), None, None, lambda _: None)
    (empty / "adapter_config.json").write_text("{}")
    (empty / "prompt.json").write_text('{"format": "poem"}')
    with pytest.raises(UserError, match="is no prompt format of this version"):
        find_subject(str(empty), load_recipe("tiny"), Settings(home=tmp_path), None, None, lambda _: None)


def test_the_generating_process_never_sees_gold_and_only_bare_models_see_examples(
    adapter: Path, tmp_path: Path
) -> None:
    recipe, settings = load_recipe("tiny", ["evaluation.shots=2"]), Settings(home=tmp_path)
    test = [Example("t", "cars", "How many cars are red?", SCHEMA, "SELECT count(*) FROM cars WHERE id = 77")]
    train = [*test, Example("a", "cars", "List all names.", SCHEMA, "SELECT name FROM cars")]
    candidates = [
        find_subject(text, recipe, settings, None, None, lambda _: None)[0]
        for text in ("random:llama-tiny", str(adapter))
    ]
    jobs = []

    def generate(job: GenerationJob, work: Path, tick: Any) -> None:
        jobs.append(job)
        for subject in job.subjects:
            (work / subject.output).write_text('{"id": "t", "prediction": ""}\n')

    arguments = (settings.open_store(), candidates, test, "fingerprint", recipe.evaluation, tmp_path, generate)
    refs = answer(*arguments, train=lambda: train)
    [job] = jobs
    assert [subject.demonstrations for subject in job.subjects] == [2, 0]
    assert "77" not in Path(job.examples).read_text()
    assert [row.id for row in read_examples(Path(job.demonstrations))] == ["a"]
    answer(*arguments, train=lambda: train)
    assert len(jobs) == 1  # the store has both
    others = answer(*arguments, train=lambda: [*train, Example("b", "x", "What else?", SCHEMA, "SELECT id FROM cars")])
    assert others["base"] != refs["base"]  # shown something else, a bare model is asked again
    assert others["predictions"] == refs["predictions"]
    held = [replace(candidates[0], four_bit="nf4"), candidates[1]]
    answer(arguments[0], held, *arguments[2:], train=lambda: train)
    assert [subject.four_bit for subject in jobs[-1].subjects] == ["nf4"]  # another model, asked by itself


def test_unfinished_answers_travel_by_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SAVE_SECONDS", 0.0)
    store = Settings(home=tmp_path).open_store()
    here, there = tmp_path / "here" / "p.jsonl", tmp_path / "there" / "p.jsonl"
    for output in (here, there):
        output.parent.mkdir()
    with KeptAnswers(here) as kept:
        kept.add([Answer("a", "SELECT 1")])
    unfinished = answers.Unfinished(store, [here, tmp_path / "not-begun.jsonl"])
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "write", lambda *_: 1 / 0)
        unfinished.save()  # a store that is away for a moment ends no run
    unfinished.save()
    elsewhere = answers.Unfinished(store, [there])
    elsewhere.fetch()
    with KeptAnswers(there) as kept:
        assert kept.found == {"a": Answer("a", "SELECT 1")}
    elsewhere.forget()
    assert store.list("predictions") == []
