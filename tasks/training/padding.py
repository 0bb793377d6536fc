"""Tokenised rows as padded batches, for methods whose sequences hold one row each.

Rows hold `input_ids` and `completion_mask` (1 where the answer is taught). Padding stands on the right; it is neither
attended to nor taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.training.batches import IGNORED

MULTIPLE = 8  # tensor cores work in blocks of eight


def with_labels(row: dict[str, Any]) -> dict[str, list[int]]:
    """Ids and labels of a row for a causal model."""
    taught = zip(row["input_ids"], row["completion_mask"], strict=True)
    return {"input_ids": row["input_ids"], "labels": [token if mask else IGNORED for token, mask in taught]}


def divide(row: dict[str, Any]) -> dict[str, list[int]]:
    """A row for an encoder-decoder: what the encoder reads, and what the decoder is taught."""
    answer = row["completion_mask"].index(1)
    return {"input_ids": row["input_ids"][:answer], "labels": row["input_ids"][answer:]}


def pad_rows(rows: Sequence[dict[str, list[int]]], pad_token_id: int) -> dict[str, Any]:
    """Tensors (batch, length) of `input_ids`, `attention_mask` and `labels`, each to a multiple of eight."""
    inputs, labels = [row["input_ids"] for row in rows], [row["labels"] for row in rows]
    return {
        "input_ids": _padded(inputs, pad_token_id),
        "attention_mask": _padded([[1] * len(ids) for ids in inputs], 0),
        "labels": _padded(labels, IGNORED),
    }


def additive(mask: Any, dtype: str = "float32") -> Any:
    """A boolean mask as numbers added to attention scores, as eager attention takes it: 0 sees, the lowest does not.

    `dtype` is that of the scores, by torch's name for it.
    """
    import torch

    kind = getattr(torch, dtype)
    return torch.zeros(mask.shape, dtype=kind).masked_fill(~mask, torch.finfo(kind).min)


def _padded(values: list[list[int]], filler: int) -> Any:
    import torch

    length = -(-max(map(len, values)) // MULTIPLE) * MULTIPLE
    return torch.tensor([v + [filler] * (length - len(v)) for v in values])
