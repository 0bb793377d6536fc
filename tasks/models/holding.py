"""What a model holds of the rows it answers: keys and values with room ahead, and those of several readings as one.

transformers' own layer copies everything it holds for every new token (`torch.cat`), a tenth of the answering time of a
small model with 200 rows. Here room for some tokens is made at once. Layers of another kind (sliding windows) stay
transformers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_ROOM = 32  # tokens for which room is made at once


class RoomyLayer(DynamicLayer):
    """A `DynamicLayer` whose keys and values, (rows, heads, tokens, width), are the filled part of larger tensors."""

    _roomy: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new tokens; all of them, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        length = held + key_states.shape[-2]
        if self._roomy is None or self._roomy[0].shape[-2] < length:
            self._roomy = _with_room(self.keys, key_states, length), _with_room(self.values, value_states, length)
        for roomy, new in zip(self._roomy, (key_states, value_states), strict=True):
            roomy[..., held:length, :] = new
        self.keys, self.values = (roomy[..., :length, :] for roomy in self._roomy)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Hold the rows at `indices` alone, in that order; a row may come more than once."""
        super().batch_select_indices(indices)
        self._roomy = None


def _with_room(held: torch.Tensor, new: torch.Tensor, length: int) -> torch.Tensor:
    roomy = new.new_empty(*new.shape[:-2], length + _ROOM, new.shape[-1])
    if held.numel():
        roomy[..., : held.shape[-2], :] = held
    return roomy


def new_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this configuration."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def can_be_joined(cache: DynamicCache) -> bool:
    """Whether caches like this one can be put together: a sliding window holds no more than its last tokens."""
    return all(type(layer) is RoomyLayer for layer in cache.layers)


def selected(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """`cache` with the rows at the indices `rows`, in that order; one that can be joined stays as it is itself."""
    chosen = copy(cache)
    chosen.layers = [copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(rows)
    return chosen


def joined(caches: Sequence[DynamicCache]) -> DynamicCache:
    """One cache with the rows of all, in order, aligned at their last tokens; what is before them is to be masked."""
    whole = copy(caches[0])
    whole.layers = [RoomyLayer() for _ in whole.layers]
    for layer, *parts in zip(whole.layers, *(cache.layers for cache in caches), strict=True):
        layer.lazy_initialization(parts[0].keys, parts[0].values)
        layer.keys = _aligned([part.keys for part in parts], -2)
        layer.values = _aligned([part.values for part in parts], -2)
    return whole


def aligned(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """The attention masks (rows, tokens) of caches that are joined."""
    return _aligned(masks, -1)


def _aligned(parts: Sequence[torch.Tensor], tokens: int) -> torch.Tensor:
    """All rows (the first dimension) of `parts`, with zeros before the shorter ones along the dimension `tokens`."""
    length = max(part.shape[tokens] for part in parts)
    shape = list(parts[0].shape)
    shape[0], shape[tokens] = sum(len(part) for part in parts), length
    whole, begin = parts[0].new_zeros(shape), 0
    for part in parts:
        whole[begin : begin + len(part)].narrow(tokens, length - part.shape[tokens], part.shape[tokens]).copy_(part)
        begin += len(part)
    return whole
