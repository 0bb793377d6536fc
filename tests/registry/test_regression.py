"""What a version in Production once had right is known, from the ledger and the nights alone."""

from __future__ import annotations

import pytest

from infra.errors import NightshiftError
from registry.regression import DIMENSION, fixed_examples
from tests.registry.test_gates import card, right


def scored(world, night, matches, tagged):
    """Put a night's scorecard into the store; the first `tagged` examples belong to the regression split."""
    made = card(matches)
    examples = [
        e.model_copy(update={"slices": e.slices | ({DIMENSION: ["feedback"]} if i < tagged else {})})
        for i, e in enumerate(made.examples)
    ]
    key = f"scorecards/{night}.json"
    world.store.write(key, made.model_copy(update={"examples": examples}).model_dump_json().encode())
    world.store.write_json(f"nights/{night}/evaluate.json", {"scorecards": {"challenger": {"key": key}}})


def promote(world, night):
    return world.promote(world.verdict(world.register(night), night=night))


def test_the_list_grows_with_every_promotion_and_never_shrinks(world):
    assert fixed_examples(world.store, world.name) == frozenset()
    scored(world, "n1", right(2, 10), tagged=4)
    promote(world, "n1")
    assert fixed_examples(world.store, world.name) == {"e0", "e1"}
    scored(world, "n2", [0, 1, 1, 0, 1], tagged=4)
    promote(world, "n2")
    assert fixed_examples(world.store, world.name) == {"e0", "e1", "e2"}
    # Kept beside the ledger: what was once read is known without the old scorecards.
    world.store.delete("scorecards/n1.json")
    assert fixed_examples(world.store, world.name) == {"e0", "e1", "e2"}


def test_a_candidate_that_was_not_promoted_fixes_nothing(world):
    scored(world, "n1", [1] * 5, tagged=5)
    world.verdict(world.register("n1"), night="n1")
    assert fixed_examples(world.store, world.name) == frozenset()


def test_a_lost_scorecard_is_an_error_not_an_empty_list(world):
    promote(world, "n1")
    with pytest.raises(NightshiftError, match="night n1"):
        fixed_examples(world.store, world.name)
