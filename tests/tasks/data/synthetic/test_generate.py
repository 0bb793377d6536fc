"""Generated questions: gold runs and tells something, splits are disjoint, held-out wordings stay out of training.

Run: pytest tests/tasks/data/synthetic/test_generate.py
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UserError
from tasks.data.example import DIFFICULTIES, Example
from tasks.data.synthetic import generate as generator
from tasks.data.synthetic import phrasing
from tasks.data.synthetic.draw import Draw, NoFit
from tasks.data.synthetic.generate import COMMON, GenerateSpec, generate, is_telling, split_of
from tasks.data.synthetic.phrasing import (
    fill_phrasing,
    held_out,
    is_held_out,
    load_phrasings,
    plural,
    slots_of,
    with_article,
)
from tasks.data.synthetic.rows import fill
from tasks.data.synthetic.schema import load_databases
from tasks.data.synthetic.shape import Shape
from tasks.data.synthetic.shapes import all_shapes
from tasks.sql.features import difficulty, features
from tasks.sql.parse import parse

ROOT = Path(__file__).resolve().parents[4]
HASH = (
    "import hashlib; from tasks.data.synthetic.generate import *; d = ('film', 'sports');"
    "print(hashlib.sha256(repr(generate(GenerateSpec(domains=d))).encode()).hexdigest())"
)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return generate(GenerateSpec())


@pytest.fixture(scope="module")
def sample(examples: list[Example]) -> list[Example]:
    chosen = random.Random(0).sample(sorted({example.db_id for example in examples}), 10)
    return [example for example in examples if example.db_id in chosen]


def test_there_are_many_shapes_of_each_difficulty() -> None:
    per_level = Counter(shape.difficulty for shape in all_shapes())
    assert len(all_shapes()) >= 66
    assert set(per_level) == set(DIFFICULTIES)
    assert min(per_level.values()) >= 22


def test_every_shape_has_different_phrasings_and_known_holdouts() -> None:
    for shape in all_shapes():
        assert len(shape.phrasings) >= 9, shape.id
        assert len({text.lower() for text in shape.phrasings}) == len(shape.phrasings), shape.id
        kept = held_out(shape.id)
        assert 2 <= len(kept) <= len(shape.phrasings) // 3, shape.id
        assert all(is_held_out(shape.id, index) == (index in kept) for index in range(len(shape.phrasings)))


def test_every_phrasing_finds_its_slots() -> None:
    databases = [(database, fill(database, 3)) for database in load_databases()]
    for shape in all_shapes():
        slots = None
        rng = random.Random(1)
        for database, filled in databases * 3:
            connection = sqlite3.connect(":memory:")
            connection.executescript(filled.schema + filled.setup)
            draw = Draw(database, filled, connection, rng)
            try:
                shape.build(draw)
            except NoFit:
                continue
            finally:
                connection.close()
            slots = set(draw.slots)
            break
        assert slots is not None, f"{shape.id} fits no database"
        for text in shape.phrasings:
            assert slots_of(text) <= slots, f"{shape.id}: {text}: {slots_of(text) - slots}"


def test_every_shape_is_used() -> None:
    # A few shapes need what few databases have; they come up once enough rows are asked for.
    many = generate(GenerateSpec(train_per_database=160))
    assert {example.tags["shape"] for example in many} == {shape.id for shape in all_shapes()}


def test_every_gold_runs_and_tells_something(sample: list[Example]) -> None:
    assert len({example.db_id for example in sample}) == 10
    for example in sample:
        connection = sqlite3.connect(":memory:")
        connection.executescript(example.schema + example.setup)
        assert is_telling(connection.execute(example.sql).fetchall()), example
        connection.close()


@pytest.mark.parametrize("rows", [[], [(0,)], [(None,)], [(1,)] * 101])
def test_empty_zero_null_and_huge_answers_tell_nothing(rows: list[tuple]) -> None:
    assert not is_telling(rows)


def test_filters_keep_some_rows_and_drop_some(examples: list[Example]) -> None:
    for example in examples[:600]:
        if example.tags["shape"] in {"select_where_category", "select_where_measure", "not_equal", "between"}:
            connection = sqlite3.connect(":memory:")
            connection.executescript(example.schema + example.setup)
            kept = len(connection.execute(example.sql).fetchall())
            total = len(connection.execute(example.sql.split(" WHERE ")[0]).fetchall())
            assert 0 < kept < total, example.sql


def test_difficulty_is_that_of_the_query(sample: list[Example]) -> None:
    for example in sample:
        assert difficulty(features(parse(example.sql).tree)) == example.difficulty, example.sql


def test_sql_is_canonical(examples: list[Example]) -> None:
    for example in examples:
        assert not example.sql.endswith(";")
        assert '"' not in example.sql
        assert "  " not in example.sql
        if "DISTINCT" in example.sql:
            assert re.search(r"distinct|different|uniq|repe|duplicat|once", example.question, re.IGNORECASE), (
                example.question
            )


def test_questions_are_filled_and_not_repeated(examples: list[Example]) -> None:
    asked = Counter((example.db_id, example.question) for example in examples)
    assert max(asked.values()) == 1
    assert len({example.id for example in examples}) == len(examples)
    for example in examples:
        assert not re.search(r"[{}\[\]|^]|\s\s|\s[.,?]", example.question), example.question
        assert not re.match(r"[a-z]", example.question), example.question
        assert not re.search(r"\b(?:a [aeio]|an [bcdfgjklmnpqrstvwxz][a-z])", example.question), example.question


def test_the_same_spec_gives_the_same_rows_in_another_process() -> None:
    spec = GenerateSpec(domains=("film", "sports"))
    here = hashlib.sha256(repr(generate(spec)).encode()).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", HASH],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "5"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here
    assert generate(spec.model_copy(update={"seed": 8})) != generate(spec)


def test_more_rows_extend_fewer_rows() -> None:
    few = generate(GenerateSpec(domains=("banking",), train_per_database=12))
    many = generate(GenerateSpec(domains=("banking",), train_per_database=30))
    for database in {example.db_id for example in few}:
        short = [example for example in few if example.db_id == database]
        long = [example for example in many if example.db_id == database]
        assert long[: len(short)] == short
        assert len(long) > len(short) or short[0].tags["split"] != "train"


def test_a_database_does_not_depend_on_the_others(examples: list[Example]) -> None:
    alone = generate(GenerateSpec(domains=("music",)))
    assert alone == [example for example in examples if example.domain == "music"]


def test_difficulties_have_their_shares(examples: list[Example]) -> None:
    for database in {example.db_id for example in examples}:
        levels = [example.difficulty for example in examples if example.db_id == database]
        for level, share in zip(DIFFICULTIES, GenerateSpec().difficulty_shares, strict=True):
            assert abs(levels.count(level) - share * len(levels)) <= 1, database


def test_common_shapes_come_up_more_often(examples: list[Example]) -> None:
    seen = Counter(example.tags["shape"] for example in examples)
    others = {shape.id for shape in all_shapes()} - COMMON
    assert {shape.id for shape in all_shapes()} >= COMMON
    assert sum(seen[one] for one in COMMON) / len(COMMON) > 2 * sum(seen[one] for one in others) / len(others)


def test_test_domains_and_validation_databases_are_unseen(examples: list[Example]) -> None:
    splits = ("train", "validation", "test")
    domains = {split: {e.domain for e in examples if e.tags["split"] == split} for split in splits}
    databases = {split: {e.db_id for e in examples if e.tags["split"] == split} for split in domains}
    assert all(domains.values())
    assert not domains["test"] & (domains["train"] | domains["validation"])
    assert not databases["train"] & databases["validation"]


def test_splits_stay_when_shares_grow() -> None:
    small, large = GenerateSpec(test_domain_share=0.2), GenerateSpec(test_domain_share=0.5)
    for database in load_databases():
        if split_of(database, small) == "test":
            assert split_of(database, large) == "test"


def test_training_never_sees_held_out_phrasings(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    used: Counter[bool] = Counter()
    asking: list[str] = []

    def spy_attempt(shape: Shape, *rest: Any) -> Any:
        asking[:] = [shape.id]
        return attempt(shape, *rest)

    def spy_fill(template: str, slots: dict, rng: random.Random) -> str:
        index = load_phrasings()[asking[0]].index(template)
        used[is_held_out(asking[0], index)] += 1
        return fill_phrasing(template, slots, rng)

    attempt = generator._attempt
    monkeypatch.setattr(generator, "_attempt", spy_attempt)
    monkeypatch.setattr(generator, "fill_phrasing", spy_fill)
    generate(GenerateSpec(domains=("banking", "retail"), test_domain_share=0))
    assert used[False] > 100
    assert not used[True]
    assert {e.tags["phrasing"] for e in examples if e.tags["split"] != "test"} == {"seen"}


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_test_rows_use_the_share_of_held_out_phrasings(share: float, expected: float) -> None:
    rows = generate(GenerateSpec(test_domain_share=1, domains=("film", "sports"), unseen_phrasing_share=share))
    assert rows
    assert sum(row.tags["phrasing"] == "unseen" for row in rows) / len(rows) == pytest.approx(expected, abs=0.07)


def test_examples_survive_json(sample: list[Example]) -> None:
    for example in sample[:20]:
        assert Example.from_row(json.loads(json.dumps(example.to_row()))) == example


def test_an_unknown_domain_is_named() -> None:
    with pytest.raises(UserError, match="no synthetic domain astrology"):
        generate(GenerateSpec(domains=("astrology",)))


@pytest.mark.parametrize(
    ("label", "many", "article"),
    [
        ("city", "cities", "a city"),
        ("date of birth", "dates of birth", "a date of birth"),
        ("number of seats", "numbers of seats", "a number of seats"),
        ("hourly rate", "hourly rates", "an hourly rate"),
        ("unit price", "unit prices", "a unit price"),
        ("flight hours", "flight hours", "flight hours"),
        ("calories burned", "calories burned", "calories burned"),
        ("amount sold in kilograms", "amounts sold in kilograms", "an amount sold in kilograms"),
        ("average speed", "average speeds", "an average speed"),
        ("species", "species", "a species"),
        ("salesperson", "salespersons", "a salesperson"),
    ],
)
def test_words_inflect(label: str, many: str, article: str) -> None:
    assert (plural(label), with_article(label)) == (many, article)


def test_a_shape_worded_twice_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("count_rows: |\n  How many {rows} are there?\n", encoding="utf-8")
    monkeypatch.setattr(phrasing, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="count_rows"):
        phrasing.load_phrasings.__wrapped__()
