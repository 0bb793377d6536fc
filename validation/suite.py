"""The suites: Great Expectations' own expectations over the columns of the feature frame.

Every expectation carries `meta.reason`, the word that stands in the quarantine, and `meta.scope`: one of a row says
which rows go, one of the batch says whether the data as a whole are fit. A null passes an expectation of a row: a gold
query that does not parse is not blamed a second time for not running.

Limits: expectations see the frame, never the texts; what is not a column there cannot be expected here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tasks.data.example import DIFFICULTIES
from validation.spec import BATCH_REASONS, DATASET_REASONS, ROW_REASONS, ValidationSpec

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.expectations import Expectation

ROWS = "rows"
BATCH = "batch"
DATASET = "dataset"
DRIFT = "drift"


def build_suite(spec: ValidationSpec) -> ExpectationSuite:
    """The suite over the feature frame, one row for each record: all expectations of rows, and shares of columns."""
    return _suite(ROWS, _over_rows(spec), spec)


def build_batch_suite(spec: ValidationSpec) -> ExpectationSuite:
    """The suite over the one row that counts the outcome of `build_suite`: `rows, kept, quarantined_share`."""
    return _suite(BATCH, _over_counts(spec), spec)


def build_dataset_suite(spec: ValidationSpec) -> ExpectationSuite:
    """The suite over the one row that counts the splits: `smallest_split, overlap, contaminated_share`."""
    return _suite(DATASET, _over_splits(spec), spec)


def build_drift_suite(spec: ValidationSpec, before: Mapping[str, Mapping[str, float]]) -> ExpectationSuite:
    """The suite over a dataset's difficulties, statements and lengths; `before` has the shares they had."""
    return _suite(DRIFT, _over_shares(spec, before), spec)


def _suite(name: str, expectations: Iterator[tuple[str, Expectation]], spec: ValidationSpec) -> ExpectationSuite:
    import great_expectations as gx

    return gx.ExpectationSuite(name=name, expectations=[e for reason, e in expectations if reason not in spec.skip])


def _over_rows(spec: ValidationSpec) -> Iterator[tuple[str, Expectation]]:
    import great_expectations.expectations as gxe

    def row(reason: str, kind: Any, **arguments: Any) -> tuple[str, Expectation]:
        return reason, kind(
            description=f"{reason}: {ROW_REASONS[reason]}",
            meta={"reason": reason, "scope": "row"},
            severity="warning",
            **arguments,
        )

    def share(reason: str, column: str) -> tuple[str, Expectation]:
        return reason, gxe.ExpectColumnProportionOfNonNullValuesToBeBetween(
            column=column, min_value=1 - spec.max_quarantined_share, **_of_batch(reason)
        )

    def rare(reason: str, column: str, value: str, most: float) -> tuple[str, Expectation]:
        return reason, never(column=column, value_set=[value], mostly=1 - most, **_of_batch(reason))

    present, between = gxe.ExpectColumnValuesToNotBeNull, gxe.ExpectColumnValuesToBeBetween
    among, never = gxe.ExpectColumnValuesToBeInSet, gxe.ExpectColumnValuesToNotBeInSet
    readable = {"row_condition": 'readable == "yes"', "condition_parser": "pandas"}

    yield row("empty_question", present, column="question_chars", **readable)
    yield row("question_length", between, column="question_chars", **_range(spec.question_chars))
    if spec.question_tokens:
        yield row("question_tokens", between, column="question_tokens", **_range(spec.question_tokens))
    yield row("empty_schema", present, column="schema_chars", **readable)
    yield row("schema_length", between, column="schema_chars", **_range(spec.schema_chars))
    if spec.schema_tokens:
        yield row("schema_tokens", between, column="schema_tokens", **_range(spec.schema_tokens))
    if spec.dialects:
        yield row("dialect_not_allowed", among, column="dialect", value_set=list(spec.dialects))
    # Not every query that SQLite runs can be parsed and graded.
    yield row("unknown_difficulty", among, column="difficulty", value_set=[*DIFFICULTIES, ""])
    if spec.domains:
        yield row("domain_not_allowed", among, column="domain", value_set=list(spec.domains))
    yield row("empty_sql", never, column="parse_status", value_set=["empty"])
    yield row("multiple_statements", never, column="parse_status", value_set=["multiple_statements"])
    yield row("syntax_error", never, column="parse_status", value_set=["syntax_error"])
    # What has a name of its own passes the last expectation of a column; everything else, known or not, fails it.
    yield row("not_sql", among, column="parse_status", value_set=["ok", "empty", "multiple_statements", "syntax_error"])
    yield row("statement_not_allowed", among, column="statement", value_set=list(spec.statements))
    yield row("unreadable_schema", never, column="schema_status", value_set=["unreadable"])
    yield row("broken_setup", never, column="schema_status", value_set=["broken_setup"])
    yield row("broken_schema", among, column="schema_status", value_set=["ok", "unreadable", "broken_setup"])
    if spec.execute:
        yield row("unknown_table_or_column", never, column="runs", value_set=["schema_error"])
        yield row("too_expensive", never, column="runs", value_set=["timeout", "resource_limit"])
        yield row("does_not_run", among, column="runs", value_set=["ok", "schema_error", "timeout", "resource_limit"])
    yield row("duplicate_id", among, column="repeated_id", value_set=[False])
    yield row("conflicting_sql", never, column="repeats", value_set=["conflict"])
    yield row("sql_in_question", among, column="sql_in_question", value_set=[False])
    yield share("unreadable_records", "readable")
    yield share("questions_missing", "question_chars")
    yield rare("duplicate_share", "repeats", "same", spec.max_duplicate_share)
    yield rare("conflict_share", "repeats", "conflict", spec.max_conflict_share)


def _over_counts(spec: ValidationSpec) -> Iterator[tuple[str, Expectation]]:
    import great_expectations.expectations as gxe

    yield (
        "quarantined_share",
        gxe.ExpectColumnMaxToBeBetween(
            column="quarantined_share", max_value=spec.max_quarantined_share, **_of_batch("quarantined_share")
        ),
    )
    yield (
        "too_few_rows",
        gxe.ExpectColumnMinToBeBetween(column="kept", min_value=spec.min_rows, **_of_batch("too_few_rows")),
    )


def _over_splits(spec: ValidationSpec) -> Iterator[tuple[str, Expectation]]:
    import great_expectations.expectations as gxe

    least, most = gxe.ExpectColumnMinToBeBetween, gxe.ExpectColumnMaxToBeBetween
    yield "empty_split", least(column="smallest_split", min_value=1, **_of_batch("empty_split"))
    yield "train_test_overlap", most(column="overlap", max_value=0, **_of_batch("train_test_overlap"))
    share = spec.max_contaminated_share
    yield (
        "contaminated_share",
        most(column="contaminated_share", max_value=share, **_of_batch("contaminated_share")),
    )


def _over_shares(spec: ValidationSpec, before: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, Expectation]]:
    from validation.expectations import ExpectColumnSharesToStayNear

    for column, shares in before.items():
        reason = f"drift_{column}"
        yield (
            reason,
            ExpectColumnSharesToStayNear(
                column=column, shares=dict(shares), max_moved=spec.max_drift, **_of_batch(reason)
            ),
        )


def _of_batch(reason: str) -> dict[str, Any]:
    return {
        "description": f"{reason}: {(BATCH_REASONS | DATASET_REASONS)[reason]}",
        "meta": {"reason": reason, "scope": "batch"},
        "severity": "critical",
    }


def _range(limits: tuple[int, int]) -> dict[str, int]:
    return {"min_value": limits[0], "max_value": limits[1]}
