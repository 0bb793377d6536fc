"""Random-weight models of every family, with byte tokenizers, made on the spot: tests need no download.

A tiny model has its family's architecture class, special tokens and chat template, two layers and a hidden size of 64;
the same name always gives the same weights. What a family's real tokenizer does to text is not imitated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_FALCON = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Tiny:
    """A family's architecture class, special tokens (the first pads) and template; `adds` is what its tokenizer puts
    around a text by itself."""

    model: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    template: str | None
    adds: str = "$A"


TINY = {
    "llama-tiny": Tiny("Llama", _CHATML, "<|im_start|>", "<|im_end|>", CHAT_TEMPLATE),
    "qwen2-tiny": Tiny("Qwen2", _CHATML, None, "<|im_end|>", CHAT_TEMPLATE),
    "qwen3-tiny": Tiny("Qwen3", _CHATML, None, "<|im_end|>", _THINKING),
    "gemma3-tiny": Tiny(
        "Gemma3", ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>", _GEMMA, "<bos> $A"
    ),
    "falcon3-tiny": Tiny(
        "Llama", ("<|pad|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"), None, "<|endoftext|>", _FALCON
    ),
    "codellama-tiny": Tiny("Llama", ("<unk>", "<s>", "</s>"), "<s>", "</s>", None, "<s> $A"),
    "t5-tiny": Tiny("T5", ("<pad>", "</s>", "<unk>"), None, "</s>", None, "$A </s>"),
}


def write_tiny_model(target: Path, name: str = "llama-tiny", **sizes: Any) -> None:
    """Write the tiny model `name` of `TINY` and its byte-level tokenizer into `target`; always the same weights.

    `sizes` replace entries of its configuration, for a model that is random but not tiny.
    """
    import torch

    tokenizer = _tokenizer(TINY[name])
    torch.manual_seed(0)
    _model(TINY[name], tokenizer, sizes).save_pretrained(target)
    tokenizer.save_pretrained(target)


def _tokenizer(tiny: Tiny) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    symbols = [*tiny.special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(tiny.special))
    if tiny.adds != "$A":
        numbers = [(token, i) for i, token in enumerate(tiny.special)]
        backend.post_processor = processors.TemplateProcessing(single=tiny.adds, special_tokens=numbers)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=tiny.special[0], bos_token=tiny.bos, eos_token=tiny.eos
    )
    tokenizer.chat_template = tiny.template
    return tokenizer


def _model(tiny: Tiny, tokenizer: Any, sizes: dict[str, Any]) -> Any:
    import transformers

    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if tiny.model == "T5":
        t5 = {
            "d_model": 64,
            "d_kv": 16,
            "d_ff": 128,
            "num_layers": 2,
            "num_heads": 4,
            "feed_forward_proj": "gated-gelu",
            "decoder_start_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": False,
        }
        return transformers.T5ForConditionalGeneration(transformers.T5Config(**(ids | t5 | sizes)))
    own = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }
    own |= {"head_dim": 16, "sliding_window": 4096} if tiny.model == "Gemma3" else {}
    own |= {"head_dim": 16} if tiny.model == "Qwen3" else {}
    name = "Gemma3TextConfig" if tiny.model == "Gemma3" else f"{tiny.model}Config"
    config = getattr(transformers, name)(**(ids | own | sizes))
    return getattr(transformers, f"{tiny.model}ForCausalLM")(config)
