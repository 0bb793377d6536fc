"""Attention as batched products gives what PyTorch's own kernel gives, forward and back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tasks.models import attention
from tasks.models.attention import attend
from tasks.training.batches import collate

HEADS, KEY_HEADS, WIDTH = 6, 2, 32
LAYER = SimpleNamespace(num_key_value_groups=HEADS // KEY_HEADS, is_causal=True)


def inputs(rows: int, queries: int, keys: int, dtype: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    torch.manual_seed(3)
    shapes = [(rows, HEADS, queries, WIDTH), (rows, KEY_HEADS, keys, WIDTH), (rows, KEY_HEADS, keys, WIDTH)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def shared_prefix_mask(rows: int, length: int) -> torch.Tensor:
    segments = [0] * (length // 2) + [1] * (length // 4) + [2] * (length - length // 2 - length // 4 - 3)
    one = {"input_ids": segments, "labels": segments, "position_ids": segments, "segments": segments}
    longer = {name: [*values, 2, 2, 2] for name, values in one.items()}
    return collate([one] * (rows - 1) + [longer], 0)["attention_mask"]


def results(kernel, given: list[torch.Tensor], mask: torch.Tensor | None) -> list[torch.Tensor]:
    for tensor in given:
        tensor.grad = None
    answer = kernel(LAYER, *given, mask, scaling=WIDTH**-0.5)[0]
    answer.backward(torch.ones_like(answer).cumsum(-1) / WIDTH)
    return [answer.detach().float(), *(tensor.grad.float() for tensor in given)]


def assert_near(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    """Within bf16's rounding of values of this size: 8 bits of the largest one."""
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() <= other.abs().max() / 2**6
        assert (one - other).abs().mean() <= other.abs().max() / 2**9


@pytest.mark.parametrize("at_once", [1, attention.AT_ONCE])
def test_products_equal_the_reference(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    mask = shared_prefix_mask(3, 48)
    given = inputs(3, 48, 48)
    exact = [tensor.detach().float().requires_grad_() for tensor in given]
    assert_near(results(attend, given, mask), results(sdpa_attention_forward, exact, mask))


def test_a_mask_that_is_added_means_the_same_as_one_of_truths() -> None:
    mask = shared_prefix_mask(2, 40)
    added = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, torch.finfo(torch.bfloat16).min)
    given = inputs(2, 40, 40)
    for one, other in zip(results(attend, given, mask), results(attend, given, added), strict=True):
        assert torch.equal(one, other)


def test_queries_that_continue_a_cache_see_its_keys() -> None:
    mask = torch.ones(2, 1, 5, 30, dtype=torch.bool).tril(25)
    mask[0, :, :, :7] = False  # padding on the left
    given = inputs(2, 5, 30)
    exact = [tensor.detach().float().requires_grad_() for tensor in given]
    assert_near(results(attend, given, mask), results(sdpa_attention_forward, exact, mask))


@pytest.mark.parametrize("case", ["no mask", "long", "float32", "position bias", "one query"])
def test_what_the_products_are_not_for_goes_to_pytorch(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_products", lambda *_: pytest.fail("the products were taken"))
    monkeypatch.setattr(attention, "LONGEST", 16)
    queries, keys = (1 if case == "one query" else 12), (20 if case == "long" else 12)
    given = inputs(2, queries, keys, torch.float32 if case == "float32" else torch.bfloat16)
    mask = None if case == "no mask" else torch.ones(2, 1, queries, keys, dtype=torch.bool)
    extra = {"position_bias": torch.zeros(1, HEADS, queries, keys).bfloat16()} if case == "position bias" else {}
    wanted = sdpa_attention_forward(LAYER, *given, mask, **extra)[0]
    assert torch.equal(attend(LAYER, *given, mask, **extra)[0], wanted)
