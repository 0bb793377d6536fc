"""A GGUF file read back by transformers: the same logits, tokens and chat as the merged safetensors beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UserError
from tasks.models.export import export_merged
from tasks.models.tiny import CHAT_TEMPLATE, write_tiny_model

TEXTS = [
    "SELECT name FROM cars WHERE price > 1234.5 AND it's < 'Zoë'",
    "<|im_start|>user\nHow many\t\tcars?  <|im_end|>\n",
    "CREATE TABLE größe (id INTEGER PRIMARY KEY);\n\n-- 你好 🙂",
]
CHAT = [{"role": "system", "content": "Answer in SQL."}, {"role": "user", "content": "How many cars?"}]


def write_model(folder: Path, **changes: Any) -> Path:
    """A random Llama with grouped queries and a byte-level BPE tokenizer with merges, as a whole trained model."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS * 3, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=special[1], eos_token=special[2], pad_token=special[2], unk_token=special[0]
    )
    tokenizer.add_tokens(["<think>"])
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    sizes = {"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2, "head_dim": 16}
    settings = {
        "vocab_size": len(tokenizer) + 3,  # as models have whose rows are padded
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50_000.0},
        "tie_word_embeddings": False,
        "initializer_range": 0.3,  # large enough for every weight to show in the logits
        "bos_token_id": 1,
        "eos_token_id": 2,
        **sizes,
    }
    LlamaForCausalLM(LlamaConfig(**settings | changes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "prompt.json").write_text('{"format": "chat"}')
    return folder


def read_back(folder: Path, kind: str) -> tuple[Any, Any]:
    """Model and tokenizer of the folder's GGUF file, in float32, moved to where nothing else can be read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    alone, file = folder.with_name("alone"), f"model-{kind}.gguf"
    alone.mkdir()
    (folder / file).rename(alone / file)
    model = AutoModelForCausalLM.from_pretrained(
        alone, gguf_file=file, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    return model, AutoTokenizer.from_pretrained(alone, gguf_file=file)


def logits(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits


@pytest.mark.parametrize(("kind", "tolerance"), [("f32", 1e-5), ("f16", 1e-2), ("q8_0", 0.1)])
@pytest.mark.parametrize("tied", [True, False])
def test_the_file_is_the_model(kind: Any, tolerance: float, tied: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole = write_model(tmp_path / "whole", tie_word_embeddings=tied)
    made = export_merged(whole, whole, tmp_path / "merged", "float32", {"version": "7"}, kind)
    merged, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    model, its_tokenizer = read_back(made, kind)
    for name in ("head_dim", "num_key_value_heads", "rms_norm_eps", "vocab_size", "tie_word_embeddings"):
        assert getattr(model.config, name) == pytest.approx(getattr(merged.config, name))
    assert model.config.rope_parameters["rope_theta"] == 50_000.0
    for text in [*TEXTS, "<think>SELECT"]:
        ids = tokenizer(text)["input_ids"]
        assert its_tokenizer(text)["input_ids"] == ids
        wanted = logits(merged, ids)
        # Rows of queries and keys in the wrong order would make it about one.
        assert float((logits(model, ids) - wanted).abs().mean()) < tolerance * float(wanted.std())
    told = {"tokenize": False, "add_generation_prompt": True}
    assert its_tokenizer.apply_chat_template(CHAT, **told) == tokenizer.apply_chat_template(CHAT, **told)
    for role in ("bos", "eos", "pad", "unk"):
        assert getattr(its_tokenizer, f"{role}_token_id") == getattr(tokenizer, f"{role}_token_id")


def test_the_file_says_what_it_is_and_how_to_ask(tmp_path: Path) -> None:
    from gguf import GGUFReader

    whole = write_model(tmp_path / "whole")
    made = export_merged(whole, whole, tmp_path / "merged", "bfloat16", {"release": "sql", "version": "7"}, "q8_0")
    reader = GGUFReader(made / "model-q8_0.gguf")
    told = {key: field.contents() for key, field in reader.fields.items()}
    assert told["general.architecture"] == "llama"
    assert (told["general.name"], told["general.file_type"]) == ("merged", 7)
    assert (told["nightshift.release"], told["nightshift.version"]) == ("sql", "7")
    assert json.loads(told["nightshift.prompt"]) == {"format": "chat"}
    assert (told["tokenizer.ggml.model"], told["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert (told["tokenizer.ggml.add_bos_token"], told["tokenizer.ggml.add_eos_token"]) == (False, False)
    tokens, types = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    assert [types[tokens.index(token)] for token in ("<|im_end|>", "<think>", "S")] == [3, 4, 1]
    assert (tokens[-1], types[-1]) == (f"[PAD{len(tokens) - 1}]", 5)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert (kinds["blk.1.attn_q.weight"], kinds["blk.1.attn_norm.weight"]) == ("Q8_0", "F32")


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ([], "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}], "smollm"),
        ("llama3", "llama3"),
        ([{"type": "Digits", "individual_digits": False}], None),
        ([{"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False}], None),
    ],
)
def test_how_text_is_split_has_llama_cpps_name_or_none(before: Any, named: str | None, tmp_path: Path) -> None:
    from gguf import GGUFReader
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    whole = write_model(tmp_path / "whole")
    content = json.loads((whole / "tokenizer.json").read_text())
    if before == "llama3":
        pattern = {"Regex": GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"]}
        before = [{"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}]
    last = content["pre_tokenizer"] | {"use_regex": not before or before[0]["type"] == "Digits"}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*before, last]} if before else last
    (whole / "tokenizer.json").write_text(json.dumps(content))
    if named is None:
        with pytest.raises(UserError, match="byte-level BPE tokenizers of a known split"):
            export_merged(whole, whole, tmp_path / "merged", "float32", {}, "f16")
        return
    made = export_merged(whole, whole, tmp_path / "merged", "float32", {}, "f16")
    assert GGUFReader(made / "model-f16.gguf").fields["tokenizer.ggml.pre"].contents() == named


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "of the type linear"),
        ({"hidden_size": 48}, r"rows of 48 numbers, which Q8_0 does not take: use f16"),
    ],
)
def test_models_that_are_not_covered_are_refused_and_nothing_is_left(changes: Any, told: str, tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole", **changes)
    with pytest.raises(UserError, match=told):
        export_merged(whole, whole, tmp_path / "merged", "float32", {}, "q8_0")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_other_families_are_refused(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "qwen", "qwen3-tiny")
    (tmp_path / "qwen" / "prompt.json").write_text("{}")
    with pytest.raises(UserError, match=r"for the family llama, and this model is qwen3; export safetensors alone"):
        export_merged(tmp_path / "qwen", tmp_path / "qwen", tmp_path / "merged", "float32", {}, "f16")
