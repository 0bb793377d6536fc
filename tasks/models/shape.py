"""A model's shape, read from its config.json alone: what memory and time are computed from, without any weight."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError, first_line
from tasks.models.reference import parse_reference
from tasks.models.resolve import resolve_model

# Decoders of one build: grouped attention, a gated MLP, RMS norms. What the memory rules were checked on.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a causal decoder; `qk_norm`: queries and keys are normalised (Qwen3)."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    qk_norm: bool = False

    @property
    def queries(self) -> int:
        """Width of the queries of a token, all heads together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of its keys, and of its values."""
        return self.kv_heads * self.head_dim

    @property
    def linear_sizes(self) -> dict[str, tuple[int, int]]:
        """(input, output) widths of a layer's linear parts by the name that `training.lora.targets` uses."""
        return {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights in the linear parts of all layers: what quantisation makes smaller."""
        return self.layers * sum(a * b for a, b in self.linear_sizes.values())

    @property
    def parameters(self) -> int:
        """All weights; biases are too few to count."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        norms = self.layers * (2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)) + self.hidden
        return embeddings + self.linear_parameters + norms


def shape_of(config: Mapping[str, Any], name: str = "the model") -> ModelShape:
    """The shape that a config.json describes; raises UserError for a family that the rules do not cover."""
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise UserError(f"{name} is of the family {family!r}; memory can be computed for {', '.join(FAMILIES)}")
    return _shape(config, family)


def nearest_shape(config: Any) -> ModelShape:
    """The shape of a loaded model, from its transformers config: of a family outside FAMILIES the likest decoder's.

    An encoder-decoder counts as one stack with the layers of both.
    """
    config = config.get_text_config()
    names = ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "num_hidden_layers")
    content = config.to_dict() | {name: getattr(config, name, None) for name in names}
    content.setdefault("intermediate_size", content.get("d_ff") or 4 * config.hidden_size)
    if config.is_encoder_decoder:
        content["num_hidden_layers"] *= 2
    return _shape(content, config.model_type)


def _shape(config: Mapping[str, Any], family: str) -> ModelShape:
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    return ModelShape(
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        intermediate=int(config["intermediate_size"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        qk_norm=family in ("qwen3", "gemma3_text"),
    )


def fetch_shape(text: str, cache: Path) -> ModelShape:
    """The shape of the model that the reference `text` names; of a hub model only the configuration is fetched."""
    ref = parse_reference(text)
    if ref.kind == "hf":
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(ref.name, "config.json", revision=ref.revision))
        except Exception as error:  # the hub client raises a dozen unrelated types for "not there"
            raise UserError(f"config.json of {text!r} cannot be had from the hub: {first_line(error)}") from error
    else:
        path = resolve_model(text, cache).path / "config.json"
    return shape_of(json.loads(path.read_text(encoding="utf-8")), ref.label)
