"""Trainable weights of the published set-ups, counted on the families' real shapes without their weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tasks.training.parts import add_adapter, trainable
from tasks.training.specs.lora import LoraSpec

SHAPES: dict[str, dict[str, Any]] = {
    "Qwen3": {"vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
              "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True},
    "Gemma3Text": {"vocab_size": 262144, "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
                   "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "tie_word_embeddings": True},
    "T5": {"vocab_size": 32128, "d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16,
           "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}  # fmt: skip
QV, QKVO = ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")


@cache
def model_of(name: str) -> Any:
    import torch
    import transformers

    config = getattr(transformers, f"{name}Config")(**SHAPES[name])
    kind = transformers.AutoModelForSeq2SeqLM if name == "T5" else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        return kind.from_config(config)


@pytest.mark.parametrize(
    ("name", "targets", "r", "count"),
    [
        ("Qwen3", "all-linear", 16, 10_092_544),
        ("Qwen3", "all-linear", 64, 40_370_176),
        ("Qwen3", QV, 16, 2_293_760),
        ("T5", ("q", "v", "k", "o", "wi_0", "wi_1", "wo"), 16, 18_284_544),
        ("T5", ("q", "k", "v", "o"), 16, 9_437_184),
        ("T5", ("q", "v"), 16, 4_718_592),
        ("Gemma3Text", QKVO, 4, 745_472),
        ("Gemma3Text", QKVO, 8, 1_490_944),
        ("Gemma3Text", QKVO, 16, 2_981_888),
    ],
)
def test_adapters_have_the_published_number_of_weights(name: str, targets: Any, r: int, count: int) -> None:
    model = add_adapter(model_of(name), LoraSpec(r=r, targets=targets))
    assert sum(tensor.numel() for tensor in trainable(model).values()) == count
    model.unload()
