"""Preference pairs: gold against an answer that running it shows to be wrong.

Wrong answers are proposed by the policy's own samples, by edits of gold (`tasks.sql.mutations`) or by another model
(`tasks.training.endpoint`). Each is judged like a prediction: what matches gold, however it is written, is no wrong
answer and is dropped, as is one that only differs from gold in spacing. Nothing is kept of an example whose gold does
not run, since nothing can be said about it.

Rows are worked on in lots; a finished lot is a file, so that a stage that broke off goes on behind it. The same rows,
settings and seed give the same pairs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from infra.hashing import fingerprint
from tasks.data.example import Example
from tasks.data.schema import parse_schema
from tasks.evaluation.text_metrics import exact_match
from tasks.models.process import write_atomically
from tasks.sql.judgement import Job, Judgement
from tasks.sql.mutations import mutations
from tasks.sql.tokens import tokens
from tasks.training.specs.pairs import PairSpec

LOT = 64  # examples worked on at a time
_TEXTS = 50  # values of the data that edits may put in place of others
FATES = ("kept", "matches", "same_text", "duplicate", "empty", "gold_failed", "unused")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that may be wrong, and who made it: `policy`, `rules:<rule>` or `endpoint:<model>`."""

    sql: str
    maker: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference: for the example `id`, `chosen` (gold) is better than `rejected`, which fails by execution."""

    id: str
    question: str
    evidence: str
    schema: str
    dialect: str
    chosen: str
    rejected: str
    maker: str


Proposer = Callable[[Sequence[Example]], Sequence[Sequence[Candidate]]]
Judge = Callable[[Sequence[Job]], Sequence[Judgement]]


@dataclass
class Pairs:
    """Pairs, and what became of every candidate: `counts[maker][fate]`; `without` counts examples that gave none."""

    pairs: list[Pair] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    without: int = 0

    def count(self, maker: str, fate: str) -> None:
        """Note what became of one candidate."""
        self.counts.setdefault(maker, Counter())[fate] += 1

    def add(self, other: Pairs) -> None:
        """Take in the pairs and counts of another lot."""
        self.pairs += other.pairs
        self.without += other.without
        for maker, fates in other.counts.items():
            self.counts.setdefault(maker, Counter()).update(fates)

    def tried(self) -> int:
        """Candidates looked at."""
        return sum(fates.total() for fates in self.counts.values())

    def summary(self) -> dict[str, int]:
        """How many candidates were tried and what became of them, over all makers."""
        total: Counter[str] = sum(self.counts.values(), Counter())
        return {"pairs": len(self.pairs), "without": self.without, "tried": self.tried()} | {
            fate: total[fate] for fate in FATES
        }


def build_pairs(
    examples: Sequence[Example],
    spec: PairSpec,
    proposers: Mapping[str, Proposer],
    judge: Judge,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Pairs:
    """The pairs of `examples`, lot by lot; finished lots are read from `folder`, others written there.

    `proposers` has one for every origin of the spec.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = Pairs()
    for start in range(0, len(examples), LOT):
        lot = examples[start : start + LOT]
        mark = fingerprint([spec.model_dump(mode="json"), [[e.id, e.schema, e.question, e.sql] for e in lot]])
        path = folder / f"{start // LOT:05d}-{mark}.json"
        if not path.is_file():
            write_atomically(path, _to_json(_pairs_of_lot(lot, spec, proposers, judge)))
        found.add(_from_json(json.loads(path.read_text())))
        if progress is not None:
            progress(min(start + LOT, len(examples)), len(examples))
    return found


def _pairs_of_lot(lot: Sequence[Example], spec: PairSpec, proposers: Mapping[str, Proposer], judge: Judge) -> Pairs:
    found = Pairs()
    kept: dict[int, list[Candidate]] = {place: [] for place in range(len(lot))}
    broken: set[int] = set()
    for origin in spec.origins:
        open_ones = [place for place, has in kept.items() if len(has) < spec.per_example and place not in broken]
        if not open_ones:
            break
        proposed = proposers[origin]([lot[place] for place in open_ones])
        tried = [
            (place, candidate)
            for place, candidates in zip(open_ones, proposed, strict=True)
            for candidate in _told_apart(lot[place], candidates, kept[place], found)
        ]
        judged = judge([job_of(lot[place], candidate.sql) for place, candidate in tried])
        for (place, candidate), judgement in zip(tried, judged, strict=True):
            if judgement.execution_match is None:
                broken.add(place)
            fate = _fate(judgement, len(kept[place]) >= spec.per_example)
            found.count(candidate.maker, fate)
            if fate == "kept":
                kept[place].append(candidate)
    for place, example in enumerate(lot):
        found.without += not kept[place]
        found.pairs += [_pair(example, candidate) for candidate in kept[place]]
    return found


def _told_apart(
    example: Example, candidates: Sequence[Candidate], before: Sequence[Candidate], found: Pairs
) -> list[Candidate]:
    """The candidates worth judging: not empty, not gold's own text, each once."""
    fresh: list[Candidate] = []
    for candidate in candidates:
        if not candidate.sql.strip():
            found.count(candidate.maker, "empty")
        elif exact_match(example.sql, candidate.sql):
            found.count(candidate.maker, "same_text")
        elif any(exact_match(other.sql, candidate.sql) for other in (*before, *fresh)):
            found.count(candidate.maker, "duplicate")
        else:
            fresh.append(candidate)
    return fresh


def _fate(judgement: Judgement, enough: bool) -> str:
    if judgement.execution_match is None:
        return "gold_failed"
    if judgement.execution_match:
        return "matches"
    return "unused" if enough else "kept"


def job_of(example: Example, sql: str) -> Job:
    """The job that judges `sql` as an answer to `example`."""
    return Job(
        example.id,
        example.sql,
        sql,
        schema=example.schema,
        setup=example.setup,
        database=example.database or None,
        dialect=example.dialect,
    )


def _pair(example: Example, candidate: Candidate) -> Pair:
    return Pair(
        example.id,
        example.question,
        example.evidence,
        example.schema,
        example.dialect,
        example.sql,
        candidate.sql,
        candidate.maker,
    )


def propose_edits(spec: PairSpec, seed: int) -> Proposer:
    """Proposes edits of gold, as many an example as the spec says, drawn by `seed` and the example's id."""

    def propose(examples: Sequence[Example]) -> list[list[Candidate]]:
        return [
            [
                Candidate(wrong.sql, f"rules:{wrong.rule}")
                for wrong in islice(
                    mutations(example.sql, _columns(example), _texts(example), example.dialect, f"{seed}|{example.id}"),
                    spec.edits,
                )
            ]
            for example in examples
        ]

    return propose


def _columns(example: Example) -> dict[str, list[str]]:
    return {table.name: [column.name for column in table.columns] for table in parse_schema(example.schema).tables}


def _texts(example: Example) -> list[str]:
    """Texts that stand in the example's data, which a wrong answer may mistake for the one asked about."""
    strings = (match.group() for match in tokens(example.setup) if match.lastgroup == "string")
    return list(islice(dict.fromkeys(text[1:-1].replace("''", "'") for text in strings), _TEXTS))


def _to_json(found: Pairs) -> dict[str, object]:
    return {
        "pairs": [asdict(pair) for pair in found.pairs],
        "counts": {maker: dict(fates) for maker, fates in found.counts.items()},
        "without": found.without,
    }


def _from_json(content: dict) -> Pairs:
    return Pairs(
        [Pair(**pair) for pair in content["pairs"]],
        {maker: Counter(fates) for maker, fates in content["counts"].items()},
        content["without"],
    )
