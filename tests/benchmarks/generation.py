"""Generation: tokens a second batched against one question at a time, and what ROUGE, BLEU and statistics take.

Run: `python -m tests.benchmarks.generation [RECIPE] [QUESTIONS]`, by default the tiny random model and 48 questions;
`quickstart 72` is the figure to quote. Questions are drawn from the recipe's sources, asked and decoded as its night
does (constrained where the recipe says so), then judged as `nightshift evaluate` judges them.

Rates are given by the clock and by processor seconds, all processes together: the second kind holds on a busy machine
too. Every way of asking answers the same questions; where the texts differ (rounding in half precision), it is told.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console
from rich.table import Table

from flows.recipe import Recipe, load_recipe
from infra.hashing import fingerprint
from infra.settings import load_settings
from tasks.data.example import Example
from tasks.data.ingest import read_sources
from tasks.data.prompts import Prompter
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.scorecard import Scorecard, Subject
from tasks.evaluation.scorecard_build import build_scorecard
from tasks.models.decoding import continuation
from tasks.models.generation import Generation, generate
from tasks.models.loading import load_base, load_tokenizer
from tasks.models.resolve import resolve_model
from tests.benchmarks.metrics import statistics, texts, timed

GOAL_RATIO, GOAL_SHARE = 4.0, 0.10


class Asked:
    """The questions of a benchmark and the model that answers them."""

    def __init__(self, recipe: Recipe, questions: int) -> None:
        self.recipe = recipe
        examples = read_sources(recipe.data.sources).examples
        self.examples = random.Random(5).sample(examples, min(questions, len(examples)))
        folder = resolve_model(recipe.model, load_settings().models_path, say=print).path
        self._tokenizer, self._model = load_tokenizer(folder), load_base(folder)
        self._prompter = Prompter(recipe.prompt, self._tokenizer)
        self._prompts = [self._prompter.render(e.schema, e.question, e.evidence) for e in self.examples]

    def batched(self) -> list[Generation]:
        """All questions in the recipe's batches."""
        return self._generate(range(len(self.examples)))

    def one_at_a_time(self) -> list[Generation]:
        """Question after question, as they come."""
        return [self._generate([number])[0] for number in range(len(self.examples))]

    def _generate(self, numbers: Sequence[int]) -> list[Generation]:
        spec, prompt = self.recipe.evaluation, self.recipe.prompt
        asked = [self.examples[number] for number in numbers]
        rules = [continuation(prompt, example.schema, example.question) for example in asked]
        texts = [self._prompts[number] for number in numbers]
        limits = (spec.max_new_tokens, spec.batch_size)
        return generate(self._model, self._tokenizer, texts, *limits, rules=rules, ends=self._prompter.end_ids)


def judged(
    examples: Sequence[Example], made: Sequence[Generation], recipe: Recipe
) -> tuple[list[Prediction], Scorecard]:
    """What `evaluate` does with the answers."""
    predictions = [Prediction(e.id, m.text, m.tokens, m.seconds) for e, m in zip(examples, made, strict=True)]
    subject = Subject(role="base", name=recipe.model, fingerprint="")
    test = fingerprint([example.to_row() for example in examples])
    return predictions, build_scorecard(examples, predictions, subject, test, workers=recipe.evaluation.workers)


def main() -> None:
    """Print both tables."""
    recipe = load_recipe(sys.argv[1] if len(sys.argv) > 1 else "tiny")
    asked = Asked(recipe, int(sys.argv[2]) if len(sys.argv) > 2 else 48)
    asked.batched()  # the first call pays for what is loaded and compiled late
    answers: dict[str, list[Generation]] = {}
    costs: dict[str, tuple[float, float]] = {}
    ways: list[tuple[str, Callable[[], list[Generation]]]] = [
        ("one at a time", asked.one_at_a_time),
        (f"batches of {recipe.evaluation.batch_size}, sorted", asked.batched),
    ]
    for name, way in ways:
        costs[name] = timed(lambda name=name, way=way: answers.update({name: way()}))
    (alone, single), (together, batch) = answers.items()
    table = Table(
        "", "tokens/s, clock", "tokens/s, processor", "times", title=f"{recipe.name}: {len(single)} questions"
    )
    for name, made in answers.items():
        tokens, (clock, processor) = sum(one.tokens for one in made), costs[name]
        faster = costs[alone][0] / clock
        table.add_row(name, f"{tokens / clock:,.0f}", f"{tokens / processor:,.0f}", f"{faster:.1f}")
    Console().print(table)
    clock, processor = (one / many for one, many in zip(costs[alone], costs[together], strict=True))
    print(f"goal: {GOAL_RATIO:g} times; {clock:.1f} by the clock, {processor:.1f} by processor seconds")
    different = sum(one.text != other.text for one, other in zip(single, batch, strict=True))
    print(f"answers that differ between the two: {different}")
    _shares(asked, batch, costs[together])


def _shares(asked: Asked, made: list[Generation], generating: tuple[float, float]) -> None:
    found: list[tuple[list[Prediction], Scorecard]] = []
    judging = timed(lambda: found.append(judged(asked.examples, made, asked.recipe)))
    predictions, card = found[0]
    parts = {
        "ROUGE and BLEU": timed(lambda: texts(asked.examples, predictions)),
        "statistics": timed(lambda: statistics(card)),
    }
    whole = generating[1] + judging[1]
    table = Table("", "seconds, clock", "seconds, processor", "share of processor", title="evaluate, with generation")
    rows = {"generation": generating, "judging, every metric": judging, **{f"  {n} of it": t for n, t in parts.items()}}
    for name, (clock, processor) in rows.items():
        table.add_row(name, f"{clock:.2f}", f"{processor:.2f}", f"{processor / whole:.1%}")
    Console().print(table)
    share = sum(processor for _, processor in parts.values()) / whole
    print(f"goal: ROUGE, BLEU and statistics at most {GOAL_SHARE:.0%}; {share:.1%}")


if __name__ == "__main__":
    main()
