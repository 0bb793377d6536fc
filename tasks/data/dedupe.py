"""Duplicates within the data and contamination of training by test rows.

Two rows are the same when the normalised question and the schema are: the same question over another schema is another
example. Earlier sources win. Training rows that share a database or a (question, schema) with a test row are
contaminated. Every row that goes is counted by id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from infra.hashing import fingerprint
from tasks.data.example import Example

_NOT_WORD = re.compile(r"[^\w]+")


@lru_cache(maxsize=4096)
def schema_key(schema: str) -> str:
    """The fingerprint of a schema, white space and case aside."""
    return fingerprint(" ".join(schema.lower().split()))


def question_key(example: Example) -> tuple[str, str]:
    """What makes two examples the same: lower-cased words of question and evidence, and the schema."""
    words = _NOT_WORD.sub(" ", f"{example.question} {example.evidence}".lower()).strip()
    return words, schema_key(example.schema)


def drop_duplicates(examples: Iterable[Example]) -> tuple[list[Example], list[str]]:
    """Keep the first of equal examples; returns (kept, ids of the dropped)."""
    seen: set[tuple[str, str]] = set()
    kept, dropped = [], []
    for example in examples:
        key = question_key(example)
        if key in seen:
            dropped.append(example.id)
        else:
            seen.add(key)
            kept.append(example)
    return kept, dropped


def drop_contaminated(train: Sequence[Example], test: Sequence[Example]) -> tuple[list[Example], list[str]]:
    """Training rows that meet no test row; returns (kept, ids of the contaminated)."""
    databases = {example.db_id for example in test}
    keys = {question_key(example) for example in test}
    kept = [e for e in train if e.db_id not in databases and question_key(e) not in keys]
    clean = {example.id for example in kept}
    return kept, [example.id for example in train if example.id not in clean]
