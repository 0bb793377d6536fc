"""`method: seq2seq`: supervised fine-tuning of an encoder-decoder model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tasks.training.specs.stage import StageSpec


class Seq2SeqStage(StageSpec):
    """Supervised fine-tuning of an encoder-decoder model such as T5: the encoder reads the prompt, the decoder writes
    the SQL. `prompt.format: translate` suits it."""

    architecture: ClassVar[Literal["causal", "seq2seq"]] = "seq2seq"

    method: Literal["seq2seq"] = "seq2seq"
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target taken from the right token")
