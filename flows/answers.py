"""Letting models answer a test split and judging what they say: the same for a night and for `nightshift evaluate`.

Predictions and scorecards are kept in the store under the fingerprint of what they depend on, so that nothing is asked
or judged twice. Answers of a run that was broken off are kept as well, here and (every minute) in the store, so that
the next run goes on with them, on whatever machine it lands.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from infra.errors import first_line
from infra.hashing import code_version, fingerprint
from infra.progress import emit
from infra.refs import Ref
from infra.store import Store
from tasks.data.dataset import write_examples
from tasks.data.demonstrations import clear_of
from tasks.data.example import Example
from tasks.data.prompts import PromptSpec
from tasks.data.strata import stratified_sample
from tasks.data.values import add_values
from tasks.evaluation.predictions import read_predictions
from tasks.evaluation.scorecard import Role, Scorecard, Subject
from tasks.evaluation.scorecard_build import build_scorecard
from tasks.evaluation.spec import EvaluationSpec
from tasks.models.answers import partial_of
from tasks.models.endpoint import EndpointSpec
from tasks.models.job import GenerationJob, SubjectJob
from tasks.models.resolve import LocalModel
from tasks.models.running import run_generation
from tasks.sql.executor import Limits

ANSWERING_CODE = (
    "tasks.models",
    "tasks.data.demonstrations",
    "tasks.data.formats",
    "tasks.data.likeness",
    "tasks.data.prompts",
    "tasks.data.rendering",
    "tasks.data.schema",
    "tasks.data.values",
    "tasks.sql.continuation",
    "tasks.sql.grammar",
    "tasks.sql.scope",
    "tasks.sql.copying",
    "tasks.sql.executor",
    "tasks.sql.extraction",
)
JUDGING_CODE = ("tasks.sql", "tasks.evaluation")
LIBRARIES = ("torch", "transformers", "peft", "sqlglot")
SAVE_SECONDS = 60.0  # between two copies of unfinished answers to the store

Generate = Callable[[GenerationJob, Path, Callable[[], None]], None]


@dataclass(frozen=True)
class Candidate:
    """One model to judge: a base model with or without an adapter, or a server; and the prompt format it was taught."""

    role: Role
    name: str
    base: LocalModel | EndpointSpec
    adapter: Path | None
    adapter_hash: str
    prompt: PromptSpec
    version: str | None = None
    four_bit: str = ""  # nf4 or fp4: how the base's weights are held while it answers

    @property
    def endpoint(self) -> EndpointSpec | None:
        """The server, if it is one."""
        return self.base if isinstance(self.base, EndpointSpec) else None

    @property
    def fingerprint(self) -> str:
        """What its answers depend on."""
        base = [self.base.url, self.base.model] if isinstance(self.base, EndpointSpec) else self.base.fingerprint
        held = [self.four_bit] if self.four_bit else []
        return fingerprint([base, self.adapter_hash, self.prompt.model_dump(mode="json"), *held])


def draw(rows: Sequence[Example], most: int | None) -> list[Example]:
    """At most so many rows, by hash: files are sorted by database, so the first rows would be about a few of them."""
    return stratified_sample(rows, most or len(rows), ("difficulty",), "evaluation")


def answer(
    store: Store,
    candidates: Sequence[Candidate],
    examples: Sequence[Example],
    test: str,
    spec: EvaluationSpec,
    work: Path,
    generate: Generate = run_generation,
    train: Callable[[], Iterable[Example]] = tuple,
) -> dict[str, Ref]:
    """Predictions of every candidate, generated where the store has none; returns their references by role.

    `test` is the fingerprint of the examples, `work` a folder for unfinished answers that outlives a crash, `train`
    gives the rows that may be shown to models without an adapter, sample values behind their schemas. A server is
    always asked: what it serves under a name may have changed.
    """
    pool = clear_of(examples, train()) if spec.shots and any(c.adapter is None for c in candidates) else []
    shown = [spec.shots, [example.to_row() for example in pool]] if spec.shots else []
    drawn = [spec.samples, spec.temperature] if spec.samples else []
    settings = [spec.max_new_tokens, spec.corrections, drawn, code_version(ANSWERING_CODE, LIBRARIES)]
    refs: dict[str, Ref] = {}
    for candidate in candidates:
        mark = fingerprint([candidate.fingerprint, test, settings, shown if candidate.adapter is None else []])
        refs[candidate.role] = Ref(kind="predictions", fingerprint=mark, key=f"predictions/{mark}.jsonl")
    asked = [c for c in candidates if c.endpoint or not store.exists(refs[c.role].key)]
    if asked:
        job = _job(asked, refs, examples, pool, spec, work)
        unfinished = Unfinished(store, [work / subject.output for subject in job.subjects])
        unfinished.fetch()
        generate(job, work, unfinished.save)
        for candidate in asked:
            ref = refs[candidate.role]
            store.write(ref.key, (work / f"{ref.fingerprint}.jsonl").read_bytes())
        unfinished.forget()
    return refs


def _job(
    asked: Sequence[Candidate],
    refs: dict[str, Ref],
    examples: Sequence[Example],
    pool: Sequence[Example],
    spec: EvaluationSpec,
    work: Path,
) -> GenerationJob:
    most = max(c.prompt.sample_values for c in asked)  # a prompt that shows fewer takes what it shows
    # Gold stays here: whoever answers never sees it.
    write_examples(work / "test.jsonl", (replace(e, sql="") for e in add_values(examples, most)))
    if pool:
        write_examples(work / "shown.jsonl", pool)
    subjects = tuple(
        SubjectJob(
            role=c.role,
            base="" if isinstance(c.base, EndpointSpec) else str(c.base.path),
            adapter=str(c.adapter or ""),
            four_bit=c.four_bit,
            endpoint=c.endpoint,
            prompt=c.prompt,
            demonstrations=0 if c.adapter else spec.shots,
            output=f"{refs[c.role].fingerprint}.jsonl",
        )
        for c in asked
    )
    return GenerationJob(
        examples=str(work / "test.jsonl"),
        demonstrations=str(work / "shown.jsonl") if pool else "",
        subjects=subjects,
        max_new_tokens=spec.max_new_tokens,
        batch_size=spec.batch_size,
        corrections=spec.corrections,
        samples=spec.samples,
        temperature=spec.temperature,
        seconds_per_query=spec.seconds_per_query,
        workers=spec.workers,
    )


class Unfinished:
    """Partial files of some outputs, copied to the store now and then."""

    def __init__(self, store: Store, outputs: Sequence[Path]) -> None:
        self._store, self._files = store, [partial_of(output) for output in outputs]
        self._saved: dict[Path, int] = {}
        self._due = time.monotonic() + SAVE_SECONDS

    def fetch(self) -> None:
        """Take from the store what another machine had answered; what lies here is newer."""
        for file in self._files:
            if not file.exists() and self._store.exists(self._key(file)):
                self._store.fetch(self._key(file), file)

    def save(self) -> None:
        """Copy what has grown, if it is time; a copy that fails is told of and tried again, it ends no run."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + SAVE_SECONDS
        for file in self._files:
            try:
                content = file.read_bytes()
            except FileNotFoundError:  # not begun yet, or finished
                continue
            if len(content) > self._saved.get(file, 0):
                try:
                    self._store.write(self._key(file), content)
                except Exception as error:  # whatever a store or its network can raise
                    emit("answer: keeping", f"unfinished answers were not copied to the store: {first_line(error)}")
                else:
                    self._saved[file] = len(content)

    def forget(self) -> None:
        """The answers are finished: drop the copies."""
        for file in self._files:
            self._store.delete(self._key(file))

    @staticmethod
    def _key(file: Path) -> str:
        return f"predictions/{file.name}"


def judge(
    store: Store,
    candidate: Candidate,
    predictions: Ref,
    examples: Sequence[Example],
    test: str,
    spec: EvaluationSpec,
    work: Path,
) -> Ref:
    """The scorecard of one candidate, from its predictions; kept in the store."""
    limits = Limits(seconds=spec.seconds_per_query)
    code = code_version(JUDGING_CODE, ("sqlglot",))
    content = store.read(predictions.key)
    read = hashlib.sha256(content).hexdigest()
    # The name and role stand in the scorecard as well.
    mark = fingerprint([read, test, asdict(limits), spec.suite, code, candidate.role, candidate.name])
    ref = Ref(kind="scorecard", fingerprint=mark, key=f"scorecards/{mark}.json")
    if not store.exists(ref.key):
        path = work / f"{predictions.fingerprint}.read.jsonl"
        path.write_bytes(content)
        subject = Subject(role=candidate.role, name=candidate.name, fingerprint=candidate.fingerprint)
        card = build_scorecard(
            examples,
            read_predictions(path, [e.id for e in examples]),
            subject,
            test,
            limits=limits,
            workers=spec.workers,
            suite=spec.suite,
            progress=lambda done, total: emit(f"judge: {candidate.role}", "", done, total),
        )
        store.write(ref.key, card.model_dump_json().encode())
    return ref


def load_scorecard(store: Store, ref: Ref) -> Scorecard:
    """The scorecard behind a reference."""
    return Scorecard.model_validate_json(store.read(ref.key))
