"""Keys and values with room ahead are those that transformers holds; rests read apart are answered as if at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Gemma3TextConfig, LlamaConfig
from transformers.cache_utils import DynamicCache

from tasks.models import batching, holding
from tasks.models.generation import generate
from tasks.models.holding import aligned, can_be_joined, joined, new_cache, selected
from tasks.models.loading import load_base, load_tokenizer
from tasks.models.precision import Precision

CONFIG = LlamaConfig(num_hidden_layers=2, hidden_size=8, num_attention_heads=2, num_key_value_heads=1)


def states(rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 1, tokens, 4), torch.randn(rows, 1, tokens, 4)


def test_it_holds_what_transformers_holds_through_steps_and_rows_that_leave() -> None:
    ours, theirs = new_cache(CONFIG), DynamicCache(config=CONFIG)
    for rows, tokens, kept in [(4, 9, None), (4, 1, [0, 2, 3]), (3, 40, None), (3, 1, [2, 0]), (2, 1, None)]:
        for layer in range(2):
            given = states(rows, tokens)
            for one, other in zip(ours.update(*given, layer), theirs.update(*given, layer), strict=True):
                assert torch.equal(one, other)
        if kept is not None:
            ours.batch_select_indices(torch.tensor(kept))
            theirs.batch_select_indices(torch.tensor(kept))
    assert ours.get_seq_length() == theirs.get_seq_length() == 52


def test_a_token_takes_room_that_is_there() -> None:
    cache = new_cache(CONFIG)
    first, _ = cache.update(*states(2, 5), 0)
    second, _ = cache.update(*states(2, 1), 0)
    assert first.data_ptr() == second.data_ptr()


def test_rows_that_are_selected_do_not_change_where_they_came_from() -> None:
    cache = new_cache(CONFIG)
    before = cache.update(*states(2, 5), 0)[0].clone()
    cache.update(*states(2, 5), 1)
    chosen = selected(cache, torch.tensor([1, 1, 0]))
    chosen.update(*states(3, 4), 0)
    assert torch.equal(cache.layers[0].keys, before)
    assert torch.equal(chosen.layers[0].keys[:, :, :5], before[[1, 1, 0]])


def test_what_is_joined_ends_together() -> None:
    caches = []
    for rows, tokens in ((2, 3), (1, 5)):
        caches.append(new_cache(CONFIG))
        for layer in range(2):
            caches[-1].update(*states(rows, tokens), layer)
    whole = joined(caches)
    assert torch.equal(whole.layers[1].keys[:2, :, 2:], caches[0].layers[1].keys)
    assert torch.equal(whole.layers[1].values[2:], caches[1].layers[1].values)
    assert not whole.layers[0].keys[:2, :, :2].any()
    assert aligned([torch.ones(2, 3), torch.ones(1, 5)]).tolist() == [[0, 0, 1, 1, 1]] * 2 + [[1] * 5]


def test_a_sliding_window_is_not_joined() -> None:
    layers = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(num_hidden_layers=2, sliding_window=4, layer_types=layers)
    assert not can_be_joined(new_cache(config))
    assert can_be_joined(new_cache(CONFIG))


def test_rests_read_apart_are_answered_as_alone(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_base(tiny_model, Precision("float32", None)), load_tokenizer(tiny_model)
    schema = "TABLE singers (name, age, country) TABLE concerts (year, stadium) "
    prompts = [f"{schema * (1 + i % 2)}{'how many ' * (i % 5)}{i}?" for i in range(12)]
    alone = [generate(model, tokenizer, [prompt], 10)[0].text for prompt in prompts]
    lots: list[int] = []
    monkeypatch.setattr(holding, "joined", lambda caches: lots.append(len(caches)) or joined(caches))
    monkeypatch.setattr(batching, "_ALIKE_ROWS", 1)
    assert [g.text for g in generate(model, tokenizer, prompts, 10, batch_size=12)] == alone
    assert lots[0] > 2
