"""Attention on CPUs as batched products: the kernel for short sequences whose mask is a matrix.

PyTorch's fused kernel for CPUs repeats the keys and values of grouped queries and recomputes the scores in its backward
pass, tile by tile: at a few hundred tokens that takes twice the time of plain products with bf16 instructions
(`python -m tests.benchmarks.attention`). Here the queries of one key head stand below each other, nothing is repeated
(Ainslie et al. 2023, arXiv:2305.13245), and the softmax's result is kept. Limits: memory grows with the square of the
length, so that longer sequences, and whatever has no mask, go to PyTorch's kernel.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tasks.models.families import PRODUCTS

LONGEST = 640  # keys; beyond it the scores of a single row no longer fit the caches
_SPECIAL = ("position_bias", "softcap", "s_aux", "cache")  # what a family may add to plain attention
AT_ONCE = 5 * 2**19  # scores computed together: some megabytes, as much as a core's caches hold


@cache
def register_products() -> None:
    """Make the kernel known to transformers by the name that `tasks.models.precision` chooses it by."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(PRODUCTS, attend)
    AttentionMaskInterface.register(PRODUCTS, sdpa_mask)


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    **given: Any,
) -> tuple[Any, None]:
    """Attention of `query` (batch, heads, queries, width) to `key` and `value` (batch, key heads, keys, width).

    `attention_mask` (batch, 1, queries, keys) is True where a query sees a key, or what is added to the scores. Returns
    (batch, queries, heads, width) as transformers wants it.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    _, heads, queries, width = query.shape
    keys = key.shape[2]
    plain = attention_mask is not None and not dropout and not any(given.get(name) is not None for name in _SPECIAL)
    if not plain or queries == 1 or keys > LONGEST or query.dtype != torch.bfloat16:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **given)
    bias = attention_mask
    if bias.dtype == torch.bool:
        hidden = torch.finfo(query.dtype).min
        bias = torch.zeros(bias.shape, dtype=query.dtype, device=bias.device).masked_fill_(~bias, hidden)
    scaled = query * (width**-0.5 if scaling is None else scaling)
    at_once = max(1, AT_ONCE // (heads * queries * keys))
    parts = [
        _products(*part)
        for part in zip(
            scaled.split(at_once), key.split(at_once), value.split(at_once), bias.split(at_once), strict=True
        )
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0], None


def _products(query: Any, key: Any, value: Any, bias: Any) -> Any:
    """Attention of scaled queries, (rows, queries, heads, width): the queries of a key head stand below each other."""
    import torch

    rows, heads, queries, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    key, value = key.reshape(rows * groups, keys, width), value.reshape(rows * groups, keys, width)
    scores = torch.bmm(query.reshape(rows * groups, -1, width), key.transpose(1, 2))
    seen = torch.softmax(scores.view(rows, heads, queries, keys) + bias, dim=-1)
    answer = torch.bmm(seen.view(rows * groups, -1, keys), value)
    return answer.view(rows, heads, queries, width).transpose(1, 2).contiguous()
