"""Ending a training that falls behind: its loss at given shares of its steps, against the worst that is allowed there.

The limits are known before the training starts, so that where it ends does not hang on what else is running at the
time. Limits: of a training that resumed within the stretch a loss is averaged over, that look is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

STRETCH = 0.1  # share of the steps, up to the look, whose losses are averaged: single batches differ too much


class Rung(BaseModel):
    """One look at a training's last stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(gt=0, lt=1, description="share of the stage's steps after which to look")
    worst: float | None = Field(None, description="largest mean training loss with which it goes on; any when absent")


class Ended(BaseModel):
    """What a training that was ended leaves: its curve up to then, in steps of its last stage, of `steps` planned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float
    loss: float
    worst: float
    steps: int
    curve: list[tuple[int, float]]

    @property
    def why(self) -> str:
        """For people."""
        behind = f"its loss was {self.loss:.4f}, and {self.worst:.4f} at most goes on"
        return f"ended after {self.share:.0%} of its steps: {behind}"


def loss_at(curve: Mapping[int, float], steps: int, share: float) -> float | None:
    """Mean loss of the stretch of `steps` planned steps that ends at `share`; None where it is not all in `curve`."""
    last = max(1, math.ceil(share * steps))
    first = max(1, last - max(1, round(STRETCH * steps)) + 1)
    losses = [curve.get(step) for step in range(first, last + 1)]
    known = [loss for loss in losses if loss is not None]
    return sum(known) / len(known) if len(known) == len(losses) else None


class Watch:
    """Follows one training's losses and says when it has fallen behind."""

    def __init__(self, rungs: tuple[Rung, ...]) -> None:
        self._rungs = rungs
        self._curve: dict[int, float] = {}

    def see(self, step: int, steps: int, loss: float) -> Ended | None:
        """The training is after `step` of `steps`; what to leave if it ends here."""
        self._curve[step] = loss
        for rung in self._rungs:
            if rung.worst is None or step != max(1, math.ceil(rung.share * steps)):
                continue
            mean = loss_at(self._curve, steps, rung.share)
            if mean is not None and mean > rung.worst:
                curve = sorted(self._curve.items())
                return Ended(share=rung.share, loss=mean, worst=rung.worst, steps=steps, curve=curve)
        return None
