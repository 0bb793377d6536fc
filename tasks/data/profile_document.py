"""A profile as a document: what `nightshift profile --json` prints and `tasks.data.profile_page` draws."""

from __future__ import annotations

from pydantic import Field

from tasks.data.profile_numbers import Distribution, Joint, Part

SCHEMA_VERSION = 1
COMPLEXITIES = (
    "basic SQL",
    "aggregation",
    "single join",
    "multiple joins",
    "subqueries",
    "set operations",
    "window functions",
    "CTEs",
)

Counts = dict[str, int]


class Sample(Part):
    """One row to look at."""

    id: str
    database: str
    difficulty: str
    why: str
    question: str
    evidence: str
    sql: str


class Profile(Part):
    """What a data set holds. Counts are by value, the most frequent first."""

    schema_version: int = SCHEMA_VERSION
    data: str = Field(description="what was profiled")
    rows: int = Field(description="readable rows")
    unreadable: int
    undrawn: int = Field(0, description="rows left out, beyond the most that are profiled")
    unreadable_reasons: Counts
    missing: Counts = Field(description="field -> rows without it")
    sources: Counts
    splits: Counts
    dialects: Counts
    domains: Counts
    databases: Counts = Field(description="database -> rows, the most frequent ones")
    database_count: int
    rows_per_database: Distribution | None
    difficulty: Counts
    hardness: Counts = Field(description="Spider's levels")
    complexity: Counts = Field(description="gretel's classes, read off the parsed query")
    statements: Counts
    parsed: int = Field(description="rows whose SQL parses")
    clauses: Counts = Field(description="clause -> rows that use it")
    keywords: Counts
    keywords_by_complexity: dict[str, Distribution]
    domain_complexity: dict[str, Counts] = Field(description="domain (or database) -> complexity -> rows")
    tables_used: Counts
    tables_in_schema: Counts
    columns_in_schema: Distribution | None
    characters: dict[str, Distribution]
    tokens: dict[str, Distribution]
    tokenizer: str
    question_and_sql: Joint | None = Field(description="question (across) and SQL (up) in characters")
    vocabulary: dict[str, int | float]
    words: Counts = Field(description="most frequent words of questions")
    openings: Counts = Field(description="first words of questions")
    duplicates: Counts
    examples: list[Sample]
