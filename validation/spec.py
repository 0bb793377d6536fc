"""What a recipe says about the data contract."""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Statement = Literal["select", "insert", "update", "delete", "create", "drop", "alter"]

# Every expectation by the reason that it gives, and what it says. Those of rows decide what is quarantined, those of
# the batch whether the night may go on.
ROW_REASONS: dict[str, str] = {
    "empty_question": "the question is not empty",
    "question_length": "the question is neither a fragment nor a novel",
    "empty_schema": "the schema is not empty",
    "schema_length": "the schema is neither a fragment nor beyond any prompt",
    "empty_sql": "there is a gold query",
    "not_sql": "gold is SQL, not prose",
    "multiple_statements": "gold is one statement",
    "syntax_error": "gold can be parsed",
    "statement_not_allowed": "gold is of an allowed kind of statement",
    "unreadable_schema": "the schema can be read as CREATE TABLE statements",
    "broken_schema": "SQLite can build the schema",
    "broken_setup": "SQLite can fill the schema with the given rows",
    "unknown_table_or_column": "gold names only tables and columns that the schema has",
    "too_expensive": "gold runs within its limits of time, memory and rows",
    "does_not_run": "gold runs",
    "duplicate_id": "no earlier row has the same id",
    "conflicting_sql": "no earlier row answers the same question otherwise",
    "sql_in_question": "the question does not hold its own answer",
}
BATCH_REASONS: dict[str, str] = {
    "unreadable_records": "the share of unreadable records is within the limit",
    "questions_missing": "the share of rows without a question is within the limit",
    "quarantined_share": "the quarantined share is within the limit",
    "too_few_rows": "enough rows are left",
}


class ValidationSpec(BaseModel):
    """The data contract: what a row must be to be kept, and what a batch must be for the night to go on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_quarantined_share: float = Field(0.05, ge=0, le=1, description="share of rows that may be quarantined")
    min_rows: int = Field(1, ge=1, description="rows that must be left after quarantine")
    question_chars: tuple[int, int] = Field((3, 2000), description="shortest and longest question, in characters")
    schema_chars: tuple[int, int] = Field((10, 20_000), description="shortest and longest schema, in characters")
    statements: tuple[Statement, ...] = Field(("select",), min_length=1, description="kinds of statements gold may be")
    execute: bool = Field(True, description="build every schema and run its gold queries")
    seconds: float = Field(2.0, gt=0, description="deadline of one gold query")
    skip: tuple[str, ...] = Field((), description="expectations that do not apply, by the reason that they give")

    @field_validator("skip")
    @classmethod
    def _known(cls, skip: tuple[str, ...]) -> tuple[str, ...]:
        valid = [*ROW_REASONS, *BATCH_REASONS]
        for reason in skip:
            if reason not in valid:
                near = difflib.get_close_matches(reason, valid, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(valid)}"
                raise ValueError(f"no expectation gives the reason {reason!r}; {hint}")
        return skip

    @model_validator(mode="after")
    def _ordered(self) -> ValidationSpec:
        for name in ("question_chars", "schema_chars"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be [shortest, longest], 0 < shortest <= longest, not [{low}, {high}]")
        return self
