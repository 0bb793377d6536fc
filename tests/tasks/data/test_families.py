"""Prompts of every format with the special tokens and chat templates of model families, to the character.

The families' own tokenizers need a hub; what matters here are their special tokens, whether they add them themselves,
and what their templates write around messages, over a byte tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from infra.errors import UserError
from tasks.data.example import Example
from tasks.data.prompts import Prompter, PromptSpec
from tasks.training.preflight import check_rows, tokenise

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """Special tokens and template of a model family; `adds` is what its tokenizer puts around a text by itself."""

    special: tuple[str, ...]
    bos: str | None
    eos: str
    template: str | None
    adds: str = "$A"


FAMILIES = {
    "chatml": Family(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_start|>", "<|im_end|>", CHATML),
    "llama": Family(
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>",
        "<|eot_id|>",
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{% if loop.first and m.role == 'system' %}Today Date: {{ date_string }}\n\n{% endif %}"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        "<|begin_of_text|> $A",
    ),
    "qwen3": Family(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        None,
        "<|im_end|>",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
    ),
    "qwen2": Family(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), None, "<|endoftext|>", CHATML),
    "gemma3": Family(
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
        "{% for m in rest %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ first if loop.first }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        "<bos> $A",
    ),
    "falcon3": Family(
        ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"),
        None,
        "<|endoftext|>",
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    ),
    "t5": Family(("<pad>", "</s>"), None, "</s>", None, "$A </s>"),
}


def tokenizer(name: str, **changes: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    family = FAMILIES[name]
    symbols = [*family.special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(family.special))
    if family.adds != "$A":
        backend.post_processor = processors.TemplateProcessing(
            single=family.adds, special_tokens=[(token, i) for i, token in enumerate(family.special)]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=family.bos, eos_token=family.eos, pad_token=family.special[0]
    )
    made.chat_template = changes.get("template", family.template)
    return made


DDL = "CREATE TABLE pub (id INTEGER PRIMARY KEY, town TEXT);"
SCHEMA = "pub(id, town)"
TWO = DDL + "\nCREATE TABLE beer (pub_id INTEGER REFERENCES pub(id), name TEXT);"

CHATS = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n{u}<|im_end|>\n<|im_start|>assistant\n",
    "llama": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{u}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "qwen3": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n{u}<|im_end|>\n<|im_start|>assistant\n"
    "<think>\n\n</think>\n\n",
    "qwen2": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n{u}<|im_end|>\n<|im_start|>assistant\n",
    "gemma3": "<bos><start_of_turn>user\nS\n\n{u}<end_of_turn>\n<start_of_turn>model\n",
    "falcon3": "<|system|>\nS\n<|user|>\n{u}\n<|assistant|>\n",
}
ENDS = {
    "chatml": "<|im_end|>",
    "llama": "<|eot_id|>",
    "qwen3": "<|im_end|>",
    "qwen2": "<|im_end|>",
    "gemma3": "<end_of_turn>",
    "falcon3": "<|endoftext|>",
    "t5": "</s>",
}
TEXTS = {
    "instruct": " ### Instruction:\nGenerate a SQL query to answer the given question based on the provided database "
    "schema.\n\nDatabase Schema:\npub(id, town)\n\nQuestion: Which?\nhint\n\n ### Response:\n",
    "plain": "pub(id, town)\n\nQuestion: Which?\nhint\nSQL:\n",
    "evidence": "Database Schema:\npub(id, town)\n\nQuestion: Which?\nEvidence: hint\nSQL:",
    "translate": "Translate English to SQL: Which? hint | Schemas: pub(id, town)",
}


@pytest.mark.parametrize("family", CHATS)
def test_chat(family):
    prompter = Prompter(PromptSpec(system="S"), tokenizer(family))
    text = prompter.render(DDL, " Which? ", "hint")
    assert text == CHATS[family].replace("{u}", f"{SCHEMA}\n\nWhich?\nhint")
    assert prompter.completion(" SELECT 1 ") == "SELECT 1" + ENDS[family]


@pytest.mark.parametrize("family", CHATS)
def test_context_and_request(family):
    whole = CHATS[family]
    system = (
        "The user asks a question. Your task is to generate the SQL query to answer that question. Return SQL query "
        f"only. The context of the question is the following: '{SCHEMA}'"
    )
    context = Prompter(PromptSpec(format="context"), tokenizer(family)).render(DDL, "Which?")
    assert context == whole.replace("S<", f"{system}<").replace("S\n", f"{system}\n").replace("{u}", "Which?")
    request = Prompter(PromptSpec(format="request"), tokenizer(family))
    user = (
        "Generate the SQL query for the following request based on the provided context.\n\nRequest: Which?\n\n"
        f"Database Context:\n{SCHEMA}"
    )
    text = request.render(DDL, "Which?")
    assert text.endswith(whole[whole.index("{u}") :].replace("{u}", user) + "SQL:")
    assert "system" not in text
    assert request.completion("SELECT 1") == " SELECT 1" + ENDS[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", TEXTS)
def test_text_formats(family, form):
    prompter = Prompter(PromptSpec(format=form), tokenizer(family))
    bos = {"llama": "<|begin_of_text|>", "gemma3": "<bos>"}.get(family, "")
    end = "</s>" if (family, form) == ("t5", "translate") else ""  # an encoder's input is closed, a decoder's goes on
    assert prompter.render(DDL, "Which?", "hint") == bos + TEXTS[form] + end
    space = " " if form == "evidence" else ""
    assert prompter.completion("SELECT 1") == f"{space}SELECT 1{FAMILIES[family].eos}"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["chat", "request", "instruct", "evidence"])
def test_rows_have_one_bos_and_teach_the_end(family, form):
    if family == "t5" and form in ("chat", "request"):
        pytest.skip("T5 has no chat template")
    tok = tokenizer(family)
    prompter = Prompter(PromptSpec(format=form, max_tokens=2000), tok)
    example = Example("a", "pub", "Which?", DDL, "SELECT town FROM pub")
    tokenised = tokenise([example], prompter, 3000, 0.0)
    check_rows(tokenised, tok)
    (row,) = tokenised.rows
    assert row["input_ids"].count(tok.bos_token_id) <= 1 or family == "chatml"  # whose BOS opens every message
    end = ENDS[family] if form in ("chat", "request") else FAMILIES[family].eos
    assert tok.convert_ids_to_tokens(row["input_ids"][-1]) == end
    assert set(prompter.end_ids) == {tok.convert_tokens_to_ids(end), tok.eos_token_id}


def test_a_model_without_a_chat_template_is_told():
    with pytest.raises(UserError, match="no chat template"):
        Prompter(PromptSpec(), tokenizer("t5")).render(DDL, "Which?")


def test_a_template_that_refuses_a_system_message_is_told():
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
    )
    tok = tokenizer("chatml", template=refusing)
    with pytest.raises(UserError, match=r"System role not supported.*prompt\.system"):
        Prompter(PromptSpec(), tok).render(DDL, "Which?")
    assert Prompter(PromptSpec(system=""), tok).render(DDL, "Which?").startswith("<|im_start|>user\npub(")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "pub(id, town)\nbeer(pub_id -> pub.id, name)"),
        ({"types": True}, "pub(id INTEGER, town TEXT)\nbeer(pub_id INTEGER -> pub.id, name TEXT)"),
        ({"show_keys": False}, "pub(id, town)\nbeer(pub_id, name)"),
        (
            {"sample_values": 2},
            "pub(id [1, 2], town ['Ulm, an ''old'' one', 'Hof'])\nbeer(pub_id -> pub.id [2], name ['Pils'])",
        ),
        (
            {"schema_style": "ddl"},
            "CREATE TABLE pub (id INTEGER PRIMARY KEY, town TEXT);\n"
            "CREATE TABLE beer (pub_id INTEGER REFERENCES pub (id), name TEXT);",
        ),
        (
            {"schema_style": "ddl", "types": False},
            "CREATE TABLE pub (id, town, PRIMARY KEY (id));\n"
            "CREATE TABLE beer (pub_id, name, FOREIGN KEY (pub_id) REFERENCES pub(id));",
        ),
        (
            {"schema_style": "ddl", "show_keys": False, "sample_values": 1},
            "CREATE TABLE pub (id INTEGER, town TEXT);\n-- id: 1\n-- town: 'Ulm, an ''old'' one'\n"
            "CREATE TABLE beer (pub_id INTEGER, name TEXT);\n-- pub_id: 2\n-- name: 'Pils'",
        ),
    ],
)
def test_looks_of_a_schema(options, expected):
    from tasks.data.values import add_values

    setup = "INSERT INTO pub VALUES (1, 'Ulm, an ''old'' one'), (2, 'Hof'), (3, 'Ulm, an ''old'' one'), (4, NULL);"
    setup += "INSERT INTO beer VALUES (2, 'Pils'), (2, 'a\nb'), (2, x'00');"
    (example,) = add_values([Example("a", "pub", "q", TWO, "SELECT 1", setup=setup)], 3)
    prompter = Prompter(PromptSpec(format="plain", **options), tokenizer("chatml"))
    assert prompter.render(example.schema, "Which?") == f"{expected}\n\nQuestion: Which?\nSQL:\n"
    assert add_values([example], 0) == [example]
    if not options.get("sample_values"):  # values that are not asked for leave no trace
        assert prompter.render(TWO, "Which?") == prompter.render(example.schema, "Which?")


def test_values_come_from_a_database_file_too(tmp_path):
    import sqlite3

    from tasks.data.values import add_values

    connection = sqlite3.connect(tmp_path / "pub.sqlite")
    connection.executescript(DDL + "INSERT INTO pub VALUES (1, 'Ulm');")
    connection.close()
    (example,) = add_values([Example("a", "pub", "q", DDL, "SELECT 1", database=str(tmp_path / "pub.sqlite"))], 1)
    assert example.schema == f"{DDL}\n-- values pub.id: 1\n-- values pub.town: 'Ulm'"
    sqlite3.connect(":memory:").executescript(example.schema)


def test_dropped_tables_are_counted_and_gold_s_are_kept():
    ddl = "\n".join(f"CREATE TABLE t{i} (id INTEGER, field_{i} TEXT);" for i in range(20))
    prompter = Prompter(PromptSpec(format="plain", max_tokens=200), tokenizer("chatml"))
    rendered = prompter.fit(ddl, "field 3?", keep=("t17",))
    assert rendered.dropped > 0
    assert rendered.text.count("field_") == 20 - rendered.dropped
    assert {"t3(id, field_3)", "t17(id, field_17)"} <= set(rendered.text.splitlines())
    example = Example("a", "d", "field 3?", ddl, "SELECT field_17 FROM t17")
    tokenised = tokenise([example], prompter, 1000, 0.0)
    assert tokenised.tables_dropped == rendered.dropped
