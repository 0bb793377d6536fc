"""Sequences that share a prefix: the same loss and gradients as single rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.training.batches import IGNORED, collate, group_rows, join_rows

ROWS = [
    {"input_ids": [1, 5, 6, 7, 8, 20, 21, 2], "completion_mask": [0] * 5 + [1] * 3, "schema": "a"},
    {"input_ids": [1, 5, 6, 9, 30, 31, 2], "completion_mask": [0] * 4 + [1] * 3, "schema": "a"},
    {"input_ids": [1, 5, 6, 7, 8, 20, 40, 41, 42, 2], "completion_mask": [0] * 5 + [1] * 5, "schema": "a"},
    {"input_ids": [1, 4, 3, 50, 2], "completion_mask": [0] * 3 + [1] * 2, "schema": "b"},
]


def test_groups_are_of_one_schema_and_lose_no_row() -> None:
    groups = group_rows(ROWS, 2)
    assert [[row["schema"] for row in group] for group in groups] == [["a", "a"], ["a"], ["b"]]
    assert [row for group in groups for row in group] == ROWS


def test_a_joined_group_holds_the_prefix_once() -> None:
    joined = join_rows(ROWS[:2])
    assert joined["input_ids"] == [1, 5, 6, 7, 8, 20, 21, 2, 9, 30, 31, 2]
    assert joined["segments"] == [0] * 3 + [1] * 5 + [2] * 4
    assert joined["position_ids"] == [0, 1, 2, 3, 4, 5, 6, 7, 3, 4, 5, 6]
    assert joined["labels"] == [IGNORED] * 5 + [20, 21, 2] + [IGNORED] + [30, 31, 2]


def test_equal_prompts_keep_a_prompt_token_each() -> None:
    joined = join_rows([ROWS[0], ROWS[2]])
    assert joined["segments"].count(0) == 4
    assert joined["labels"][joined["segments"].index(2)] == IGNORED


@pytest.mark.parametrize("share", [2, 4])
def test_loss_and_gradients_are_those_of_single_rows(tiny_model: Path, share: int) -> None:
    import torch

    from tasks.models.loading import load_base
    from tasks.models.precision import Precision

    def run(groups: list[list[dict]]) -> tuple[float, torch.Tensor]:
        model = load_base(tiny_model, Precision("float32", None))
        batch = collate([join_rows(group) for group in groups], pad_token_id=0)
        labels = batch.pop("labels")
        logits = model(**batch).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        loss.backward()
        return float(loss), model.get_input_embeddings().weight.grad

    alone, shared = run([[row] for row in ROWS]), run(group_rows(ROWS, share))
    assert shared[0] == pytest.approx(alone[0], rel=1e-5)
    assert torch.allclose(shared[1], alone[1], atol=1e-6)
