"""Kept answers: what was answered before a crash is not asked again, and the outcome is that of an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from infra.errors import Busy
from tasks.data.dataset import write_examples
from tasks.data.example import Example
from tasks.data.prompts import Prompter, PromptSpec
from tasks.models import answers
from tasks.models.answers import Answer, KeptAnswers, partial_of
from tasks.models.asking import Asker, answer_all
from tasks.models.endpoint import PlainTokenizer
from tasks.models.generation import Generation
from tasks.models.job import GenerationJob, SubjectJob
from tasks.models.running import run_generation

DDL = "CREATE TABLE cars (id INTEGER, name TEXT)"


def ids_of(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_answers_outlive_their_process_and_a_torn_line_does_not(tmp_path: Path) -> None:
    output = tmp_path / "p.jsonl"
    with KeptAnswers(output) as kept:
        kept.add([Answer("b", "SELECT '\ud800'", 3, 0.5, tries=2)])
        kept.add([Answer("a", "SELECT 1", 2, 0.25, samples=("SELECT 1", "SELECT 2"))])
    with partial_of(output).open("ab") as handle:
        handle.write(b'{"id": "c", "prediction": "SEL')
    with KeptAnswers(output) as kept:
        assert kept.found == {
            "b": Answer("b", "SELECT '\ud800'", 3, 0.5, tries=2),
            "a": Answer("a", "SELECT 1", 2, 0.25, samples=("SELECT 1", "SELECT 2")),
        }
        assert not output.exists()
        kept.add([Answer("c", "")])
        kept.finish(["a", "b", "c"])
    assert ids_of(output) == ["a", "b", "c"]
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]


def test_two_processes_do_not_write_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_PATIENCE", 0.1)
    with KeptAnswers(tmp_path / "p.jsonl"), pytest.raises(Busy, match="another process"):
        KeptAnswers(tmp_path / "p.jsonl")
    KeptAnswers(tmp_path / "p.jsonl").add([])


def job(folder: Path, model: Path, most: int) -> GenerationJob:
    examples = [Example(str(i), "cars", "How many cars " + "are there " * (i % 12), DDL, "") for i in range(24)]
    examples.append(Example("long", "cars", "?" * 900, DDL, ""))
    write_examples(folder / "test.jsonl", examples)
    subject = SubjectJob(role="base", base=str(model), prompt=PromptSpec(max_tokens=900), output="p.jsonl")
    return GenerationJob(examples=str(folder / "test.jsonl"), subjects=(subject,), max_new_tokens=most, batch_size=2)


def test_a_killed_run_goes_on_and_ends_like_an_unbroken_one(tiny_model: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    run_generation(job(whole, tiny_model, 48), whole)
    (broken / "generation.json").write_text(job(broken, tiny_model, 48).model_dump_json())
    victim = subprocess.Popen([sys.executable, "-m", "tasks.models.session", str(broken / "generation.json")])
    partial = partial_of(broken / "p.jsonl")
    deadline = time.monotonic() + 60
    while not partial.is_file() or len(ids_of(partial)) < 5:
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    before = partial.read_bytes()
    kept = ids_of(partial)
    assert len(kept) < 25
    assert not (broken / "p.jsonl").exists()
    seen: list[bytes] = []

    def look() -> None:
        with suppress(FileNotFoundError):  # not opened yet, or finished
            seen.append(partial.read_bytes())

    run_generation(job(broken, tiny_model, 48), broken, look)
    assert all(content.startswith(before) for content in seen)  # what was there was not asked again
    texts = [
        [json.loads(line)["prediction"] for line in (f / "p.jsonl").read_text().splitlines()] for f in (whole, broken)
    ]
    assert texts[0] == texts[1]
    assert texts[0][24] == ""  # its schema does not fit beside such a question: not asked
    assert all(texts[0][:24])


def test_how_many_are_answered_is_told_before_the_first_part_too(tmp_path: Path) -> None:
    examples = [Example(str(i), "cars", "How many cars are there?", DDL, "") for i in range(5)]
    told: list[tuple[int, int]] = []
    before: list[list[tuple[int, int]]] = []

    def generator(prompts, asked, progress, temperature=0.0):
        before.append(list(told))
        return [Generation("SELECT 1", 2, 0.1) for _ in prompts]

    asker = Asker(Prompter(PromptSpec(format="request"), PlainTokenizer()), generator)
    with KeptAnswers(tmp_path / "p.jsonl") as kept:
        kept.add([Answer(examples[0].id, "SELECT 2", 2, 0.1)])
        answer_all(examples, asker, kept, 5, lambda done, total: told.append((done, total)))
    assert before == [[(1, 5)]]
    assert told[-1] == (5, 5)
