"""Generation: batches answer like single prompts, in order, and stop at the statement's end."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import NightshiftError
from tasks.models.generation import generate, statement_is_complete
from tasks.models.loading import load_adapter, load_base, load_tokenizer
from tasks.models.precision import Precision

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


def test_a_missing_adapter_is_an_error_and_never_the_base(model, tmp_path: Path) -> None:
    with pytest.raises(NightshiftError, match=r"adapter_config\.json"):
        load_adapter(model, tmp_path)
