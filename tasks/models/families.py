"""What differs between model families, in one table.

Only what the model's own files do not say: which attention kernel training needs, and whether the model is an
encoder-decoder. The rest is read from the files: the end of a turn and the BOS token from tokenizer and chat template
(Gemma closes answers with `<end_of_turn>`, Qwen's base models with `<|im_end|>`), Qwen3's thinking is turned off by a
template variable (`tasks.data.prompts`), and T5's decoder starts with the padding token, which `start_decoder` sets
where a config does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from infra.errors import UserError

Architecture = Literal["causal", "seq2seq"]
Attention = Literal["eager", "sdpa", "flash_attention_2", "products"]
PRODUCTS: Attention = "products"  # tasks.models.attention


@dataclass(frozen=True, slots=True)
class Family:
    """A family by transformers' `model_type`. `attention`: the kernel it must be trained with, None when any will do;
    `float16`: whether its activations stay within float16's range."""

    model_type: str
    architecture: Architecture = "causal"
    attention: Attention | None = None
    float16: bool = True


FAMILIES = {
    family.model_type: family
    for family in (
        Family("llama"),  # Llama, CodeLlama, SmolLM2, Falcon3
        Family("qwen2"),
        Family("qwen3"),
        Family("gemma3_text", attention="eager", float16=False),
        Family("t5", "seq2seq", float16=False),
    )
}


def family_of(config: Any) -> Family:
    """The family of a model's config; a type that the table does not have is taken as it says of itself."""
    known = FAMILIES.get(config.model_type)
    return known or Family(config.model_type, "seq2seq" if config.is_encoder_decoder else "causal")


def check_architecture(config: Any, wanted: Architecture, method: str) -> None:
    """Raise UserError when a method is asked to train a model of the other kind."""
    found = family_of(config).architecture
    if found != wanted:
        other = "seq2seq" if found == "seq2seq" else "sft"
        raise UserError(
            f"method {method} trains {wanted} models, but this one ({config.model_type}) is {found}: use method {other}"
        )


def start_decoder(model: Any) -> None:
    """Let the decoder of a T5 start with the padding token, as it was pretrained, where its config does not say."""
    config = model.config
    if config.is_encoder_decoder and config.decoder_start_token_id is None:
        config.decoder_start_token_id = config.pad_token_id
