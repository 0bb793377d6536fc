"""`nightshift train`: an ordinary adapter folder, nothing promoted, and the night that goes on behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import nightshift


@pytest.mark.night
def test_an_adapter_alone_is_the_first_half_of_its_night(project: Path) -> None:
    from peft import PeftConfig

    code, outcome = nightshift(project, "train", "tiny", "--out", "adapter")
    assert (code, outcome["outcome"], outcome["path"]) == (0, "trained", "adapter")
    assert [stage["reused"] for stage in outcome["stages"]] == [False] * len(outcome["stages"])
    assert PeftConfig.from_pretrained(str(project / "adapter")).r > 0
    assert (project / "adapter" / "prompt.json").is_file()
    assert nightshift(project, "releases") == (0, [])
    code, night = nightshift(project, "retrain", "tiny")
    assert (code, night["outcome"], night["night"]) == (0, "promoted", outcome["night"])
    trained = {stage["name"]: stage["seconds"] for stage in outcome["stages"]}
    assert {stage["name"]: stage["seconds"] for stage in night["stages"]} == trained  # nothing was trained again
    assert nightshift(project, "train", "tiny", "--out", "adapter")[0] == 2  # what is there stays
