"""Demonstrations: answered training examples that a model sees ahead of a question (few-shot prompting).

For each question those training questions are taken that share the most telling words with it, each with a query of
another form, ties by id: the same rows and question always give the same choice. They are shown with the tables that
their query uses. Nothing that a test row has too is ever shown.

Limits: words, not meanings; gold that does not parse or a schema that cannot be read is passed over.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from infra.errors import UserError
from tasks.data.dedupe import DecontaminationSpec, TestRows, drop_contaminated, drop_duplicates
from tasks.data.example import Example
from tasks.data.likeness import content_words
from tasks.data.prompts import Shown
from tasks.data.schema import parse_schema
from tasks.sql.features import features
from tasks.sql.parse import parse
from tasks.sql.skeleton import skeleton

_COMMON = 2000  # rows: a word that more of them have says little and is not looked up


def clear_of(test: Sequence[Example], train: Iterable[Example]) -> list[Example]:
    """The training rows, each once, that share neither question nor query with a test row (which holds gold)."""
    kept, _ = drop_duplicates(train)
    return drop_contaminated(kept, TestRows(test, DecontaminationSpec(), by_database=False)).kept


class Demonstrations:
    """Chooses among training rows; raises UserError when none of them can be shown."""

    def __init__(self, train: Sequence[Example], count: int) -> None:
        self._count = count
        self._rows = [row for row in ((e, _shown(e)) for e in sorted(train, key=lambda e: e.id)) if row[1] is not None]
        if not self._rows:
            raise UserError(
                "no training row can be shown as a demonstration: each shares something with a test row, "
                "or cannot be read"
            )
        words = [content_words(example.question) for example, _ in self._rows]
        found = Counter(word for each in words for word in each)
        self._weight = {word: math.log(1 + len(self._rows) / count) for word, count in found.items()}
        self._length = [sum(self._weight[word] for word in each) for each in words]
        self._with: dict[str, list[int]] = defaultdict(list)
        for number, each in enumerate(words):
            for word in each:
                if found[word] <= _COMMON:
                    self._with[word].append(number)
        self._forms = [skeleton(example.sql) for example, _ in self._rows]

    def of(self, question: str) -> list[Shown]:
        """The demonstrations for one question, the most alike last, next to it."""
        words = content_words(question)
        shared: Counter[int] = Counter()
        for word in words:
            for number in self._with.get(word, ()):
                shared[number] += self._weight[word]
        asked = sum(self._weight.get(word, 0.0) for word in words)
        # Shared weight over that of both (Jaccard), so that a long question is not like everything.
        alike = {n: weight / (asked + self._length[n] - weight) for n, weight in shared.items()}
        ranked = sorted(alike, key=lambda n: (-alike[n], n))
        others = (n for n in range(len(self._rows)) if n not in alike)
        chosen: dict[str, int] = {}
        for number in chain(ranked, others):
            if len(chosen) == self._count:
                break
            chosen.setdefault(self._forms[number], number)
        return [self._rows[number][1] for number in reversed(chosen.values())]


def _shown(example: Example) -> Shown | None:
    parsed = parse(example.sql, example.dialect)
    if parsed.tree is None:
        return None
    try:
        schema = parse_schema(example.schema).only(features(parsed.tree).tables)
    except UserError:
        return None
    return Shown(schema, example.question.strip(), example.evidence.strip(), example.sql) if schema.tables else None
