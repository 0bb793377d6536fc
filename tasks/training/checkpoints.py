"""Checkpoints: found by number, trusted only when whole.

`checkpoint-1000` sorts before `checkpoint-900` as text, so the number decides. The marker is written last; a folder
without it was being written when the process died and is passed over.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

COMPLETE = "COMPLETE"
STATE = "trainer_state.json"  # transformers' own, with the folder of the best checkpoint in it
PATTERN = re.compile(r"checkpoint-(\d+)")


def last_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the highest step below `folder`, or None."""
    found = {
        int(match[1]): path
        for path in folder.glob("checkpoint-*")
        if (match := PATTERN.fullmatch(path.name)) and (path / COMPLETE).is_file() and (path / STATE).is_file()
    }
    return found[max(found)] if found else None


def mark_complete(folder: Path, step: int) -> None:
    """Declare the checkpoint of `step` below `folder` whole; called after everything else of it is on disk."""
    path = folder / f"checkpoint-{step}"
    if path.is_dir():
        (path / COMPLETE).write_text(str(step))


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def best_beside(checkpoint: Path) -> str:
    """The name of the best checkpoint so far, which lies beside `checkpoint`; empty where none is kept."""
    return Path(json.loads((checkpoint / STATE).read_text()).get("best_model_checkpoint") or "").name


def point_to_best(checkpoint: Path, folder: Path) -> None:
    """Let a checkpoint that comes from another machine name the best one where it will lie here: below `folder`."""
    best, state = best_beside(checkpoint), json.loads((checkpoint / STATE).read_text())
    if best:
        (checkpoint / STATE).write_text(json.dumps(state | {"best_model_checkpoint": str(folder / best)}))
