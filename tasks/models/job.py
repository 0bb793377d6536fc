"""What the generation process is told: which examples, and who answers them how."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tasks.data.prompts import PromptSpec
from tasks.models.endpoint import EndpointSpec

PROGRESS = "progress.json"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SubjectJob(_Model):
    """One model to ask: a base folder, an adapter's on it (empty: the base alone), or a server; its prompt format."""

    role: str
    base: str = ""
    adapter: str = ""
    four_bit: str = Field("", description="nf4 or fp4: the base's weights are held in four bits")
    endpoint: EndpointSpec | None = None
    prompt: PromptSpec
    demonstrations: int = Field(0, description="training examples shown ahead of a question")
    output: str = Field(description="predictions file below the work folder")


class GenerationJob(_Model):
    """The examples and who answers them."""

    examples: str = Field(description="JSONL file of examples; their gold is left out")
    demonstrations: str = Field("", description="JSONL file of training examples that may be shown")
    subjects: tuple[SubjectJob, ...]
    max_new_tokens: int
    batch_size: int
    corrections: int = Field(0, description="further tries for an answer that does not run")
    samples: int = Field(0, description="further answers drawn to each question")
    temperature: float = Field(0.8, description="at which samples are drawn")
    seconds_per_query: float = Field(5.0, description="deadline of one query that is tried")
    workers: int = Field(1, description="processes that try queries")
