"""Checkpoints of a running stage in the store, for machines that are taken away together with their disks.

Below `checkpoints/<stage>/<step>/` lies the stage's folder as far as a resume needs it: the newest whole checkpoint,
the best one where the stage keeps it, and what the stage made before it trained. The marker, written last, holds every
file's sha256; only then is the upload before it deleted. The trainer knows nothing of this: whoever follows the stage
uploads. Limits: what was trained since the last upload is trained again, and the trials of a sweep upload nothing.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import NightshiftError, NotFound, first_line
from infra.hashing import sha256_of_file
from infra.progress import emit
from infra.store import Store
from tasks.training.checkpoints import PATTERN, best_beside, last_checkpoint, point_to_best, step_of
from tasks.training.job import ADAPTER, StageJob

log = logging.getLogger("nightshift.checkpoints")


class _Corrupt(NightshiftError):
    """An upload whose files are not what was uploaded."""


def checkpoints_key(mark: str) -> str:
    """Where the store keeps the checkpoints of the stage with fingerprint `mark`, while it is not finished."""
    return f"checkpoints/{mark}"


@contextmanager
def uploading(stage: StageJob, store: Store, work: Path, every: float | None) -> Iterator[None]:
    """Upload the newest whole checkpoint of `stage` every so many seconds while inside; None uploads nothing.

    A failed upload is logged and tried again: it never costs a training.
    """
    if every is None:
        yield
        return
    stop = threading.Event()

    def upload() -> None:
        while not stop.wait(every):
            try:
                upload_newest(stage, store, work, stop.is_set)
            except Exception as error:  # whatever a store's client raises: the stage trains on
                log.warning("no checkpoint of stage %s was uploaded: %s", stage.spec.name, first_line(error))

    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def upload_newest(stage: StageJob, store: Store, work: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Put the newest whole checkpoint below `work` into the store, if it is not there, and delete those before it.

    Ends without it between two files when `stopped()`.
    """
    checkpoint = last_checkpoint(work / stage.folder)
    if checkpoint is None:
        return
    step, sums = step_of(checkpoint), {}
    tree = f"{checkpoints_key(stage.fingerprint)}/{step}"
    if store.has_tree(tree):
        return
    with _held(work / stage.folder, checkpoint) as held:
        for path in sorted(p for p in held.rglob("*") if p.is_file()):
            if stopped():
                return
            name = path.relative_to(held).as_posix()
            sums[name] = sha256_of_file(path)
            store.put(f"{tree}/{name}", path)
    store.close_tree(tree, {"files": sums})
    for older in _steps(stage, store):
        if older < step:
            store.delete_tree(f"{checkpoints_key(stage.fingerprint)}/{older}")


def restore_checkpoint(stage: StageJob, store: Store, work: Path) -> None:
    """Make the stage's folder below `work` that of its last upload, unless a checkpoint as new is there.

    An upload whose files are not what was uploaded is reported, deleted and passed over.
    """
    folder = work / stage.folder
    here = last_checkpoint(folder)
    for step in sorted(_steps(stage, store), reverse=True):
        tree = f"{checkpoints_key(stage.fingerprint)}/{step}"
        if here is not None and step <= step_of(here):
            return
        if not store.has_tree(tree):
            continue  # it was being written when its machine went away
        restoring = work / f"{stage.folder}.restoring"
        shutil.rmtree(restoring, ignore_errors=True)
        try:
            _fetch(store, tree, restoring)
        except (_Corrupt, NotFound) as error:
            log.error("stage %s cannot go on from step %d: %s; trying an older one", stage.spec.name, step, error)
            store.delete_tree(tree)
            continue
        point_to_best(restoring / f"checkpoint-{step}", folder)
        shutil.rmtree(folder, ignore_errors=True)
        restoring.rename(folder)
        emit(f"train: {stage.spec.name}", f"goes on from step {step}, which was uploaded")
        return


def forget_uploads(stage: StageJob, store: Store) -> None:
    """Delete the checkpoints of a finished stage; a store that does not do it is reported (`clean` does it later)."""
    try:
        for step in _steps(stage, store):
            store.delete_tree(f"{checkpoints_key(stage.fingerprint)}/{step}")
    except Exception as error:  # as above: the stage is finished and kept
        log.warning("checkpoints of stage %s stay in the store: %s", stage.spec.name, first_line(error))


def _steps(stage: StageJob, store: Store) -> set[int]:
    """The steps that something was uploaded of, whole or not."""
    return {int(key.split("/")[2]) for key in store.list(checkpoints_key(stage.fingerprint))}


@contextmanager
def _held(folder: Path, checkpoint: Path) -> Iterator[Path]:
    """A folder of hard links to what is uploaded of `folder`, so that nothing vanishes while it is: trainers delete."""
    held = folder.with_name(f"{folder.name}.uploading")
    shutil.rmtree(held, ignore_errors=True)
    needed = {checkpoint.name, best_beside(checkpoint)}
    try:
        for entry in folder.iterdir():
            left_out = PATTERN.fullmatch(entry.name) and entry.name not in needed
            if left_out or entry.name.startswith(ADAPTER) or entry.suffix == ".tmp":
                continue
            for path in (p for p in (entry, *entry.rglob("*")) if p.is_file()):
                target = held / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, target)
        yield held
    finally:
        shutil.rmtree(held, ignore_errors=True)


def _fetch(store: Store, tree: str, target: Path) -> None:
    """Fetch the tree's files; raises _Corrupt for one that is not what was uploaded, NotFound for one that is gone."""
    for name, wanted in store.about_tree(tree)["files"].items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(f"{tree}/{name}", path)
        if sha256_of_file(path) != wanted:
            raise _Corrupt(f"{name} in the store is not what was uploaded")
