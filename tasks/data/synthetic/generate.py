"""Generate questions with gold SQL over the synthetic databases.

Every gold query is run on the filled database and kept only when its answer is non-trivial. Test domains are chosen
by hash, so no database, table layout or value of a test row occurs in training. Each database is generated on its own,
row after row: asking for more rows keeps the earlier ones. Limits: SQLite only, English only, one gold per question.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.data.example import DIFFICULTIES, Example
from tasks.data.strata import hashed
from tasks.data.synthetic.draw import Draw, NoFit
from tasks.data.synthetic.phrasing import fill_phrasing, is_held_out
from tasks.data.synthetic.rows import Filled, fill
from tasks.data.synthetic.schema import Column, SyntheticDatabase, load_databases
from tasks.data.synthetic.shape import Shape
from tasks.data.synthetic.shapes import all_shapes
from tasks.data.synthetic.variants import pool_of, qualified, vary

Split = Literal["train", "validation", "test"]

MAXIMUM_ROWS = 100
# Shapes that people ask for most: they have this many turns a round, all others one.
COMMON_TURNS = 6
COMMON = frozenset(
    [
        "count_rows",
        "list_column",
        "select_where_category",
        "select_where_measure",
        "count_where",
        "lookup_by_name",
        "aggregate_all",
        "order_by",
        "top_row",
        "top_rows",
        "distinct_values",
        "count_distinct",
        "select_and",
        "group_count",
        "group_aggregate",
        "group_count_ordered",
        "most_common_group",
        "join_list",
        "join_of_named_parent",
        "join_count_named",
        "join_where_parent",
        "count_per_parent",
        "parent_with_most",
        "against_average",
        "count_against_average",
        "equal_to_extreme",
        "against_named",
        "parents_without",
        "parents_with",
        "groups_having_count",
        "parents_having_count",
    ]
)
TRIES = 12  # attempts at one shape before the next shape has its turn


class GenerateSpec(BaseModel):
    """How much to generate, and what is kept for test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(7, description="seed of the rows and of the questions; the splits do not depend on it")
    train_per_database: int = Field(40, ge=0, description="training rows of each training database and variant")
    variants: int = Field(
        0, ge=0, description="variants of each training database: other names, some attributes of other databases"
    )
    validation_per_database: int = Field(24, ge=0, description="validation rows of each validation database")
    test_per_database: int = Field(16, ge=0, description="test rows of each database of a test domain")
    unseen_phrasing_share: float = Field(0.5, ge=0, le=1, description="share of test rows with held-out phrasings")
    test_domain_share: float = Field(0.2, ge=0, le=1, description="chance of a domain to be kept for test, by hash")
    validation_database_share: float = Field(
        0.1, ge=0, le=1, description="chance of a database outside the test domains to be kept for validation, by hash"
    )
    qualified_share: float = Field(
        0.0, ge=0, le=1, description="share of training rows over one table that write the table before each column"
    )
    difficulty_shares: tuple[float, float, float] = Field(
        (0.6, 0.2, 0.2), description="shares of easy, medium and hard rows: people ask simple things most often"
    )
    domains: tuple[str, ...] = Field((), description="only these domains; empty: all of them")


def generate(spec: GenerateSpec) -> list[Example]:
    """The rows of all splits, databases in order of their ids; `tags["split"]` says which split a row is in.

    Raises UserError when `spec.domains` names a domain that does not exist.
    """
    databases = load_databases()
    unknown = set(spec.domains) - {database.domain for database in databases}
    if unknown:
        known = ", ".join(sorted({database.domain for database in databases}))
        raise UserError(f"no synthetic domain {', '.join(sorted(unknown))}; there are {known}")
    chosen = [one for one in databases if not spec.domains or one.domain in spec.domains]
    pool = pool_of([one for one in databases if split_of(one, spec) == "train"])
    examples: list[Example] = []
    for database in chosen:
        split = split_of(database, spec)
        for version in _versions(database, pool, spec) if split == "train" else [database]:
            examples += generate_for(version, split, spec)
    return examples


def _versions(database: SyntheticDatabase, pool: Sequence[Column], spec: GenerateSpec) -> Iterator[SyntheticDatabase]:
    """A training database and its variants."""
    yield database
    for number in range(1, spec.variants + 1):
        yield vary(database, number, pool, random.Random(f"{spec.seed}/{database.id}/variant {number}"))


def split_of(database: SyntheticDatabase, spec: GenerateSpec) -> Split:
    """The split of a whole database: a hash of its domain, then of its id, so that adding others moves nothing."""
    if hashed(f"test domain/{database.domain}") < spec.test_domain_share:
        return "test"
    if hashed(f"validation database/{database.id}") < spec.validation_database_share:
        return "validation"
    return "train"


def generate_for(database: SyntheticDatabase, split: Split, spec: GenerateSpec) -> list[Example]:
    """The rows of one database as one split; fewer than asked for only when it offers no more questions."""
    count = {
        "train": spec.train_per_database,
        "validation": spec.validation_per_database,
        "test": spec.test_per_database,
    }[split]
    if not count:
        return []
    filled = _filled(database, spec.seed)
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(filled.schema + filled.setup)
        return list(itertools.islice(_rows(database, filled, connection, split, spec), count))
    finally:
        connection.close()


@lru_cache(maxsize=512)
def _filled(database: SyntheticDatabase, seed: int) -> Filled:
    return fill(database, seed)


def _rows(
    database: SyntheticDatabase, filled: Filled, connection: sqlite3.Connection, split: Split, spec: GenerateSpec
) -> Iterator[Example]:
    """Rows without end (until nothing new can be found): difficulties by their shares, shapes in turns."""
    rng = random.Random(hashlib.sha256(f"{spec.seed}/{database.id}/{split}".encode()).digest())
    queues = {level: _turns(rng, [s for s in all_shapes() if s.difficulty == level]) for level in DIFFICULTIES}
    asked: set[str] = set()
    made = dict.fromkeys(DIFFICULTIES, 0)
    shares = dict(zip(DIFFICULTIES, spec.difficulty_shares, strict=True))
    while queues:
        # Whoever lags furthest behind its share: every prefix of the rows has about the same mixture.
        total = sum(made.values()) + 1
        level = max(queues, key=lambda one: shares[one] * total - made[one])
        # Spreads the share evenly over the rows of a difficulty, so that every prefix has about the same share.
        # Difficulties are out of step, so that few rows still come near the share.
        number = made[level] + DIFFICULTIES.index(level) % 2
        share = spec.unseen_phrasing_share
        unseen = split == "test" and int((number + 1) * share) > int(number * share)
        patience = 2 * COMMON_TURNS * sum(shape.difficulty == level for shape in all_shapes())
        for shape in itertools.islice(queues[level], patience):
            found = _attempt(shape, database, filled, connection, rng, unseen, asked)
            if found is not None:
                break
        else:
            del queues[level]
            continue
        question, sql = found
        if split == "train" and hashed(f"{spec.seed}/{database.id}/{question}") < spec.qualified_share:
            sql = qualified(sql)
        asked.add(question)
        made[level] += 1
        yield Example(
            id=f"{database.id}-{shape.id}-{len(asked) - 1}",
            db_id=database.id,
            question=question,
            schema=filled.schema,
            sql=sql,
            setup=filled.setup,
            source="synthetic",
            difficulty=level,
            domain=database.domain,
            tags={"split": split, "shape": shape.id, "phrasing": "unseen" if unseen else "seen"},
        )


def _turns(rng: random.Random, shapes: list[Shape]) -> Iterator[Shape]:
    """Every shape once a round, common ones several times, rounds in a random order."""
    turns = [shape for shape in shapes for _ in range(COMMON_TURNS if shape.id in COMMON else 1)]
    while turns:
        yield from rng.sample(turns, len(turns))


def _attempt(
    shape: Shape,
    database: SyntheticDatabase,
    filled: Filled,
    connection: sqlite3.Connection,
    rng: random.Random,
    unseen: bool,
    asked: set[str],
) -> tuple[str, str] | None:
    """A new question with its SQL, or None after `TRIES` attempts."""
    usable = [text for i, text in enumerate(shape.phrasings) if is_held_out(shape.id, i) == unseen]
    for _ in range(TRIES):
        draw = Draw(database, filled, connection, rng)
        try:
            sql = shape.build(draw)
        except NoFit:
            continue
        question = fill_phrasing(rng.choice(usable), draw.slots, rng)
        if question not in asked and is_telling(draw.query(sql)):
            return question, sql
    return None


def is_telling(rows: list[tuple]) -> bool:
    """Whether an answer tells a right query from a wrong one: not empty, not a lone NULL or 0, not huge."""
    if not 1 <= len(rows) <= MAXIMUM_ROWS:
        return False
    return len(rows) > 1 or any(value not in (None, 0) for value in rows[0])
