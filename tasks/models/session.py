"""The generation process: `python -m tasks.models.session JOB.json`.

Answers the same examples with several subjects (a base model, or an adapter on it); each base is loaded once. Each
subject's predictions are written to a file of their own, whole or not at all, so an interrupted job goes on with the
subjects that are missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.data.dataset import read_examples
from tasks.data.example import Example
from tasks.data.prompts import Prompter, PromptSpec
from tasks.data.schema import PromptTooLong
from tasks.models.decoding import continuation
from tasks.models.generation import Generation, generate
from tasks.models.loading import load_adapter, load_base, load_tokenizer, without_adapter
from tasks.models.process import child_main, write_atomically

PROGRESS = "progress.json"
NO_ANSWER = Generation("", 0, 0.0)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SubjectJob(_Model):
    """One model to ask: a base folder, an adapter folder on it (empty: the base alone), and its prompt format."""

    role: str
    base: str
    adapter: str = ""
    prompt: PromptSpec
    output: str = Field(description="predictions file below the work folder")


class GenerationJob(_Model):
    """The examples and who answers them."""

    examples: str = Field(description="JSONL file of examples")
    subjects: tuple[SubjectJob, ...]
    max_new_tokens: int
    batch_size: int


def run(path: Path) -> None:
    """Answer with every subject whose predictions file is missing."""
    job, work = GenerationJob.model_validate_json(path.read_text()), path.parent
    examples = read_examples(Path(job.examples))
    missing = [s for s in job.subjects if not (work / s.output).is_file()]
    for base in dict.fromkeys(s.base for s in missing):
        tokenizer, model = load_tokenizer(Path(base)), load_base(Path(base))
        for subject in (s for s in missing if s.base == base):
            _answer(job, subject, model, tokenizer, examples, work)


def _answer(
    job: GenerationJob, subject: SubjectJob, base: Any, tokenizer: Any, examples: Sequence[Example], work: Path
) -> None:
    prompter = Prompter(subject.prompt, tokenizer)
    prompts = [_prompt(prompter, e) for e in examples]
    asked = [i for i, prompt in enumerate(prompts) if prompt]
    model = load_adapter(base, Path(subject.adapter)) if subject.adapter else base

    def progress(done: int, total: int) -> None:
        write_atomically(work / PROGRESS, {"role": subject.role, "done": done, "total": total})

    rules = [continuation(subject.prompt, examples[i].schema, examples[i].question) for i in asked]
    texts = [prompts[i] for i in asked]
    found = generate(model, tokenizer, texts, job.max_new_tokens, job.batch_size, progress, rules, prompter.end_ids)
    without_adapter(model)
    answers = dict(zip(asked, found, strict=True))
    _write(work / subject.output, [e.id for e in examples], [answers.get(i, NO_ANSWER) for i in range(len(examples))])


def _prompt(prompter: Prompter, example: Example) -> str:
    """The prompt, or nothing where the schema does not fit: no answer is better than one to a cut question."""
    try:
        return prompter.render(example.schema, example.question, example.evidence)
    except PromptTooLong:
        return ""


def _write(path: Path, ids: Sequence[str], answers: Sequence[Generation]) -> None:
    temporary = path.with_suffix(".part")
    with temporary.open("w", encoding="utf-8") as handle:
        for identifier, answer in zip(ids, answers, strict=True):
            row = {
                "id": identifier,
                "prediction": answer.text,
                "tokens": answer.tokens,
                "seconds": round(answer.seconds, 5),
            }
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    raise SystemExit(child_main(run, sys.argv))
