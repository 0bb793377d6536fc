"""Generation: batches answer like single prompts, in order, and stop at the statement's end."""

from __future__ import annotations

import itertools
import string
from pathlib import Path

import pytest
import torch

from infra.errors import NightshiftError
from tasks.data.prompts import PromptSpec
from tasks.models.chance import drawing
from tasks.models.decoding import SchemaConstraint, continuation
from tasks.models.generation import generate, is_stuck, statement_is_complete
from tasks.models.loading import load_adapter, load_base, load_tokenizer
from tasks.models.precision import Precision
from tasks.sql.continuation import Continuation

PROMPTS = ["a", "SELECT name FROM singers WHERE age > 3", "How many?", "x" * 90, "list all concerts"]


@pytest.fixture(scope="module")
def model(tiny_model: Path):
    return load_base(tiny_model, Precision("float32", None))


def test_a_batch_answers_like_single_prompts_in_order(model, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    seen = []
    together = generate(
        model, tokenizer, PROMPTS, 12, batch_size=3, progress=lambda done, total: seen.append((done, total))
    )
    alone = [generate(model, tokenizer, [prompt], 12)[0] for prompt in PROMPTS]
    assert [a.text for a in together] == [a.text for a in alone]
    assert seen == [(3, 5), (5, 5)]
    assert all(0 < a.tokens <= 12 for a in together)


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT ';' FROM t", False),
        ("SELECT 'it''s; here'", False),
        ("```sql\nSELECT 1\n", False),
        ("```sql\nSELECT 1\n```\nThis", True),
        ('SELECT "a;b"; more', True),
    ],
)
def test_where_a_statement_ends(text: str, complete: bool) -> None:
    assert statement_is_complete(text) is complete


def test_an_answer_that_only_repeats_itself_ends(model, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, turns = load_tokenizer(tiny_model), itertools.cycle((5, 6, 7))
    monkeypatch.setattr("tasks.models.decoding.SchemaConstraint.choose", lambda *_: [next(turns)])
    assert generate(model, tokenizer, ["a"], 60)[0].tokens == 30


@pytest.mark.parametrize(
    ("answer", "stuck"),
    [
        ([4] * 29, False),
        ([4] * 30, True),
        ([1, 2, 3, 4, 5, 6, 7] * 5, False),
        ([1, 2, 3, 4, 5, 6, 7] * 6, True),
        ([9, 9] + [1, 2] * 15, True),
        ([1, 2] * 15 + [9], False),
        (list(range(17)) * 6, False),
    ],
)
def test_when_an_answer_is_stuck(answer: list[int], stuck: bool) -> None:
    assert is_stuck(answer) is stuck


def test_a_missing_adapter_is_an_error_and_never_the_base(model, tmp_path: Path) -> None:
    with pytest.raises(NightshiftError, match=r"adapter_config\.json"):
        load_adapter(model, tmp_path)


SCHEMA = "CREATE TABLE singers (name TEXT, age INTEGER); CREATE TABLE concerts (title TEXT, year INTEGER);"


def test_constrained_answers_stay_within_the_schema_even_of_a_random_model(model, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    rules = [Continuation(SCHEMA, prompt) for prompt in PROMPTS]
    free = generate(model, tokenizer, PROMPTS, 16, batch_size=3)
    held = generate(model, tokenizer, PROMPTS, 16, batch_size=3, rules=rules)
    assert not any(rule.allows(answer.text) for rule, answer in zip(rules, free, strict=True))
    assert [answer.text for rule, answer in zip(rules, held, strict=True) if not rule.allows(answer.text)] == []


def test_drawn_answers_differ_are_the_same_for_a_seed_and_stay_within_the_schema(model, tiny_model: Path) -> None:
    tokenizer, state = load_tokenizer(tiny_model), torch.get_rng_state()

    def draw(seed: int, **more) -> list[str]:
        prompts = [PROMPTS[2]] * 4
        return [a.text for a in generate(model, tokenizer, prompts, 12, 3, temperature=1.0, seed=seed, **more)]

    free = draw(1)
    assert len({*free, generate(model, tokenizer, PROMPTS[2:3], 12)[0].text}) == 5
    assert draw(1) == free != draw(2)
    rules = [Continuation(SCHEMA, PROMPTS[2]) for _ in range(4)]
    assert all(rule.allows(text) for rule, text in zip(rules, draw(1, rules=rules), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_tokens_are_drawn_from_the_softmax_at_the_temperature() -> None:
    scores, n = torch.tensor([[2.0, 1.0, 0.0]]), 4000
    choose = drawing(lambda rows, answers, scores: scores.argmax(dim=-1).tolist(), temperature=2.0, seed=7)
    counts = torch.bincount(torch.tensor([choose([0], [[]], scores)[0] for _ in range(n)]), minlength=3)
    assert torch.allclose(counts / n, (scores[0] / 2.0).softmax(-1), atol=4 * (0.25 / n) ** 0.5)


def test_rows_without_a_rule_are_answered_as_without_constraint(model, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    rules = [None, Continuation(SCHEMA, PROMPTS[1]), None, None, None]
    free = generate(model, tokenizer, PROMPTS, 12, batch_size=5)
    mixed = generate(model, tokenizer, PROMPTS, 12, batch_size=5, rules=rules)
    assert [a.text for a in mixed[2:]] == [a.text for a in free[2:]]
    assert mixed[0].text == free[0].text
    assert mixed[1].text != free[1].text


class Pieces:
    """A tokenizer that takes the longest piece it knows; it knows all letters."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = (*pieces, *string.printable)

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces[i] for i in ids)

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        ids = []
        while text:
            ids.append(
                max((i for i, p in enumerate(self.pieces) if text.startswith(p)), key=lambda i: len(self.pieces[i]))
            )
            text = text[len(self.pieces[ids[-1]]) :]
        return {"input_ids": ids}


def test_a_name_is_spelt_in_its_own_tokens_unless_nothing_else_is_left() -> None:
    tokenizer = Pieces("SELECT", " na", "me", " name", "<end>")
    chooser = SchemaConstraint([Continuation(SCHEMA, "q")], tokenizer, {4}, complete=lambda _: False)
    wish = torch.tensor([[0.0, 3.0, 2.0, 1.0, -1.0]])
    assert chooser.choose([0], [[0]], wish) == [3]  # ` na` is the better token, but the name is one token
    assert chooser.choose([0], [[0, 1]], wish) == [2]  # begun in other tokens all the same: not left in the middle
    assert not chooser.gave_up


def test_the_decoding_of_a_recipe_decides_the_rule() -> None:
    assert continuation(PromptSpec(), SCHEMA, "How many?") is None
    assert continuation(PromptSpec(decoding="constrained"), "CREATE TABLE t (", "How many?") is None
    assert continuation(PromptSpec(decoding="constrained"), SCHEMA, "How many?") is not None


def test_a_frozen_head_is_asked_for_the_last_position_alone(tiny_model: Path) -> None:
    """PyTorch copies a frozen head's weights for every row of what is not contiguous: gigabytes for a real head."""
    frozen = load_base(tiny_model, Precision("float32", None)).requires_grad_(False)
    asked: list[tuple[tuple[int, ...], bool]] = []
    frozen.get_output_embeddings().register_forward_pre_hook(
        lambda _, given: asked.append((tuple(given[0].shape[:2]), given[0].is_contiguous()))
    )
    generate(frozen, load_tokenizer(tiny_model), PROMPTS, 3, batch_size=5)
    assert asked
    assert all(shape == (shape[0], 1) and whole for shape, whole in asked)


def test_where_nothing_fits_any_more_the_answer_ends_and_says_so(model, tiny_model: Path) -> None:
    class Nothing(Continuation):
        def allows(self, text: str) -> bool:
            return len(text) < 3 and super().allows(text)

        def completes(self, text: str) -> bool:
            return False

    tokenizer = load_tokenizer(tiny_model)
    rules = [Nothing(SCHEMA, PROMPTS[0]), Continuation(SCHEMA, PROMPTS[1])]
    stuck, held = generate(model, tokenizer, PROMPTS[:2], 12, batch_size=2, rules=rules)
    assert stuck.gave_up
    assert stuck.tokens < 12
    assert not held.gave_up
