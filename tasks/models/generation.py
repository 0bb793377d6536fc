"""Batched greedy generation, longest prompts first, left-padded; stops a row when its SQL statement is complete.

Rows are sorted by length so that a batch carries little padding, and returned in the order given. Decoding is greedy:
a scorecard must not depend on chance. Reference for left padding: transformers documentation, "Padding side".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.sql.continuation import Continuation


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer: its text without special tokens, the number of new tokens, and its share of the batch's seconds."""

    text: str
    tokens: int
    seconds: float


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


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int = 96,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
    rules: Sequence[Continuation | None] | None = None,
    ends: Sequence[int] = (),
) -> list[Generation]:
    """Greedy answers to `prompts` (full prompt texts), in their order.

    With `rules` (one a prompt, None: no rule) every token is the best one that keeps the answer within its schema. An
    answer stops at any of the token ids `ends`, the tokenizer's own end token when there are none. The model is put
    into evaluation mode; `progress(done, total)` is called after every batch.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

    from tasks.models.decoding import SchemaConstraint

    device = next(model.parameters()).device
    stops = torch.tensor(
        [";" in token or "`" in token for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    )

    class StatementEnd(StoppingCriteria):
        """Ends a row once its statement is complete; texts are decoded only where a candidate token appears."""

        def __init__(self, start: int) -> None:
            self.start = start

        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            done = stops[input_ids[:, -1].cpu()]
            for row in torch.nonzero(done).flatten().tolist():
                done[row] = statement_is_complete(tokenizer.decode(input_ids[row, self.start :]))
            return done.to(input_ids.device)

    ends = list(ends) or [tokenizer.eos_token_id]
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.eval()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    results: dict[int, Generation] = {}
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        encoded = tokenizer(
            [prompts[i] for i in rows],
            add_special_tokens=False,
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        encoded = {key: value.to(device) for key, value in encoded.items()}
        width = encoded["input_ids"].shape[1]
        processors = LogitsProcessorList()
        if rules is not None:
            held = [rules[i] for i in rows]
            processors.append(SchemaConstraint(held, tokenizer, width, ends, complete=statement_is_complete))
        started = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(
                **encoded,
                generation_config=config,
                logits_processor=processors,
                stopping_criteria=StoppingCriteriaList([StatementEnd(width)]),
            )
        seconds = (time.perf_counter() - started) / len(rows)
        for i, ids in zip(rows, output[:, width:].tolist(), strict=True):
            tokens = _length(ids, ends, tokenizer.pad_token_id)
            text = tokenizer.decode(ids[:tokens], skip_special_tokens=True)
            results[i] = Generation(text, tokens, seconds)
        if progress is not None:
            progress(len(results), len(prompts))
    return [results[i] for i in range(len(prompts))]


def _length(ids: list[int], ends: Sequence[int], pad: int) -> int:
    """Number of generated tokens, the end token included, padding after it excluded."""
    for i, token in enumerate(ids):
        if token in ends:
            return i + 1
        if token == pad:
            return i
    return len(ids)
