"""Duplicates within the data, and contamination of training by test rows.

Two rows are the same when question, schema and SQL are: the same question over another schema is another example, and
another answer to it is a conflict for validation to judge. Earlier sources win. A training row is contaminated when it
shares with a test row its database, its question, its SQL, or a question that is nearly the same: public collections
copy one another's questions over cut-down schemas, so that databases alone tell little. Every row that goes is counted
by id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

from infra.hashing import fingerprint
from tasks.data.example import Example
from tasks.data.likeness import NearQuestions, plain_words, sql_parts, sql_spelling

CONTAMINATIONS = ("database", "question", "sql", "near_question")


class DecontaminationSpec(BaseModel):
    """What keeps training clear of test rows, beyond their databases and equal questions over one schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: bool = Field(True, description="drop training rows that ask a test question, over whatever schema")
    sql: bool = Field(True, description="drop training rows whose SQL has the same parts as that of a test row")
    near: float = Field(
        0.9, ge=0.5, le=1, description="similarity of content words from which questions are the same; 1: never"
    )


@lru_cache(maxsize=4096)
def schema_key(schema: str) -> str:
    """The fingerprint of a schema, white space and case aside."""
    return fingerprint(" ".join(schema.lower().split()))


def question_key(example: Example) -> tuple[str, str]:
    """What makes two examples ask the same: lower-cased words of question and evidence, and the schema."""
    return plain_words(f"{example.question} {example.evidence}"), schema_key(example.schema)


def digest(parts: Iterable[str]) -> bytes:
    """16 bytes that stand for the texts: a set of a million rows holds them, not their words."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def drop_duplicates(examples: Iterable[Example]) -> tuple[list[Example], list[str]]:
    """Keep the first of equal examples; returns (kept, ids of the dropped)."""
    seen: set[bytes] = set()
    kept, dropped = [], []
    for example in examples:
        key = digest((*question_key(example), sql_spelling(example.sql)))
        if key in seen:
            dropped.append(example.id)
        else:
            seen.add(key)
            kept.append(example)
    return kept, dropped


@dataclass(frozen=True, slots=True)
class Decontaminated:
    """Training rows that meet no test row, and the ids of the others by what they share with one."""

    kept: list[Example]
    dropped: dict[str, list[str]]


class TestRows:
    """What test rows may share with others."""

    __test__ = False  # no test class, whatever its name

    def __init__(self, test: Sequence[Example], spec: DecontaminationSpec, by_database: bool = True) -> None:
        self.spec = spec
        self.databases = (
            {e.db_id for e in test} | {schema_key(e.schema) for e in test if e.schema} if by_database else set()
        )
        self.keys = {question_key(e) for e in test}
        self.questions = {plain_words(e.question) for e in test} if spec.question else set()
        self.sql = {sql_parts(e.sql) for e in test} if spec.sql else set()
        self.near = NearQuestions((e.question for e in test), spec.near) if spec.near < 1 else None

    def shared(self, example: Example) -> str | None:
        """The first of CONTAMINATIONS that holds for `example`, or None."""
        if example.db_id in self.databases or schema_key(example.schema) in self.databases:
            return "database"
        if question_key(example) in self.keys or plain_words(example.question) in self.questions:
            return "question"
        if self.sql and sql_parts(example.sql) in self.sql:
            return "sql"
        return "near_question" if self.near is not None and self.near.near(example.question) else None


def drop_contaminated(train: Sequence[Example], test: TestRows) -> Decontaminated:
    """Take out of `train` what meets a test row."""
    kept: list[Example] = []
    dropped: dict[str, list[str]] = {reason: [] for reason in CONTAMINATIONS}
    for example in train:
        reason = test.shared(example)
        if reason is None:
            kept.append(example)
        else:
            dropped[reason].append(example.id)
    return Decontaminated(kept, dropped)
