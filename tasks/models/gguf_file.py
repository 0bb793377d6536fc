"""A model of the Llama family as one GGUF file, for llama.cpp and what is built on it.

The file has the weights, the tokenizer with its chat template, and under `nightshift.*` what it was made of and the
prompt format it was taught. Written with ggml's own package (`gguf`): its names of tensors and metadata, its Q8_0.
Limits: llama.cpp rotates neighbouring numbers of queries and keys where transformers rotates the two halves of a head
(RoFormer, arXiv:2104.09864), so their rows are put in another order; each architecture and each way to split text
needs its own care, and what is not covered here is refused: other families, scaled rotary embeddings, tokenizers that
are no byte-level BPE.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from infra.errors import UserError

Kind = Literal["f32", "f16", "q8_0"]
ELSEWHERE = "export safetensors alone, and convert them with llama.cpp's convert_hf_to_gguf.py"


def write_gguf(model: Any, tokenizer: Any, path: Path, kind: Kind, name: str, note: Mapping[str, str]) -> None:
    """Write `model` (float32, transformers) into the new file `path`; `note` becomes keys below `nightshift`.

    `kind` is the number format of the matrices; vectors stay float32. Raises UserError for a model that is not covered.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

    config = model.config
    _check(config)
    vocabulary = _vocabulary(tokenizer, config.vocab_size)
    writer = GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(LlamaFileType.ALL_F32 if kind == "f32" else LlamaFileType[f"MOSTLY_{kind.upper()}"])
    _add_sizes(writer, config)
    _add_tokenizer(writer, tokenizer, vocabulary)
    for key, value in note.items():
        writer.add_string(f"nightshift.{key}", value)
    _add_weights(writer, model, GGMLQuantizationType[kind.upper()])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _check(config: Any) -> None:
    if config.model_type != "llama":
        raise UserError(f"GGUF is written for the family llama, and this model is {config.model_type}; {ELSEWHERE}")
    if (rope := config.rope_parameters["rope_type"]) != "default":
        raise UserError(f"GGUF is not written for rotary embeddings of the type {rope}; {ELSEWHERE}")


def _add_sizes(writer: Any, config: Any) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _vocabulary(tokenizer: Any, size: int) -> dict[str, Any]:
    """Tokens by id with their types, merges, and llama.cpp's name of how text is split before merging."""
    from gguf import TokenType

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = content["model"].get("merges")
    split = _split(content["pre_tokenizer"] or {})
    if content["model"]["type"] != "BPE" or not merges or split is None or content["normalizer"]:
        raise UserError(f"GGUF is written for byte-level BPE tokenizers of a known split; {ELSEWHERE}")
    tokens = [f"[PAD{number}]" for number in range(size)]  # rows that the model has beyond its tokenizer
    types = [TokenType.UNUSED] * size
    for token, number in content["model"]["vocab"].items():
        tokens[number], types[number] = token, TokenType.NORMAL
    for added in content["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
    return {"tokens": tokens, "types": types, "merges": pairs, "split": split}


def _split(pre: Mapping[str, Any]) -> str | None:
    """llama.cpp's name of a pre-tokenizer, None where it has none that is known here."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    *before, last = pre.get("pretokenizers", [pre])
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return None
    if not before:
        return "gpt-2" if last["use_regex"] else None
    first = before[0]
    if len(before) == 1 and first["type"] == "Digits" and first["individual_digits"] and last["use_regex"]:
        return "smollm"
    if len(before) == 1 and first["type"] == "Split" and first["behavior"] == "Isolated" and not last["use_regex"]:
        named = {regex: name for name, regex in reversed(GGUF_PRE_TOKENIZER_SPLITS.items())}
        return named.get(first["pattern"].get("Regex"))
    return None


def _add_tokenizer(writer: Any, tokenizer: Any, vocabulary: Mapping[str, Any]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary["split"])
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    writer.add_token_merges(vocabulary["merges"])
    for role in ("bos", "eos", "unk", "pad"):
        if (number := getattr(tokenizer, f"{role}_token_id")) is not None:
            getattr(writer, f"add_{role}_token_id")(number)
    plain, whole = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True))
    writer.add_add_bos_token(whole[: len(whole) - len(plain)] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(whole[len(plain) :] == [tokenizer.eos_token_id])
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.get_chat_template())


def _add_weights(writer: Any, model: Any, kind: Any) -> None:
    import gguf

    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name, part = names.get_name(key, try_suffixes=(".weight", ".bias")), key.split(".")[-2]
        if name is None:
            raise UserError(f"GGUF has no name for the weight {key}; {ELSEWHERE}")
        values = tensor.float().numpy()
        if part in heads:
            values = _neighbours(values, heads[part])
        held = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        if values.shape[-1] % gguf.GGML_QUANT_SIZES[held][0]:
            raise UserError(f"{key} has rows of {values.shape[-1]} numbers, which {held.name} does not take: use f16")
        writer.add_tensor(name, gguf.quants.quantize(values, held), raw_dtype=held)


def _neighbours(weights: Any, heads: int) -> Any:
    """Rows of queries or keys so that number i of a head's first half stands before number i of its second half."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)
