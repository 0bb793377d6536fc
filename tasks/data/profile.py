"""Counting a profile: what a data set holds, as numbers (`tasks.data.profile_document`).

Everything is counted over all readable rows, nothing is judged: what may be trained on is for validation to say.
Tokens are those of the given tokenizer, else words and signs, which every machine counts alike. Limits: one pass in
memory; the parser takes about a millisecond for every different query.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from infra.errors import UserError
from tasks.data.dedupe import question_key, schema_key
from tasks.data.example import Example
from tasks.data.held import Undrawn
from tasks.data.likeness import sql_spelling
from tasks.data.mapping import BadRecord
from tasks.data.profile_document import COMPLEXITIES, Counts, Profile, Sample
from tasks.data.profile_numbers import Distribution, distribution, joint
from tasks.data.schema import parse_schema
from tasks.sql.features import Features, clauses, difficulty, features
from tasks.sql.hardness import hardness
from tasks.sql.parse import parse
from tasks.sql.tokens import tokens

TOP = 30
_KEYWORDS = frozenset(
    """ALL AND AS ASC AVG BETWEEN BY CASE CAST COALESCE COUNT CROSS DELETE DESC DISTINCT ELSE END EXCEPT EXISTS FROM
    FULL GROUP HAVING IN INNER INSERT INTERSECT INTO IS JOIN LEFT LIKE LIMIT MAX MIN NOT NULL OFFSET ON OR ORDER OUTER
    OVER PARTITION RANK RIGHT ROUND ROW_NUMBER SELECT SET SUBSTR SUM THEN UNION UPDATE VALUES WHEN WHERE WITH""".split()  # noqa: SIM905 - a list of 60 strings would fill a page
)
_SIGNS = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")


def count_signs(texts: Sequence[str]) -> list[int]:
    """Words and signs of each text."""
    return [len(_SIGNS.findall(text)) for text in texts]


def profile_examples(
    data: str,
    examples: Sequence[Example],
    bad: Sequence[BadRecord],
    *,
    undrawn: Sequence[Undrawn] = (),
    tokenizer: str = "words and signs",
    count_tokens: Callable[[Sequence[str]], list[int]] = count_signs,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """The profile of `examples`, and of how many records `bad` could not be read."""
    found: list[Features | None] = []
    levels: Counter[str] = Counter()
    for place, example in enumerate(examples):
        tree = parse(example.sql, example.dialect).tree
        found.append(features(tree) if tree is not None else None)
        level = hardness(tree) if tree is not None else None
        levels[level or "none"] += 1
        if progress is not None and place % 200 == 0:
            progress(place, len(examples))
    complexity = [_complexity(one) if one else "" for one in found]
    keywords = [_keywords(example.sql) for example in examples]
    databases = Counter(example.db_id for example in examples)
    domains = _top(e.domain for e in examples if e.domain)
    by_domain = sum(bool(e.domain) for e in examples) > len(examples) / 2
    texts = {
        "question": [e.question for e in examples],
        "evidence": [e.evidence for e in examples if e.evidence],
        "schema": [e.schema for e in examples],
        "sql": [e.sql for e in examples],
    }
    schemas = [_shape(e.schema, e.dialect) for e in examples]
    return Profile(
        data=data,
        rows=len(examples),
        unreadable=len(bad),
        undrawn=sum(left.rows for left in undrawn),
        unreadable_reasons=_top(reason for record in bad for reason in record.reasons),
        missing={
            name: sum(not getattr(e, name).strip() for e in examples)
            for name in ("question", "sql", "schema", "evidence", "domain", "setup")
        },
        sources=_top(e.source for e in examples),
        splits=_top(e.tags["split"] for e in examples if "split" in e.tags),
        dialects=_top(e.dialect for e in examples),
        domains=domains,
        databases=_top(databases.elements()),
        database_count=len(databases),
        rows_per_database=distribution(list(databases.values())),
        difficulty=_ordered(
            (e.difficulty or (difficulty(f) if f else "unparsed") for e, f in zip(examples, found, strict=True)),
            ("easy", "medium", "hard", "unparsed"),
        ),
        hardness=_ordered(levels.elements(), ("easy", "medium", "hard", "extra", "none")),
        complexity=_ordered((one for one in complexity if one), COMPLEXITIES),
        statements=_top(f.kind for f in found if f),
        parsed=sum(f is not None for f in found),
        clauses=_top(clause for f in found if f for clause in clauses(f)),
        keywords=_top(word for words in keywords for word in words),
        keywords_by_complexity={
            name: numbers
            for name in COMPLEXITIES
            if (numbers := distribution([len(k) for k, c in zip(keywords, complexity, strict=True) if c == name]))
        },
        domain_complexity=_crossed([e.domain if by_domain else e.db_id for e in examples], complexity),
        tables_used=_capped((len(f.tables) for f in found if f), 10),
        tables_in_schema=_capped((tables for tables, _ in schemas if tables), 10),
        columns_in_schema=distribution([columns for _, columns in schemas if columns]),
        characters=_lengths(texts, lambda values: [len(value) for value in values]),
        tokens=_lengths(texts, count_tokens),
        tokenizer=tokenizer,
        question_and_sql=joint([len(e.question) for e in examples], [len(e.sql) for e in examples]),
        **_vocabulary(texts["question"]),
        duplicates=_duplicates(examples),
        examples=_samples(examples, found),
    )


def _complexity(found: Features) -> str:
    """The class that gretel's `sql_complexity` would give: the last that applies."""
    applies = {
        "basic SQL": True,
        "aggregation": found.aggregates > 0 or found.group_by,
        "single join": found.joins == 1,
        "multiple joins": found.joins > 1,
        "subqueries": found.subqueries > 0,
        "set operations": found.set_operations > 0,
        "window functions": found.window,
        "CTEs": found.cte,
    }
    return next(name for name in reversed(COMPLEXITIES) if applies[name])


def _keywords(sql: str) -> list[str]:
    return [word for token in tokens(sql) if token.lastgroup == "word" and (word := token.group().upper()) in _KEYWORDS]


def _shape(schema: str, dialect: str) -> tuple[int, int]:
    """Tables and columns of a schema; zeros when it cannot be read."""
    try:
        parsed = parse_schema(schema, dialect)
    except (UserError, RecursionError):
        return 0, 0
    return len(parsed.tables), sum(len(table.columns) for table in parsed.tables)


def _top(values: Iterable[str], most: int = TOP) -> Counts:
    return dict(Counter(values).most_common(most))


def _ordered(values: Iterable[str], order: Sequence[str]) -> Counts:
    counts = Counter(values)
    return {name: counts[name] for name in (*order, *sorted(set(counts) - set(order))) if counts[name]}


def _capped(values: Iterable[int], cap: int) -> Counts:
    counts = Counter(min(value, cap) for value in values)
    return {f"{value}+" if value == cap else str(value): counts[value] for value in sorted(counts)}


def _crossed(groups: Sequence[str], kinds: Sequence[str], most: int = 10) -> dict[str, Counts]:
    chosen = [name for name, _ in Counter(filter(None, groups)).most_common(most)]
    return {
        name: _ordered((kind for one, kind in zip(groups, kinds, strict=True) if one == name and kind), COMPLEXITIES)
        for name in chosen
    }


def _lengths(texts: dict[str, list[str]], measure: Callable[[Sequence[str]], list[int]]) -> dict[str, Distribution]:
    found = {}
    for name, values in texts.items():
        different = list(dict.fromkeys(values))  # a schema stands in many rows and is measured once
        known = dict(zip(different, measure(different), strict=True))
        numbers = distribution([known[value] for value in values])
        if numbers is not None:
            found[name] = numbers
    return found


def _vocabulary(questions: Sequence[str]) -> dict[str, Any]:
    words: Counter[str] = Counter()
    openings: Counter[str] = Counter()
    for question in questions:
        said = [word.lower() for word in _WORD.findall(question)]
        words.update(said)
        openings[" ".join(said[:2])] += 1
    total = sum(words.values())
    numbers: dict[str, int | float] = {
        "words": total,
        "different": len(words),
        "once": sum(count == 1 for count in words.values()),
        "words_per_question": round(total / len(questions), 2) if questions else 0.0,
    }
    return {"vocabulary": numbers, "words": dict(words.most_common(TOP)), "openings": dict(openings.most_common(15))}


def _duplicates(examples: Sequence[Example]) -> Counts:
    """How many rows repeat an earlier one, by what they repeat."""
    answers: dict[Hashable, str] = {}
    conflicts = 0
    for example in examples:
        sql = sql_spelling(example.sql)
        conflicts += answers.setdefault(question_key(example), sql) != sql
    return {
        "same id": _repeats(e.id for e in examples),
        "same question and schema": _repeats(question_key(e) for e in examples),
        "same question and schema, other SQL": conflicts,
        "same question, any schema": _repeats(question_key(e)[0] for e in examples),
        "same SQL and schema": _repeats((sql_spelling(e.sql), schema_key(e.schema)) for e in examples),
        "same SQL, any schema": _repeats(sql_spelling(e.sql) for e in examples),
    }


def _repeats(keys: Iterable[Hashable]) -> int:
    return sum(count - 1 for count in Counter(keys).values())


def _samples(examples: Sequence[Example], found: Sequence[Features | None]) -> list[Sample]:
    """Rows spread over each difficulty, and the longest of each text."""
    chosen: list[tuple[str, Example]] = []
    for level in ("easy", "medium", "hard"):
        rows = [e for e, f in zip(examples, found, strict=True) if (e.difficulty or (f and difficulty(f))) == level]
        chosen += [(level, rows[len(rows) * place // 4]) for place in range(1, 4) if rows]
    chosen += [("does not parse", e) for e, f in zip(examples, found, strict=True) if f is None][:3]
    if examples:
        chosen.append(("longest question", max(examples, key=lambda e: len(e.question))))
        chosen.append(("longest SQL", max(examples, key=lambda e: len(e.sql))))
    unique = {(why, e.id): (why, e) for why, e in chosen}
    return [
        Sample(
            id=e.id,
            database=e.db_id,
            difficulty=e.difficulty,
            why=why,
            question=e.question[:2000],
            evidence=e.evidence[:2000],
            sql=e.sql[:4000],
        )
        for why, e in unique.values()
    ]
