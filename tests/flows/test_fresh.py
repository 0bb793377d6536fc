"""New data: told when the sources are not those of the newest night, once for each state."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml

from flows.fresh import first_time, last_sources
from flows.recipe import check_recipe, load_recipe
from infra.store import LocalStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_the_newest_night_of_the_recipe_is_what_counts(store: LocalStore) -> None:
    tiny = load_recipe("tiny")
    assert last_sources(store, tiny) is None
    for night, (name, created, sources) in {
        "a": ("tiny", "2026-01-02T04:00:00Z", ["new"]),
        "b": ("tiny", "2026-01-01T04:00:00Z", ["old"]),
        "c": ("another", "2026-01-03T04:00:00Z", ["other"]),
    }.items():
        store.write_json(
            f"nights/{night}/night.json", {"recipe": {"name": name}, "created": created, "sources": sources}
        )
    assert last_sources(store, tiny) == ["new"]


def test_a_source_that_changes_has_another_fingerprint(store: LocalStore, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "q", "context": "CREATE TABLE t (a INT)", "answer": "SELECT 1"}\n')
    recipe = load_recipe("tiny", [f"data.sources=[{{kind: file, path: {rows}}}]"])
    before, _ = check_recipe(recipe)
    assert check_recipe(recipe)[0] == before
    rows.write_text(rows.read_text() * 2)
    assert check_recipe(recipe)[0] != before


def test_each_state_is_told_once(store: LocalStore) -> None:
    tiny = load_recipe("tiny")
    assert [first_time(store, tiny, sources) for sources in (["a"], ["a"], ["b"], ["a"])] == [True, False, True, False]


def test_what_is_sent_is_what_the_deployment_waits_for() -> None:
    """A trigger that expects another event would never fire, and nothing would say so."""
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

    from flows.fresh import EVENT
    from registry.drift import Code

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (nightly,) = (one for one in deployments if one["name"] == "nightly")
    data, drift = (DeploymentEventTrigger.model_validate(trigger) for trigger in nightly["triggers"])
    assert data.expect == {EVENT}
    assert data.parameters is not None
    assert data.parameters["recipe"]["template"] == "{{ event.resource.name }}"
    assert drift.expect == {"nightshift.drift"}
    assert drift.match.model_dump()["nightshift.finding"] in get_args(Code)
