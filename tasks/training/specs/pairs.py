"""`pairs:` of a stage that learns from preferences: where wrong answers come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tasks.training.specs.stage import Spec

Origin = Literal["policy", "rules", "endpoint"]


class EndpointSpec(Spec):
    """A server that speaks OpenAI's chat completions; its key is read from NIGHTSHIFT_ENDPOINT_KEY.

    Questions, schemas and gold of the stage's rows are sent there.
    """

    url: str = Field(pattern=r"^https?://\S+$", description="base address, up to and including /v1")
    models: tuple[str, ...] = Field(min_length=1, description="models asked, taking turns")
    workers: int = Field(4, ge=1, le=64, description="requests under way at once")
    attempts: int = Field(6, ge=1, le=100, description="tries of one request before its model is given up")
    wait_seconds: float = Field(5.0, gt=0, description="first wait after a refusal; doubled each time, at most 60")
    timeout_seconds: float = Field(60.0, gt=0, description="time one request may take")
    temperature: float = Field(1.0, ge=0, le=2, description="temperature asked for")
    max_tokens: int = Field(512, ge=16, description="longest answer asked for")


class PairSpec(Spec):
    """Where the wrong answers of preference pairs come from; gold is always the right one.

    Whatever the origin, an answer is kept only if running it shows that it is not gold.
    """

    origins: tuple[Origin, ...] = Field(
        ("policy", "rules"),
        min_length=1,
        description="asked in this order until an example has its pairs: policy (the model the stage starts from), "
        "rules (one edit of gold), endpoint (another model, told to be wrong)",
    )
    per_example: int = Field(1, ge=1, le=16, description="pairs an example may give")
    samples: int = Field(4, ge=1, le=64, description="answers drawn from the policy an example")
    temperature: float = Field(1.0, gt=0, le=2, description="temperature at which the policy answers")
    max_new_tokens: int = Field(96, ge=1, description="longest answer of the policy")
    edits: int = Field(12, ge=1, le=64, description="edits of gold judged an example")
    endpoint: EndpointSpec | None = Field(None, description="the server of the origin endpoint")

    @model_validator(mode="after")
    def _check(self) -> PairSpec:
        if len(set(self.origins)) != len(self.origins):
            raise ValueError("origins: each may stand there once")
        if ("endpoint" in self.origins) != (self.endpoint is not None):
            raise ValueError("the origin endpoint needs `endpoint:` with url and models, and only it does")
        return self
