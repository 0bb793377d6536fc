"""Batches in which questions over the same schema share its tokens.

Rows over one schema begin with the same tokens. Instead of computing that prefix once a row, a sequence holds it once,
followed by several questions with their answers; an attention mask lets each see the prefix and itself alone, and its
positions continue from the prefix. Loss and gradients are those of the single rows; on generated data half of the
tokens disappear. Limits: the mask is a full matrix, which kernels like FlashAttention do not take (SDPA does).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

IGNORED = -100
PADDING = -1


def group_rows(rows: Sequence[dict[str, Any]], share: int) -> list[list[dict[str, Any]]]:
    """Groups of at most `share` rows with the same `schema`; rows keep their order, incomplete groups come last."""
    waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    groups = []
    for row in rows:
        bucket = waiting[row["schema"]]
        bucket.append(row)
        if len(bucket) == share:
            groups.append(waiting.pop(row["schema"]))
    return groups + list(waiting.values())


def join_rows(rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """One sequence for a group: `input_ids`, `labels`, `position_ids` and `segments` (0: the shared prefix)."""
    shared = _shared_length(rows)
    ids = list(rows[0]["input_ids"][:shared])
    joined = {
        "input_ids": ids,
        "labels": [IGNORED] * shared,
        "position_ids": list(range(shared)),
        "segments": [0] * shared,
    }
    for number, row in enumerate(rows, start=1):
        own, mask = row["input_ids"][shared:], row["completion_mask"][shared:]
        joined["input_ids"] += own
        joined["labels"] += [token if taught else IGNORED for token, taught in zip(own, mask, strict=True)]
        joined["position_ids"] += range(shared, shared + len(own))
        joined["segments"] += [number] * len(own)
    return joined


def _shared_length(rows: Sequence[dict[str, Any]]) -> int:
    """How many tokens all rows begin with; at least one prompt token stays with each row.

    The first answer token is predicted from the token before it in the sequence, which so is always the row's own.
    """
    if len(rows) == 1:
        return 0
    limit = min(row["completion_mask"].index(1) for row in rows) - 1
    first = rows[0]["input_ids"]
    for i in range(limit):
        if any(row["input_ids"][i] != first[i] for row in rows):
            return i
    return max(limit, 0)


def collate(sequences: Sequence[dict[str, list[int]]], pad_token_id: int) -> dict[str, Any]:
    """Pad on the right and build the mask: tensors (batch, length), `attention_mask` (batch, 1, length, length)."""
    import torch

    length = max(len(sequence["input_ids"]) for sequence in sequences)

    def padded(key: str, filler: int) -> torch.Tensor:
        return torch.tensor([s[key] + [filler] * (length - len(s[key])) for s in sequences])

    segments = padded("segments", PADDING)
    asking, asked = segments[:, :, None], segments[:, None, :]
    # Padding sees padding: a row of the mask without any True would make the softmax of that row undefined.
    visible = ((asked == asking) | ((asked == 0) & (asking != PADDING))) & torch.ones(length, length).tril().bool()
    return {
        "input_ids": padded("input_ids", pad_token_id),
        "labels": padded("labels", IGNORED),
        "position_ids": padded("position_ids", 0),
        "attention_mask": visible[:, None],
    }
