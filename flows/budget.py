"""A night's cap on GPU hours (`infra.max_gpu_hours`): what training and evaluation have taken, in every attempt.

Each attempt of a step notes its seconds in the store as it goes, so that attempts which died count too. A night whose
hours are spent ends failed with one line; its finished stages stay, and a larger cap lets it go on behind them. Limits:
a job has one GPU, so its hours are GPU hours, of whatever class; of an attempt that dies NOTE_SECONDS may be lost.
"""

from __future__ import annotations

import logging
import time
import uuid
from types import TracebackType

from flows.night import Night
from infra.errors import NightshiftError, first_line

NOTE_SECONDS = 15.0

log = logging.getLogger("nightshift")


class Budget:
    """Context manager around a step that holds a GPU; whoever waits inside calls `check` now and then.

    Raises NightshiftError at the start, or from `check`, when the night's hours are spent.
    """

    def __init__(self, night: Night, step: str) -> None:
        self.night, self.step = night, step
        self.cap = night.recipe.infra.max_gpu_hours
        self.key = f"nights/{night.id}/spent/{step}-{uuid.uuid4().hex[:12]}.json"
        self.earlier = 0.0
        self.began = self.noted = time.monotonic()

    def __enter__(self) -> Budget:
        self.earlier = spent_seconds(self.night)
        self.began = self.noted = time.monotonic()
        self._end_if_spent()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._note()

    def check(self) -> None:
        """Note what this attempt has taken, if it is time; raises NightshiftError when the cap is reached."""
        if time.monotonic() - self.noted > NOTE_SECONDS:
            self._note()
        self._end_if_spent()

    def _note(self) -> None:
        self.noted = time.monotonic()
        try:
            self.night.store.write_json(self.key, {"seconds": round(self.noted - self.began, 1)})
        except Exception as error:  # an account that could not be written is no reason to end a training
            log.warning("what %s has taken could not be noted: %s", self.step, first_line(error))

    def _end_if_spent(self) -> None:
        hours = (self.earlier + time.monotonic() - self.began) / 3600
        if self.cap is not None and hours >= self.cap:
            raise NightshiftError(
                f"night {self.night.id} has spent its {self.cap:g} GPU hours in {self.step} (infra.max_gpu_hours): "
                "finished stages are kept; raise the cap and run it again to go on"
            )


def spent_seconds(night: Night) -> float:
    """What training and evaluation of this night have taken so far, in seconds."""
    store = night.store
    return sum(float(store.read_json(key)["seconds"]) for key in store.list(f"nights/{night.id}/spent"))
