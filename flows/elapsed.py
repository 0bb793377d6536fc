"""The time that a trial takes, in all its attempts: noted beside its checkpoints, so that it goes where they go.

Limits: of an attempt that is killed up to NOTE_SECONDS are lost; one that goes on elsewhere, without its checkpoints,
counts from there.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from tasks.models.process import write_atomically

NOTE_SECONDS = 5.0
FILE = "seconds.json"


class Elapsed:
    """Context manager around one attempt in the folder `work`; whoever waits inside calls `note` now and then."""

    def __init__(self, work: Path) -> None:
        self._file = work / FILE
        self._before = float(json.loads(self._file.read_text())) if self._file.is_file() else 0.0
        self._began = self._noted = time.perf_counter()

    def __enter__(self) -> Elapsed:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    @property
    def seconds(self) -> float:
        """Seconds of all attempts so far, this one included."""
        return round(self._before + time.perf_counter() - self._began, 2)

    def note(self) -> None:
        """Write the seconds down, if it is time."""
        if time.perf_counter() - self._noted > NOTE_SECONDS:
            self._write()

    def _write(self) -> None:
        self._noted = time.perf_counter()
        write_atomically(self._file, self.seconds)
