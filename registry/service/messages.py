"""What the service's paths take and give; the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST_QUESTION = 2000
LONGEST_SCHEMA = 500_000
LARGEST_BATCH = 64


class _In(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)


class AskRequest(_In):
    """A question, and what it is asked of: one of the service's databases, or a pasted schema."""

    question: str = Field(min_length=1, max_length=LONGEST_QUESTION, examples=["How many singers are from France?"])
    database: str = Field("", max_length=200, description="name of a database the service was started with")
    # `schema` itself would shadow a pydantic attribute; in JSON it is `schema`.
    script: str = Field(
        "",
        alias="schema",
        max_length=LONGEST_SCHEMA,
        description="CREATE TABLE statements, with INSERTs where there are to be rows",
        examples=["CREATE TABLE singer (id INTEGER, name TEXT, country TEXT);"],
    )
    evidence: str = Field("", max_length=8000, description="a hint, such as what a column means")
    run: bool = Field(True, description="run the SQL, read-only; false: only write it")
    explain: bool = Field(False, description="say what the SQL does and how the database runs it")

    @model_validator(mode="after")
    def _one(self) -> AskRequest:
        if not self.question.strip():
            raise ValueError("question is empty")
        if bool(self.database) == bool(self.script.strip()):
            raise ValueError("give either database or schema")
        return self


class BatchRequest(_In):
    """Several questions, answered together by one release."""

    questions: tuple[AskRequest, ...] = Field(min_length=1, max_length=LARGEST_BATCH)


class Seconds(BaseModel):
    """How long it took."""

    generate: float
    run: float


class AskResponse(BaseModel):
    """The SQL, whether it is valid on the schema, and its rows."""

    schema_version: int
    answer_id: str = Field(description="to send feedback on this answer")
    release: str
    version: str
    question: str
    database: str
    sql: str
    valid: bool = Field(description="SQLite runs it, as a query, on the schema without rows")
    reason: str = Field(description="why it is not valid")
    status: str | None = Field(description="ok, or what went wrong while it ran; null when it was not run")
    message: str
    columns: list[str]
    rows: list[list[Any]] = Field(description="the first rows")
    row_count: int = Field(description="all rows")
    seconds: Seconds
    explanation: list[str] | None = None
    plan: list[str] | None = None


class BatchResponse(BaseModel):
    """Answers in the order of the questions."""

    answers: list[AskResponse]


class FeedbackRequest(_In):
    """What is said about an answer."""

    answer_id: str = Field(min_length=1, max_length=64)
    verdict: Literal["right", "wrong"]
    corrected_sql: str = Field("", max_length=20_000, description="what it should have been; with verdict wrong")


class FeedbackResponse(BaseModel):
    """What became of it."""

    id: str
    new: bool = Field(description="false: the same was said before")
    reviewer: str = Field(description="whose signature is on it; empty: an opinion, never training data")
