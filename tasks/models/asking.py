"""Asking one model many questions: prompts in, answers out, in parts that are kept as they are finished.

The parts are the same whenever the same questions are asked, and a part is answered whole or again, so that a run that
goes on after a crash answers in the same batches as one that was never broken off: its answers are the same.

A model may correct itself: an answer that does not run is shown to it with the database's message, and it answers
again. The last answer counts. Samples are further answers to the same prompt, drawn by chance and never corrected.

Limits: a question whose schema does not fit the prompt is not asked; its answer is empty.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Protocol

from infra.errors import NightshiftError, UserError
from tasks.data.demonstrations import Demonstrations
from tasks.data.example import Example
from tasks.data.prompts import Prompter, Rendered
from tasks.data.schema import PromptTooLong
from tasks.models.answers import Answer, KeptAnswers
from tasks.models.checking import Checker
from tasks.models.generation import Generation
from tasks.sql.extraction import extract_sql

Progress = Callable[[int, int], None]
_AGAIN = "{evidence}\nThis query does not run: {sql}\n{trouble}\nWrite one that does."


class Generator(Protocol):
    """Whatever answers prompts: a model in this process, or a server."""

    def __call__(
        self, prompts: Sequence[Rendered], examples: Sequence[Example], progress: Progress, temperature: float = 0.0
    ) -> list[Generation]:
        """One answer a prompt, in order; `examples` are what the prompts ask, `progress(done, total)` counts them.

        Above a `temperature` of 0 answers are drawn by chance: a prompt that comes several times has several.
        """


@dataclass(frozen=True)
class Asker:
    """How questions become answers: prompts, with demonstrations if there are any, and up to `corrections` more tries.

    Without `checker` nothing is tried again. To each question `samples` further answers are drawn at `temperature`.
    """

    prompter: Prompter
    generator: Generator
    demonstrations: Demonstrations | None = None
    checker: Checker | None = None
    corrections: int = 0
    samples: int = 0
    temperature: float = 0.8

    def prompt(self, example: Example) -> Rendered | None:
        """The prompt, or None where the schema does not fit: no answer is better than one to a cut question."""
        shown = self.demonstrations.of(example.question) if self.demonstrations else ()
        try:
            return self.prompter.fit(example.schema, example.question, example.evidence, shown=shown)
        except PromptTooLong:
            return None
        except UserError as error:
            raise UserError(f"example {example.id!r}: {error}") from None

    def ask(self, examples: Sequence[Example], prompts: Sequence[Rendered], progress: Progress) -> list[Answer]:
        """The answers to `examples`, corrected where that was asked for and helped the query to run; their samples."""
        answers = self._answers(examples, prompts, progress)
        if not self.samples:
            return answers
        places = [place for place in range(len(prompts)) for _ in range(self.samples)]
        again = [prompts[place] for place in places], [examples[place] for place in places]
        texts = [one.text for one in self.generator(*again, lambda *_: None, self.temperature)]
        drawn = [tuple(texts[i * self.samples : (i + 1) * self.samples]) for i in range(len(prompts))]
        return [replace(answer, samples=some) for answer, some in zip(answers, drawn, strict=True)]

    def _answers(self, examples: Sequence[Example], prompts: Sequence[Rendered], progress: Progress) -> list[Answer]:
        made = self.generator(prompts, examples, progress)
        answers = [_answer(example, one) for example, one in zip(examples, made, strict=True)]
        if self.demonstrations is not None:
            answers = [replace(answer, shown=prompt.shown) for answer, prompt in zip(answers, prompts, strict=True)]
        if self.checker is None:
            return answers
        answers = [replace(answer, tries=1) for answer in answers]
        open_ = list(range(len(answers)))
        for _ in range(self.corrections):
            open_ = self._again(examples, answers, open_)
            if not open_:
                break
        return answers

    def _again(self, examples: Sequence[Example], answers: list[Answer], numbers: list[int]) -> list[int]:
        """Ask again what does not run, in place; the numbers of the answers that are new."""
        asked = [examples[n] for n in numbers]
        troubles = self.checker.troubles(asked, [answers[n].prediction for n in numbers])
        again = [
            (n, prompt)
            for n, example, trouble in zip(numbers, asked, troubles, strict=True)
            if trouble and (prompt := self.prompt(_told(example, answers[n].prediction, trouble))) is not None
        ]
        if not again:
            return []
        made = self.generator([prompt for _, prompt in again], [examples[n] for n, _ in again], lambda *_: None)
        changed = []
        for (n, _), one in zip(again, made, strict=True):
            before, new = answers[n], _answer(examples[n], one)
            tokens = None if new.tokens is None or before.tokens is None else new.tokens + before.tokens
            seconds, tries = new.seconds + before.seconds, before.tries + 1
            answers[n] = replace(new, tokens=tokens, seconds=seconds, tries=tries, shown=before.shown)
            if new.prediction != before.prediction:  # who repeats himself is not asked once more
                changed.append(n)
        return changed


def answer_all(
    examples: Sequence[Example],
    asker: Asker,
    kept: KeptAnswers,
    part: int,
    progress: Progress,
    parallel: int = 1,
) -> None:
    """Answer what `kept` has no answer to, in parts of `part` questions, `parallel` parts at once.

    Long schemas come first, and the questions over one schema together: they share the beginning of their prompts,
    which a generator may read once for all.
    """
    prompts = [asker.prompt(example) for example in examples]
    if asker.demonstrations is not None and not any(prompt.shown for prompt in prompts if prompt):
        raise UserError("no training example fits beside any question's schema: raise prompt.max_tokens, or show none")
    kept.add(Answer(e.id, "") for e, p in zip(examples, prompts, strict=True) if p is None and e.id not in kept.found)
    progress(len(kept.found), len(examples))  # a part may take a minute: until then it would seem to load the model
    keys = [(len(e.schema), e.schema, len(p.text) if p else 0) for e, p in zip(examples, prompts, strict=True)]
    order = sorted((i for i, prompt in enumerate(prompts) if prompt), key=lambda i: keys[i], reverse=True)
    parts = [order[begin : begin + part] for begin in range(0, len(order), part)]
    missing = [numbers for numbers in parts if any(examples[i].id not in kept.found for i in numbers)]

    def ask(numbers: list[int]) -> list[Answer]:
        asked = [examples[i] for i in numbers]
        others = len(kept.found.keys() - {example.id for example in asked}) if parallel == 1 else 0
        tell = (lambda done, _: progress(others + done, len(examples))) if parallel == 1 else (lambda *_: None)
        return asker.ask(asked, [prompts[i] for i in numbers], tell)

    for answers in _each(ask, missing, parallel):
        kept.add(answers)
        progress(len(kept.found), len(examples))


def _each(ask: Callable[[list[int]], list[Answer]], parts: list[list[int]], parallel: int) -> Iterator[list[Answer]]:
    """The answers to each part, as they come; after a failure nothing new is asked, and what is under way still comes.

    Raises the first failure at the end.
    """
    if parallel == 1:
        yield from map(ask, parts)
        return
    stopped = threading.Event()
    failure: NightshiftError | None = None

    def attempt(numbers: list[int]) -> list[Answer]:
        return [] if stopped.is_set() else ask(numbers)

    with ThreadPoolExecutor(parallel) as pool:
        try:
            for future in as_completed([pool.submit(attempt, numbers) for numbers in parts]):
                try:
                    yield future.result()
                except NightshiftError as error:
                    stopped.set()
                    failure = failure or error
        finally:
            stopped.set()
    if failure is not None:
        raise failure


def _answer(example: Example, made: Generation) -> Answer:
    # A server that does not count its tokens gives 0 for a text that surely has some.
    tokens = made.tokens if made.tokens or not made.text else None
    return Answer(example.id, made.text, tokens, made.seconds, gave_up=made.gave_up or None)


def _told(example: Example, answer: str, trouble: str) -> Example:
    """The question with what became of the answer, as evidence: every prompt format has a place for that."""
    told = _AGAIN.format(evidence=example.evidence, sql=extract_sql(answer), trouble=trouble).strip()
    return replace(example, evidence=told)
