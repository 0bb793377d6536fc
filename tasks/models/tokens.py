"""Token counts of many texts, by the tokenizer of a model's folder; no weights are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.models.loading import load_tokenizer

_AT_ONCE = 1000


def token_counter(folder: Path) -> Callable[[Sequence[str]], list[int]]:
    """A function from texts to their numbers of tokens, special tokens aside."""
    tokenizer = load_tokenizer(folder)

    def count(texts: Sequence[str]) -> list[int]:
        counts: list[int] = []
        for start in range(0, len(texts), _AT_ONCE):
            batch = tokenizer(list(texts[start : start + _AT_ONCE]), add_special_tokens=False)["input_ids"]
            counts += map(len, batch)
        return counts

    return count
