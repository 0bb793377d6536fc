"""Demonstrations: the same choice every time, of training rows alone, and never at the cost of a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.demonstrations import Demonstrations, clear_of
from tasks.data.example import Example
from tasks.data.prompts import Prompter, PromptSpec
from tasks.models.loading import load_tokenizer

DDL = "CREATE TABLE singer (name TEXT, age INTEGER);\nCREATE TABLE song (title TEXT, year INTEGER);"
TRAIN = [
    Example("1", "a", "How many singers are there?", DDL, "SELECT count(*) FROM singer"),
    Example("2", "a", "Which song titles are from 1990?", DDL, "SELECT title FROM song WHERE year = 1990"),
    Example("3", "a", "How many songs are there?", DDL, "SELECT count(*) FROM song"),
    Example("4", "a", "What is the age of the oldest singer?", DDL, "SELECT max(age) FROM singer"),
]
TEST = Example("t", "b", "How many hotels are there?", "CREATE TABLE hotel (city TEXT)", "SELECT count(*) FROM hotel")


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return load_tokenizer(tiny_model)


def test_the_likest_come_last_and_each_has_a_form_of_its_own() -> None:
    chosen = Demonstrations(TRAIN, 2).of("How many singers are older than 30?")
    assert [shown.sql for shown in chosen] == ["SELECT max(age) FROM singer", "SELECT count(*) FROM singer"]
    assert Demonstrations(TRAIN[::-1], 2).of("How many singers are older than 30?") == chosen
    assert len(Demonstrations(TRAIN, 9).of("?")) == 3  # two queries share their form


def test_only_the_tables_of_its_query_are_shown() -> None:
    [shown] = Demonstrations(TRAIN[:1], 1).of("How many?")
    assert [table.name for table in shown.schema.tables] == ["singer"]


def test_nothing_of_a_test_row_is_shown() -> None:
    same_question = Example("5", "c", "how many hotels are there", DDL, "SELECT 1 FROM song")
    same_query = Example("6", "c", "Count them.", DDL, "SELECT  COUNT(*) FROM Hotel")
    asked = "Which hotel near the old harbour has the largest number of rooms with a balcony?"
    test = [TEST, Example("u", "b", asked, TEST.schema, "SELECT city FROM hotel")]
    near = Example("7", "c", asked.replace("Which", "Show the"), DDL, "SELECT title FROM song")
    assert clear_of(test, [*TRAIN, TEST, same_question, same_query, near, TRAIN[0]]) == TRAIN
    with pytest.raises(UserError, match="no training row can be shown"):
        Demonstrations(clear_of([TEST], [TEST]), 2)


def test_rows_that_cannot_be_read_are_passed_over() -> None:
    broken = [replace(TRAIN[0], id="x", schema="no DDL"), replace(TRAIN[0], id="y", sql="SELEC")]
    assert len(Demonstrations([*broken, TRAIN[0]], 3).of("How many?")) == 1


def test_golden_chat_and_text_prompts_with_an_example(tokenizer) -> None:
    shown = Demonstrations(TRAIN[:1], 1).of("?")
    chat = Prompter(PromptSpec(system="Be brief."), tokenizer).fit(TEST.schema, TEST.question, shown=shown)
    assert chat.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nsinger(name, age)\n\nHow many singers are there?<|im_end|>\n"
        "<|im_start|>assistant\nSELECT count(*) FROM singer<|im_end|>\n"
        "<|im_start|>user\nhotel(city)\n\nHow many hotels are there?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant", "user"]
    text = Prompter(PromptSpec(format="plain"), tokenizer).fit(TEST.schema, TEST.question, shown=shown)
    assert text.text == (
        "singer(name, age)\n\nQuestion: How many singers are there?\nSQL:\nSELECT count(*) FROM singer\n\n"
        "hotel(city)\n\nQuestion: How many hotels are there?\nSQL:\n"
    )
    assert (chat.shown, text.shown, text.messages) == (1, 1, ())


def test_golden_task_prompt(tokenizer) -> None:
    prompt = Prompter(PromptSpec(format="task"), tokenizer).render("CREATE TABLE t (a INTEGER)", "How many?")
    assert prompt == (
        "### Task: Convert the following natural language question to a SQL query.  Give only SQL Query as Output\n\n"
        "### Database Schema:\nt(a)\n\n### Question: How many?\n\n### SQL Query:\n"
    )


def test_examples_go_before_a_table_does(tokenizer) -> None:
    shown = Demonstrations(TRAIN, 3).of(TEST.question)
    sizes = {}
    for budget in range(100, 600, 20):
        made = Prompter(PromptSpec(format="plain", max_tokens=budget), tokenizer).fit(
            DDL, "How many songs?", shown=shown
        )
        assert len(tokenizer(made.text, add_special_tokens=False)["input_ids"]) <= budget
        assert made.dropped == 0
        sizes[budget] = made.shown
        assert made.shown == 0 or shown[-1].sql in made.text  # the likest goes last
    assert sizes[100] == 0
    assert sizes[580] == 3
    assert sorted(sizes.values()) == list(sizes.values())


@pytest.mark.parametrize("form", ["context", "translate"])
def test_formats_without_a_place_for_examples_say_so(tokenizer, form: str) -> None:
    with pytest.raises(UserError, match=r"has no place for examples; set evaluation\.shots=0"):
        Prompter(PromptSpec(format=form), tokenizer).fit(DDL, "?", shown=Demonstrations(TRAIN, 1).of("?"))
