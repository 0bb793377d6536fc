"""References: what flows exchange instead of objects and paths."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["dataset", "adapter", "predictions", "scorecard", "verdict", "report", "docs", "night"]


class Ref(BaseModel):
    """Names one thing in the store: what it is, what it contains, and under which key it lies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(description="what the reference points at")
    fingerprint: str = Field(description="the content's fingerprint, 16 hex digits")
    key: str = Field(description="the key, or key prefix of a tree, in the store; never an absolute path")
