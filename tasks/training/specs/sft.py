"""`method: sft`: supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from tasks.training.specs.stage import StageSpec


class SftStage(StageSpec):
    """Supervised fine-tuning with loss on the SQL alone."""

    method: Literal["sft"] = "sft"
