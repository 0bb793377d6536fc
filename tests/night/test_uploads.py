"""A night killed in a stage, its machine's disk lost: the same command goes on from the checkpoint in the store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.s3 import S3Store
from infra.store import MARKER, LocalStore, Store
from tests.commands import Place, kill_night, wait_for
from tests.servers import s3_bucket

pytestmark = pytest.mark.night

RETRAIN = ["retrain", "tiny", "--json", "--set", "training.upload_every=1"]
# Enough steps for the kill to land in the second stage.
RETRAIN += ["--set", "training.stages.1.epochs=20", "--set", "training.save_steps=2"]


@pytest.fixture(params=["local", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, str]]:
    """The store, and what NIGHTSHIFT_STORE says."""
    if request.param == "local":
        yield LocalStore(tmp_path / "kept"), str(tmp_path / "kept")
    else:
        with s3_bucket("nights") as name:
            yield S3Store(f"s3://{name}/store"), f"s3://{name}/store"


def test_a_stage_goes_on_where_another_machine_was_taken_away(project: Path, kept: tuple[Store, str]) -> None:
    store, url = kept
    place = Place(project)
    place.environment["NIGHTSHIFT_STORE"] = url

    def uploaded() -> list[int]:
        """Steps of the second stage, the first being finished, that lie whole in the store."""
        finished = {key.split("/")[1] for key in store.list("stages") if key.endswith(f"/{MARKER}")}
        whole = [key.split("/") for key in store.list("checkpoints") if key.endswith(f"/{MARKER}")]
        return sorted(int(step) for _, stage, step, _ in whole if finished and stage not in finished)

    victim = place.start_silently(*RETRAIN)
    wait_for(lambda: list(place.folder.glob(".nightshift/work/*/train/2-medium-*/checkpoint-*")), victim)
    wait_for(uploaded, victim)  # only now: asking S3 all the time would take it from the night
    kill_night(victim, "tasks.training.session")
    step = uploaded()[-1]
    shutil.rmtree(place.folder / ".nightshift" / "work")
    code, outcome, err = place.run(*RETRAIN)
    assert code == 0, err
    assert outcome["outcome"] == "promoted"
    easy, medium, hard = outcome["stages"]
    assert (easy["reused"], medium["reused"], hard["reused"]) == (True, False, False)
    assert medium["resumed_from"] == step >= 2
    assert store.list("checkpoints") == []
