"""What `training.start_from` stands for: settled once, and refused where it does not fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import start
from flows.recipe import Recipe, load_recipe
from flows.start import fetch_start, settle_start
from infra.errors import NightshiftError, UserError
from infra.store import open_store


def starting_from(what: str) -> Recipe:
    return load_recipe("tiny", [f"training.start_from={what}"])


def test_production_is_the_version_that_is_there_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, head = open_store(str(tmp_path)), SimpleNamespace(version="7")
    assert settle_start(starting_from("Production"), store).training.start_from == "base"  # nothing is there yet
    monkeypatch.setattr(start.Ledger, "head", lambda _: head)
    assert settle_start(starting_from("Production"), store).training.start_from == "release:text2sql-tiny@7"
    assert settle_start(starting_from("release:other@2"), store).training.start_from == "release:other@2"
    assert settle_start(starting_from("base"), store).training.start_from == "base"


def test_production_that_was_not_settled_is_no_fresh_adapter(tmp_path: Path) -> None:
    with pytest.raises(NightshiftError, match="stands for no version yet"):
        fetch_start(starting_from("Production"), tmp_path)


def test_a_release_on_another_base_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {"nightshift.base_model": "hf:somebody/else@1"}
    monkeypatch.setattr(start, "get_release", lambda *_: SimpleNamespace(tags=tags))
    with pytest.raises(UserError, match=r"other version 2 stands on hf:somebody/else@1, the recipe trains random:"):
        fetch_start(starting_from("release:other@2"), tmp_path)


@pytest.mark.parametrize("what", ["production", "release:other", "release:other@0", "release:@2", "newest"])
def test_what_start_from_cannot_be(what: str) -> None:
    with pytest.raises(UserError, match="start_from"):
        starting_from(what)
