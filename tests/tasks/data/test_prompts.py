"""Prompts: exact text, special tokens once, schemas trimmed by whole tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.prompts import Prompter, PromptSpec
from tasks.data.rendering import Look, render_ddl, render_schema
from tasks.data.schema import fit_schema, parse_schema
from tasks.models.loading import load_tokenizer

DDL = (
    "CREATE TABLE hotels (hotel_id INTEGER PRIMARY KEY, name TEXT, city TEXT);\n"
    "CREATE TABLE bookings (id INTEGER PRIMARY KEY, hotel_id INTEGER, nights INTEGER, "
    "FOREIGN KEY (hotel_id) REFERENCES hotels(hotel_id));"
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return load_tokenizer(tiny_model)


def test_compact_rendering_shows_keys() -> None:
    assert render_schema(parse_schema(DDL), Look()) == (
        "hotels(hotel_id, name, city)\nbookings(id, hotel_id -> hotels.hotel_id, nights)"
    )


def test_inline_references_are_read() -> None:
    schema = parse_schema("CREATE TABLE a (x INT REFERENCES b(y)); CREATE TABLE b (y INT PRIMARY KEY)")
    assert schema.tables[0].columns[0].references == ("b", "y")
    assert schema.tables[1].columns[0].primary_key


def test_golden_chat_prompt(tokenizer) -> None:
    prompt = Prompter(PromptSpec(system="Be brief."), tokenizer).render(DDL, " How many hotels? ")
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        "hotels(hotel_id, name, city)\nbookings(id, hotel_id -> hotels.hotel_id, nights)\n\n"
        "How many hotels?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_golden_instruct_prompt(tokenizer) -> None:
    prompt = Prompter(PromptSpec(format="instruct"), tokenizer).render("CREATE TABLE t (a INTEGER)", "How many?")
    assert prompt == (
        " ### Instruction:\nGenerate a SQL query to answer the given question based on the provided database schema.\n"
        "\n"
        "Database Schema:\nt(a)\n\nQuestion: How many?\n\n ### Response:\n"
    )


def test_completion_ends_with_the_end_token(tokenizer) -> None:
    assert Prompter(PromptSpec(), tokenizer).completion(" SELECT 1 ") == "SELECT 1<|im_end|>"


def test_trimming_drops_the_least_relevant_whole_tables() -> None:
    ddl = "\n".join(
        f"CREATE TABLE table_{i} (id INTEGER PRIMARY KEY, field_{i} TEXT, other_{i} REAL);" for i in range(20)
    )
    schema = parse_schema(ddl)
    fitted, dropped = fit_schema(schema, "what is field 7?", lambda s: len(render_ddl(s)) <= 1000, keep=["TABLE_13"])
    names = {table.name for table in fitted.tables}
    assert {"table_7", "table_13"} <= names
    assert dropped == 20 - len(names) > 0
    sqlite3.connect(":memory:").executescript(render_ddl(fitted))  # what is left is whole


def test_what_cannot_fit_is_an_error(tokenizer) -> None:
    with pytest.raises(UserError, match="does not fit"):
        Prompter(PromptSpec(max_tokens=32), tokenizer).render(DDL, "How many hotels are there in the whole world?")


def test_a_key_spelled_in_another_case_is_rendered() -> None:
    schema = parse_schema("CREATE TABLE s (School_ID INT, name TEXT, PRIMARY KEY (School_Id))")
    assert schema.tables[0].columns[0].primary_key
    sqlite3.connect(":memory:").executescript(render_ddl(schema))


@pytest.mark.parametrize("bad", ["hello", "CREATE TABLE broken (a", "SELECT 1"])
def test_unreadable_schemas_are_errors(bad: str) -> None:
    with pytest.raises(UserError, match="schema"):
        parse_schema(bad)
