"""Checks on tokenised rows before any training minute is spent: prefix, mask, end token, length.

A wrong mask or a missing end token does not raise: the loss falls and the model is useless. So each row is checked in
CPU seconds, and the first wrong one stops the stage with what is wrong.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.errors import NightshiftError, UserError
from tasks.data.example import Example
from tasks.data.prompts import Prompter
from tasks.data.schema import PromptTooLong
from tasks.sql.features import features
from tasks.sql.parse import parse
from tasks.training import ranks
from tasks.training.sharding import own_part


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Rows for the trainer: `input_ids`, `completion_mask` (1 on SQL and end token) and the `schema` they are about;
    `dropped` counts those that were too long, `tables_dropped` the tables that prompts left out to fit. `end_id` is the
    token that closes an answer."""

    rows: list[dict[str, Any]]
    dropped: int
    tokens: int
    tables_dropped: int
    end_id: int


def tokenise(examples: Sequence[Example], prompter: Prompter, max_length: int, max_dropped_share: float) -> Tokenised:
    """Tokenise rows for completion-only training; rows longer than `max_length` tokens are dropped, never cut.

    Raises UserError when more than `max_dropped_share` of the rows are too long. No examples give no rows.
    """
    tokenizer = prompter.tokenizer
    rows, dropped, tables_dropped = [], 0, 0
    for example in examples:
        parsed = parse(example.sql, example.dialect)
        keep = features(parsed.tree).tables if parsed.tree is not None else ()
        try:
            rendered = prompter.fit(example.schema, example.question, example.evidence, keep)
        except PromptTooLong:
            dropped += 1
            continue
        prompt = tokenizer(rendered.text, add_special_tokens=False)["input_ids"]
        answer = tokenizer(prompter.completion(example.sql), add_special_tokens=False)["input_ids"]
        if len(prompt) + len(answer) > max_length:
            dropped += 1
            continue
        tables_dropped += rendered.dropped
        rows.append(
            {
                "input_ids": prompt + answer,
                "completion_mask": [0] * len(prompt) + [1] * len(answer),
                "schema": example.schema,
            }
        )
    if dropped > max_dropped_share * len(examples):
        raise UserError(
            f"{dropped} of {len(examples)} rows are longer than training.max_length={max_length} tokens; "
            "raise it, lower prompt.max_tokens, or raise training.max_dropped_share"
        )
    total = sum(len(row["input_ids"]) for row in rows)
    return Tokenised(rows, dropped, total, tables_dropped, prompter.end_ids[0])


def check_rows(tokenised: Tokenised, tokenizer: Any) -> None:
    """Every row must train something, end with the end token, and leave its prompt untrained; raises otherwise."""
    for i, row in enumerate(tokenised.rows):
        ids, mask = row["input_ids"], row["completion_mask"]
        if 1 not in mask or mask[0] == 1:
            raise NightshiftError(f"preflight: training row {i} has no prompt or no answer to train")
        if ids[-1] != tokenised.end_id or mask[-1] != 1:
            token = tokenizer.convert_ids_to_tokens(tokenised.end_id)
            raise NightshiftError(f"preflight: training row {i} does not teach the end token {token!r}")
        if tokenizer.bos_token_id != tokenizer.eos_token_id and ids[:2] == [tokenizer.bos_token_id] * 2:
            raise NightshiftError(f"preflight: training row {i} begins with two BOS tokens")


def check_adapter(model: Any) -> None:
    """Trainable weights exist, are float32 and finite; raises otherwise."""
    import torch

    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trainable:
        raise NightshiftError("preflight: the model has no trainable weights")
    for name, parameter in trainable:
        if parameter.dtype != torch.float32:
            raise NightshiftError(f"preflight: {name} is {parameter.dtype}; adapters train in float32")
        if not torch.isfinite(own_part(parameter)).all():
            raise NightshiftError(f"{name} holds values that are not finite: the training diverged")


def check_gradients(model: Any) -> None:
    """After the first backward pass: some trainable weight has a gradient. (LoRA's A has none at first, B has.)"""
    grads = [own_part(p.grad) for p in model.parameters() if p.requires_grad and p.grad is not None]
    here = any(bool(grad.detach().any()) for grad in grads)
    if not ranks.summed({"reached": int(here)})["reached"]:
        raise NightshiftError("preflight: no gradient reaches the trainable weights")


def sequence_tokens(row: dict[str, Any]) -> int:
    """Tokens of the longest sequence a row makes: prompt and answer, of a pair the longer one; 0 when it is text."""
    answers = [len(row[name]) for name in ("input_ids", "chosen_ids", "rejected_ids") if name in row]
    return len(row.get("prompt_ids", ())) + max(answers, default=0)


def lengths(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Tokens of the rows' sequences: least, mean, median, most."""
    counts = [sequence_tokens(row) for row in rows]
    middle = statistics.median(counts)
    return {"min": min(counts), "mean": round(statistics.fmean(counts), 1), "median": middle, "max": max(counts)}


def show_example(row: dict[str, Any], tokenizer: Any) -> dict[str, str]:
    """A row as text: what is read and what is taught, or the parts of a pair."""
    if "completion_mask" in row:
        parts: dict[str, list[int]] = {"read": [], "taught": []}
        for token, mask in zip(row["input_ids"], row["completion_mask"], strict=True):
            parts["taught" if mask else "read"].append(token)
        return {name: tokenizer.decode(ids) for name, ids in parts.items()}
    ids = {name.removesuffix("_ids"): value for name, value in row.items() if name.endswith("_ids")}
    return {name: tokenizer.decode(value) for name, value in ids.items()}
