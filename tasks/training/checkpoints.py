"""Checkpoints: found by number, trusted only when whole.

`checkpoint-1000` sorts before `checkpoint-900` as text, so the number decides. The marker is written last; a folder
without it was being written when the process died and is passed over.
"""

from __future__ import annotations

import re
from pathlib import Path

COMPLETE = "COMPLETE"
_NAME = re.compile(r"checkpoint-(\d+)")


def last_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the highest step below `folder`, or None."""
    found = {
        int(match[1]): path
        for path in folder.glob("checkpoint-*")
        if (match := _NAME.fullmatch(path.name))
        and (path / COMPLETE).is_file()
        and (path / "trainer_state.json").is_file()
    }
    return found[max(found)] if found else None


def mark_complete(folder: Path, step: int) -> None:
    """Declare the checkpoint of `step` below `folder` whole; called after everything else of it is on disk."""
    path = folder / f"checkpoint-{step}"
    if path.is_dir():
        (path / COMPLETE).write_text(str(step))
