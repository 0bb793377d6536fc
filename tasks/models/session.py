"""The generation process: `python -m tasks.models.session JOB.json`.

Answers the same examples with several subjects (a base model, an adapter on it, or a server); each base is loaded once.
Each subject's predictions are written to a file of their own, whole or not at all; its answers are kept as they come
(`tasks.models.answers`), so an interrupted job goes on with the questions that are left.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from tasks.data.dataset import read_examples
from tasks.data.demonstrations import Demonstrations
from tasks.data.example import Example
from tasks.data.prompts import Prompter, Rendered
from tasks.models.answers import KeptAnswers
from tasks.models.asking import Asker, Generator, Progress, answer_all
from tasks.models.chance import seed_of
from tasks.models.checking import Checker
from tasks.models.endpoint import Endpoint, PlainTokenizer
from tasks.models.generation import Generation, generate
from tasks.models.job import PROGRESS, GenerationJob, SubjectJob
from tasks.models.loading import load_adapter, load_base, load_tokenizer, without_adapter
from tasks.models.process import child_main, write_atomically

BATCHES = 4  # answered between two writes to disk


class _Session:
    """One job: the examples, and what its subjects share."""

    def __init__(self, job: GenerationJob, work: Path, checker: Checker | None) -> None:
        self.job, self.work, self._checker = job, work, checker
        self._examples = read_examples(Path(job.examples))
        self._pool = read_examples(Path(job.demonstrations)) if job.demonstrations else []

    def local(self, subject: SubjectJob, base: Any, tokenizer: Any) -> None:
        """Answer with a loaded base model, or with an adapter on it."""
        from tasks.models.decoding import continuation

        prompter = Prompter(subject.prompt, tokenizer)
        model = load_adapter(base, Path(subject.adapter)) if subject.adapter else base

        def ask(
            prompts: Sequence[Rendered], asked: Sequence[Example], progress: Progress, temperature: float = 0.0
        ) -> list[Generation]:
            rules = [continuation(subject.prompt, example.schema, example.question) for example in asked]
            limits = (self.job.max_new_tokens, self.job.batch_size)
            chance = (temperature, seed_of([example.id for example in asked]))
            texts = [prompt.text for prompt in prompts]
            return generate(model, tokenizer, texts, *limits, progress, rules, prompter.end_ids, *chance)

        self._answer(subject, prompter, ask, BATCHES * self.job.batch_size)
        without_adapter(model)

    def remote(self, subject: SubjectJob) -> None:
        """Answer with a server, many questions in flight, each kept as it comes."""
        spec = subject.endpoint
        with closing(Endpoint(spec, self.job.max_new_tokens)) as server:
            self._answer(subject, Prompter(subject.prompt, PlainTokenizer()), server, 1, spec.concurrency)

    def _answer(self, subject: SubjectJob, prompter: Prompter, ask: Generator, part: int, parallel: int = 1) -> None:
        def progress(done: int, total: int) -> None:
            write_atomically(self.work / PROGRESS, {"role": subject.role, "done": done, "total": total})

        shown = Demonstrations(self._pool, subject.demonstrations) if subject.demonstrations else None
        drawn = (self.job.samples, self.job.temperature)
        asker = Asker(prompter, ask, shown, self._checker, self.job.corrections, *drawn)
        with KeptAnswers(self.work / subject.output) as kept:
            answer_all(self._examples, asker, kept, part, progress, parallel)
            kept.finish([example.id for example in self._examples])


def run(path: Path) -> None:
    """Answer with every subject whose predictions file is missing."""
    job, work = GenerationJob.model_validate_json(path.read_text()), path.parent
    missing = [s for s in job.subjects if not (work / s.output).is_file()]
    checks = job.corrections > 0 and missing
    with closing(Checker(job.seconds_per_query, job.workers)) if checks else nullcontext() as checker:
        session = _Session(job, work, checker)
        for subject in missing:
            if subject.endpoint:
                session.remote(subject)
        for base, four_bit in dict.fromkeys((s.base, s.four_bit) for s in missing if not s.endpoint):
            tokenizer, model = load_tokenizer(Path(base)), load_base(Path(base), four_bit=four_bit)
            for subject in missing:
                if (subject.base, subject.four_bit) == (base, four_bit) and not subject.endpoint:
                    session.local(subject, model, tokenizer)


if __name__ == "__main__":
    raise SystemExit(child_main(run, sys.argv))
