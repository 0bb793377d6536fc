"""Checkpoints in the store: whole ones alone, newest last, and from them another machine trains the same adapter."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.s3 import S3Store
from infra.store import LocalStore, Store
from tasks.training import trainer
from tasks.training.checkpoints import best_beside, last_checkpoint, mark_complete
from tasks.training.curriculum import restore_stages
from tasks.training.job import ADAPTER, TrainingJob, read_result
from tasks.training.session import run_session
from tasks.training.uploads import checkpoints_key, forget_uploads, restore_checkpoint, upload_newest, uploading
from tests.servers import s3_bucket
from tests.tasks.training.test_stages import difference, plan, spec


@pytest.fixture(scope="module")
def job(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    return plan(tiny_model, tmp_path_factory.mktemp("job"))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("nights") as name:
        yield name


def checkpoint(job: TrainingJob, work: Path, step: int, best: int | None = None, whole: bool = True) -> None:
    """A checkpoint as transformers leaves it, and whole if so."""
    folder = work / job.stages[0].folder
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "adapter_model.safetensors").write_text(f"weights of {step}")
    state = {"best_model_checkpoint": f"/elsewhere/{folder.name}/checkpoint-{best}" if best else None, "step": step}
    (made / "trainer_state.json").write_text(json.dumps(state))
    if whole:
        mark_complete(folder, step)


def steps(job: TrainingJob, store: Store) -> dict[int, bool]:
    """Steps that something lies in the store of, and whether it is whole."""
    key = checkpoints_key(job.stages[0].fingerprint)
    return {step: store.has_tree(f"{key}/{step}") for step in {int(k.split("/")[2]) for k in store.list(key)}}


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_another_machine_trains_on_to_the_same_adapter(
    kind: str,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: LocalStore,
    request: pytest.FixtureRequest,
) -> None:
    kept: Store = store if kind == "local" else S3Store(f"s3://{request.getfixturevalue('bucket')}/store")
    undisturbed = plan(tiny_model, tmp_path / "undisturbed", one_stage())
    run_session(undisturbed, tmp_path / "undisturbed")

    def die(folder: Path, step: int) -> None:
        mark_complete(folder, step)
        if step == 2:
            upload_newest(job.stages[0], kept, tmp_path / "gone")
            raise KeyboardInterrupt

    job = plan(tiny_model, tmp_path / "gone", one_stage())
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "mark_complete", die)
        with pytest.raises(KeyboardInterrupt):
            run_session(job, tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    again = plan(tiny_model, tmp_path / "new", one_stage())
    assert restore_stages(again, kept, tmp_path / "new") == set()
    run_session(again, tmp_path / "new")
    result = read_result(tmp_path / "new" / again.stages[0].folder)
    assert result is not None
    assert (result.resumed_from, result.steps) == (2, 4)
    assert difference(*(tmp_path / name / again.stages[0].folder for name in ("undisturbed", "new"))) == 0.0


def one_stage() -> Any:
    return spec(
        stages=[{"name": "only", "data": {"max_samples": 8}, "global_batch": 4, "epochs": 2, "evaluations": 4}],
        upload_every=60,
    )


def test_only_whole_checkpoints_go_up_and_the_one_before_goes_last(
    job: TrainingJob, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, did = job.stages[0], []
    upload_newest(stage, store, tmp_path)
    assert steps(job, store) == {}
    checkpoint(job, tmp_path, 900)
    upload_newest(stage, store, tmp_path)
    checkpoint(job, tmp_path, 1000)
    checkpoint(job, tmp_path, 1100, whole=False)
    (tmp_path / stage.folder / f"{ADAPTER}.tmp").mkdir()
    (tmp_path / stage.folder / f"{ADAPTER}.tmp" / "half").write_text("")
    (tmp_path / stage.folder / "pairs").mkdir()
    (tmp_path / stage.folder / "pairs" / "00000.json").write_text("[]")
    for verb in ("put", "write_json", "delete"):
        original = getattr(LocalStore, verb)
        monkeypatch.setattr(LocalStore, verb, lambda s, k, *a, v=verb, o=original: (did.append((v, k)), o(s, k, *a))[1])
    upload_newest(stage, store, tmp_path)
    assert steps(job, store) == {1000: True}
    verbs = [verb for verb, _ in did]
    assert verbs == sorted(verbs, key=["put", "write_json", "delete"].index)
    key = checkpoints_key(stage.fingerprint)
    assert set(store.about_tree(f"{key}/1000")["files"]) == {
        *(f"checkpoint-1000/{name}" for name in ("COMPLETE", "adapter_model.safetensors", "trainer_state.json")),
        "pairs/00000.json",
    }
    did.clear()
    upload_newest(stage, store, tmp_path)  # nothing newer
    assert did == []
    assert not list(tmp_path.glob("*.uploading"))
    forget_uploads(stage, store)
    assert store.list(key) == []


def test_the_best_checkpoint_comes_along_and_is_named_where_it_lies_now(
    job: TrainingJob, store: LocalStore, tmp_path: Path
) -> None:
    stage, here, there = job.stages[0], tmp_path / "here", tmp_path / "there"
    for step in (10, 20, 30):
        checkpoint(job, here, step, best=10)
    upload_newest(stage, store, here)
    restore_checkpoint(stage, store, there)
    assert sorted(path.name for path in (there / stage.folder).iterdir()) == ["checkpoint-10", "checkpoint-30"]
    newest = last_checkpoint(there / stage.folder)
    assert newest is not None
    assert best_beside(newest) == "checkpoint-10"
    named = json.loads((newest / "trainer_state.json").read_text())["best_model_checkpoint"]
    assert Path(named) == there / stage.folder / "checkpoint-10"


def test_what_is_newer_here_stays(job: TrainingJob, store: LocalStore, tmp_path: Path) -> None:
    stage, here = job.stages[0], tmp_path / "here"
    checkpoint(job, tmp_path / "elsewhere", 10)
    upload_newest(stage, store, tmp_path / "elsewhere")
    checkpoint(job, here, 10)
    (here / stage.folder / "mine").write_text("")
    restore_checkpoint(stage, store, here)
    assert (here / stage.folder / "mine").is_file()
    checkpoint(job, tmp_path / "elsewhere", 20)
    upload_newest(stage, store, tmp_path / "elsewhere")
    restore_checkpoint(stage, store, here)
    assert [path.name for path in (here / stage.folder).iterdir()] == ["checkpoint-20"]


@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_corrupt_upload_is_told_and_the_one_before_is_taken(
    harm: str, job: TrainingJob, store: LocalStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage, here = job.stages[0], tmp_path / "here"
    for step in (10, 20):
        checkpoint(job, tmp_path / str(step), step)
    upload_newest(stage, store, tmp_path / "20")
    upload_newest(stage, store, tmp_path / "10")  # as if the machine had gone before it deleted the older one
    key = f"{checkpoints_key(stage.fingerprint)}/30/checkpoint-30/COMPLETE"
    store.write(key, b"")  # and another began to write: no marker, never taken
    weights = store.path(f"{checkpoints_key(stage.fingerprint)}/20/checkpoint-20/adapter_model.safetensors")
    weights.write_text("weights of 2O") if harm == "changed" else weights.unlink()
    with caplog.at_level(logging.ERROR):
        restore_checkpoint(stage, store, here)
    assert [path.name for path in (here / stage.folder).iterdir()] == ["checkpoint-10"]
    (told,) = caplog.messages
    assert told.startswith(f"stage {stage.spec.name} cannot go on from step 20: ")
    assert "adapter_model.safetensors" in told
    assert steps(job, store) == {10: True, 30: False}


def test_a_store_that_fails_costs_no_training(
    job: TrainingJob,
    store: LocalStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage, tried = job.stages[0], []
    checkpoint(job, tmp_path, 10)
    put = LocalStore.put

    def fail(self: LocalStore, key: str, source: Path) -> None:
        tried.append(key)
        if len(tried) == 1:
            raise OSError("no space left on device")
        put(self, key, source)

    monkeypatch.setattr(LocalStore, "put", fail)
    with uploading(stage, store, tmp_path, 0.05):
        for _ in range(200):
            if steps(job, store) == {10: True}:
                break
            time.sleep(0.05)
    assert steps(job, store) == {10: True}
    assert caplog.messages == [f"no checkpoint of stage {stage.spec.name} was uploaded: no space left on device"]
    monkeypatch.setattr(LocalStore, "list", lambda *_: (_ for _ in ()).throw(OSError("away")))
    forget_uploads(stage, store)
    assert caplog.messages[1:] == [f"checkpoints of stage {stage.spec.name} stay in the store: away"]


def test_without_the_setting_nothing_goes_up_and_the_stage_is_the_same(
    job: TrainingJob, store: LocalStore, tiny_model: Path, tmp_path: Path
) -> None:
    checkpoint(job, tmp_path, 10)
    with uploading(job.stages[0], store, tmp_path, None):
        pass
    assert steps(job, store) == {}
    assert plan(tiny_model, tmp_path / "with", spec(upload_every=300)).stages == job.stages
