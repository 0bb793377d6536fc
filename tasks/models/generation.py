"""Batched generation: shared prefixes, rows that are done leave the batch, each stops when its SQL is complete.

Decoding is greedy unless samples are asked for: a scorecard must not depend on chance. The loop is our own where
`transformers.generate` would do, because that one reads every prompt whole and keeps rows that have ended until the
last one ends: together more than half of the time (`python -m tests.benchmarks.generation`). Prompts are padded on the
left (transformers documentation, "Padding side"), and between a shared prefix and its rest; padding is masked and does
not count as a position.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.models.batching import Batch, plan_batches
from tasks.models.chance import Choose, drawing
from tasks.models.reading import EncoderReader, Reader, reader_for
from tasks.sql.continuation import Continuation

_KEPT = 0.85  # a batch is made smaller when no more than this share of its rows goes on: copying the cache costs time


_ROUNDS, _LOOPED, _LONGEST = 6, 30, 16  # a loop: so many rounds, so many tokens in all, of at most so many each


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer: its text without special tokens, the number of new tokens, and its share of the batch's seconds.

    `gave_up`: no token fitted the schema, or the model would not go on to a whole statement; it was ended as it stands.
    """

    text: str
    tokens: int
    seconds: float
    gave_up: bool = False


def statement_is_complete(text: str) -> bool:
    """Whether `text` already holds a whole statement: a semicolon outside quotes, or a closed code fence.

    >>> statement_is_complete("SELECT ';' FROM t")
    False
    >>> statement_is_complete("SELECT a FROM t; This query")
    True
    """
    if text.count("```") >= 2:
        return True
    quote = ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"`" and "```" not in text:
            quote = character
        elif character == ";":
            return True
    return False


def is_stuck(answer: Sequence[int]) -> bool:
    """Whether the last tokens are a few ones again and again: greedy decoding would not leave them before its limit.

    >>> is_stuck([7, 1, 2, 3] + [1, 2, 3] * 9), is_stuck([1, 2, 3] * 9)
    (True, False)
    """
    for period in range(1, _LONGEST + 1):
        length = max(_ROUNDS * period, _LOOPED)
        if length <= len(answer) and list(answer[-length:-period]) == list(answer[-length + period :]):
            return True
    return False


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int = 96,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
    rules: Sequence[Continuation | None] | None = None,
    ends: Sequence[int] = (),
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Generation]:
    """Answers to `prompts` (full prompt texts), in their order: greedy, or drawn at a `temperature` above 0.

    The same prompts in the same order with the same `seed` draw the same; torch's own random state is left alone.

    With `rules` (one a prompt, None: no rule) every token is the best one that keeps the answer within its schema. An
    answer stops at any of the token ids `ends`, the tokenizer's own end token when there are none, and where it only
    repeats itself (`is_stuck`). The model is put into evaluation mode; `progress(done, total)` is called after every
    batch.
    """
    from tasks.models.decoding import SchemaConstraint

    ends = frozenset(ends) or frozenset([tokenizer.eos_token_id])
    chooser = SchemaConstraint(rules or [None] * len(prompts), tokenizer, ends, complete=statement_is_complete)
    choose = drawing(chooser.choose, temperature, seed) if temperature else chooser.choose
    marks = {i for i, token in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))) if _may_end(token)}

    def is_done(answer: list[int]) -> bool:
        # Texts are decoded only where the last token may have completed a statement.
        if answer[-1] in ends or (answer[-1] in marks and statement_is_complete(tokenizer.decode(answer))):
            return True
        return is_stuck(answer)

    model.eval()
    encoded = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    reader = reader_for(model, tokenizer.pad_token_id)
    results: dict[int, Generation] = {}
    for batch in plan_batches(encoded, batch_size):
        started = time.perf_counter()
        answers = _answers(reader, batch, max_new_tokens, choose, is_done)
        seconds = (time.perf_counter() - started) / len(batch.rows)
        for row, ids in zip(batch.rows, answers, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            results[row] = Generation(text, len(ids), seconds, row in chooser.gave_up)
        if progress is not None:
            progress(len(results), len(prompts))
    return [results[row] for row in range(len(prompts))]


def _may_end(token: str | None) -> bool:
    return token is not None and (";" in token or "`" in token)


def _answers(
    reader: Reader | EncoderReader,
    batch: Batch,
    max_new_tokens: int,
    choose: Choose,
    is_done: Callable[[list[int]], bool],
) -> list[list[int]]:
    """The new tokens of every row of `batch`, the end token included."""
    import torch

    answers: list[list[int]] = [[] for _ in batch.rows]
    with torch.inference_mode():
        scores = reader.read(batch)
        held = list(range(len(batch.rows)))  # the rows that the reader holds, in its order
        live = set(held)
        for step in range(max_new_tokens):
            places = [place for place, row in enumerate(held) if row in live]
            rows = [held[place] for place in places]
            chosen = choose([batch.rows[row] for row in rows], [answers[row] for row in rows], scores[places])
            for row, token in zip(rows, chosen, strict=True):
                answers[row].append(token)
            live = {row for row in rows if not is_done(answers[row])}
            if not live or step + 1 == max_new_tokens:
                break
            if len(live) <= _KEPT * len(held):
                reader.keep([place for place, row in enumerate(held) if row in live])
                held = [row for row in held if row in live]
            scores = reader.step([answers[row][-1] for row in held])
    return answers
