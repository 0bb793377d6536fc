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
    "question_tokens": "the question has not too few or too many tokens",
    "empty_schema": "the schema is not empty",
    "schema_length": "the schema is neither a fragment nor beyond any prompt",
    "schema_tokens": "the schema has not too few or too many tokens",
    "dialect_not_allowed": "gold is written in an allowed dialect",
    "unknown_difficulty": "the difficulty is easy, medium or hard, or not known",
    "domain_not_allowed": "the domain is one of those allowed",
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
    "sql_in_question": "neither question nor evidence holds the answer",
}
BATCH_REASONS: dict[str, str] = {
    "unreadable_records": "the share of unreadable records is within the limit",
    "questions_missing": "the share of rows without a question is within the limit",
    "duplicate_share": "the share of rows that repeat an earlier one is within the limit",
    "conflict_share": "the share of rows that answer an earlier question otherwise is within the limit",
    "quarantined_share": "the quarantined share is within the limit",
    "too_few_rows": "enough rows are left",
}


# What a dataset must be once its rows are divided; these end the night as well.
DATASET_REASONS: dict[str, str] = {
    "empty_split": "there are rows to train on and rows to test on",
    "train_test_overlap": "no training row has the id, the database or the question and schema of a test row",
    "contaminated_share": "the share of training rows that met a test row is within the limit",
    "drift_difficulty": "difficulties have the shares that they had in the last accepted dataset",
    "drift_statement": "kinds of statements have the shares that they had in the last accepted dataset",
    "drift_question": "lengths of questions have the shares that they had in the last accepted dataset",
}


class ValidationSpec(BaseModel):
    """The data contract: what a row must be to be kept, and what a batch must be for the night to go on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_quarantined_share: float = Field(0.05, ge=0, le=1, description="share of rows that may be quarantined")
    min_rows: int = Field(1, ge=1, description="rows that must be left after quarantine")
    question_chars: tuple[int, int] = Field((3, 2000), description="shortest and longest question, in characters")
    schema_chars: tuple[int, int] = Field((10, 20_000), description="shortest and longest schema, in characters")
    question_tokens: tuple[int, int] | None = Field(
        None, description="shortest and longest question, in tokens of the recipe's model; not counted when absent"
    )
    schema_tokens: tuple[int, int] | None = Field(
        None, description="shortest and longest schema, in tokens of the recipe's model; not counted when absent"
    )
    dialects: tuple[str, ...] = Field((), description="SQL dialects that rows may have; all when empty")
    domains: tuple[str, ...] = Field((), description="domains that rows may have; all when empty")
    max_duplicate_share: float = Field(
        0.5, ge=0, le=1, description="share of rows that may repeat question, schema and SQL of an earlier one"
    )
    max_conflict_share: float = Field(
        0.05, ge=0, le=1, description="share of rows that may answer the question of an earlier one otherwise"
    )
    max_contaminated_share: float = Field(
        0.5, ge=0, le=1, description="share of the rows for training and validation that may meet a test row"
    )
    max_drift: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of rows that may have moved to another difficulty, kind of statement or length of question "
        "since the last accepted dataset",
    )
    statements: tuple[Statement, ...] = Field(("select",), min_length=1, description="kinds of statements gold may be")
    execute: bool = Field(True, description="build every schema and run its gold queries")
    seconds: float = Field(2.0, gt=0, description="deadline of one gold query")
    skip: tuple[str, ...] = Field((), description="expectations that do not apply, by the reason that they give")

    @field_validator("skip")
    @classmethod
    def _known(cls, skip: tuple[str, ...]) -> tuple[str, ...]:
        valid = [*ROW_REASONS, *BATCH_REASONS, *DATASET_REASONS]
        for reason in skip:
            if reason not in valid:
                near = difflib.get_close_matches(reason, valid, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(valid)}"
                raise ValueError(f"no expectation gives the reason {reason!r}; {hint}")
        return skip

    @property
    def counts_tokens(self) -> bool:
        """Whether a tokenizer is needed."""
        return self.question_tokens is not None or self.schema_tokens is not None

    @model_validator(mode="after")
    def _ordered(self) -> ValidationSpec:
        for name in ("question_chars", "schema_chars", "question_tokens", "schema_tokens"):
            low, high = getattr(self, name) or (1, 1)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be [shortest, longest], 0 < shortest <= longest, not [{low}, {high}]")
        return self
