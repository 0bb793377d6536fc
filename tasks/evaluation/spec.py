"""What a recipe says about evaluation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EvaluationSpec(BaseModel):
    """How models answer the test split and how their SQL is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(96, ge=8, description="longest answer; a longer one is cut and judged as it stands")
    batch_size: int = Field(32, ge=1, description="questions answered at once")
    max_samples: int | None = Field(
        None,
        ge=1,
        description="rows of the test split to use, drawn by hash with every difficulty in its share; all when absent",
    )
    seconds_per_query: float = Field(5.0, gt=0, description="deadline of one SQL query")
    workers: int = Field(2, ge=1, description="processes that execute SQL")
    suite: int = Field(
        0, ge=0, le=100, description="fuzzed copies of each database on which a right query must be right too"
    )
    shots: int = Field(
        0,
        ge=0,
        le=16,
        description="training examples that a model without an adapter is shown ahead of each question; within "
        "prompt.max_tokens, after the schema",
    )
    corrections: int = Field(
        0,
        ge=0,
        le=10,
        description="further tries for an answer that does not run, with the database's message; `ask` has none",
    )
    samples: int = Field(
        0,
        ge=0,
        le=64,
        description="further answers drawn to each question, for pass@k and the execution vote; each costs as much as "
        "the answer itself",
    )
    temperature: float = Field(0.8, gt=0, le=2, description="at which samples are drawn; answers themselves are greedy")
