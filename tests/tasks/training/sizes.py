"""Sizes of public models, as their config.json has them."""

from __future__ import annotations

from typing import Any


def config(family: str, layers: int, hidden: int, intermediate: int, heads: tuple[int, int], **more: Any) -> dict:
    """A config.json of a family, as its publisher has it."""
    return {
        "model_type": family,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        **more,
    }


QWEN3_06 = config(
    "qwen3", 28, 1024, 3072, (16, 8), head_dim=128, vocab_size=151_936, tie_word_embeddings=True
)  # Qwen3-0.6B
QWEN3_17 = config("qwen3", 28, 2048, 6144, (16, 8), head_dim=128, vocab_size=151_936, tie_word_embeddings=True)
QWEN25_15 = config("qwen2", 28, 1536, 8960, (12, 2), vocab_size=151_936, tie_word_embeddings=True)
LLAMA_3 = config("llama", 28, 3072, 8192, (24, 8), vocab_size=128_256, tie_word_embeddings=True)  # Llama-3.2-3B
MISTRAL_7 = config("mistral", 32, 4096, 14_336, (32, 8), vocab_size=32_000, tie_word_embeddings=False)
QWEN3_8 = config("qwen3", 36, 4096, 12_288, (32, 8), head_dim=128, vocab_size=151_936, tie_word_embeddings=False)
