"""Two versions side by side: every part that changed is named, and only what both were asked is compared."""

from __future__ import annotations

import pytest

from infra import tracking
from infra.errors import UserError
from registry.diff import compare_scorecards, diff_versions
from registry.releases import register_candidate
from tests.registry.test_gates import card, right


def night(world, key, matches, rows, recipe, champion=None, test="t1"):
    """A registered version with all that its night left in the store."""
    cards = {"challenger": card(matches, test=test)}
    if champion:
        cards["champion"] = card(champion[1], test=test)
    for role, made in cards.items():
        world.store.write(f"scorecards/{key}-{role}.json", made.model_dump_json().encode())
    evaluated = {
        "scorecards": {role: {"key": f"scorecards/{key}-{role}.json"} for role in cards},
        "champion": {"version": champion[0]} if champion else None,
    }
    world.store.write_json(f"nights/{key}/evaluate.json", evaluated)
    world.store.write_json(f"nights/{key}/night.json", {"recipe": recipe})
    world.store.write_json(f"datasets/d-{key}/manifest.json", {"splits": {"train": 1}, "ids": {"train": rows}})
    folder = world.folder / key
    folder.mkdir()
    (folder / "prompt.json").write_text(key)
    run = tracking.night_run("recipe", key, key)
    return register_candidate(world.name, run, folder, key, {"nightshift.dataset": f"d-{key}"}, "").version


def test_everything_that_changed_is_named(world):
    stages = [{"name": "easy", "max_steps": 3}, {"name": "hard", "max_steps": 5}]
    a = night(world, "n1", right(3, 20), ["r1", "r2"], {"seed": 1, "training": {"stages": stages}})
    longer = [stages[0], stages[1] | {"max_steps": 9}]
    b = night(
        world,
        "n2",
        [0] + [1] * 7 + [0] * 12,
        ["r2", "r3", "r4"],
        {"seed": 1, "training": {"stages": longer}, "prompt": "chat"},
        champion=("1", right(3, 20)),
    )
    found = diff_versions(world.store, world.name, a, b)
    assert found["same_test_set"] is True
    assert found["data"] == {"same": False, "splits": {"train": {"a": 2, "b": 3, "added": 2, "removed": 1}}}
    assert found["recipe"] == [
        {"key": "prompt", "a": None, "b": "chat"},
        {"key": "training.stages.1.max_steps", "a": 5, "b": 9},
    ]
    assert [e["id"] for e in found["examples"]["fixed"]] == ["e3", "e4", "e5", "e6", "e7"]
    assert [e["id"] for e in found["examples"]["broken"]] == ["e0"]
    accuracy = found["metrics"]["execution_accuracy"]
    assert (accuracy["a"], accuracy["b"], accuracy["n"]) == (0.15, 0.35, 20)
    assert accuracy["delta"] == pytest.approx(0.2)
    assert accuracy["low"] < 0.2 < accuracy["high"]
    assert found["slices"]["difficulty"]["easy"]["n"] == 20
    back = diff_versions(world.store, world.name, b, a)
    assert [e["id"] for e in back["examples"]["fixed"]] == ["e0"]
    assert back["same_test_set"] is True


def test_different_test_sets_are_compared_where_they_overlap(world):
    a = night(world, "n1", [1] * 12, ["r1"], {})
    b = night(world, "n2", [0] * 10, ["r1"], {}, test="t2")
    found = diff_versions(world.store, world.name, a, b)
    assert found["same_test_set"] is False
    assert (found["examples"]["common"], found["examples"]["only_a"]) == (10, 2)


def test_an_example_whose_gold_changed_is_another_example():
    one, other = card([1] * 3), card([0] * 3)
    changed = other.model_copy(
        update={"examples": [other.examples[0].model_copy(update={"gold": "SELECT 2"}), *other.examples[1:]]}
    )
    found = compare_scorecards(one, changed)
    assert [e["id"] for e in found["examples"]["broken"]] == ["e1", "e2"]


def test_a_version_without_its_night_cannot_be_compared(world):
    world.register("n1")
    world.register("n2")
    with pytest.raises(UserError, match="night n1 is not in the store"):
        diff_versions(world.store, world.name, "1", "2")
