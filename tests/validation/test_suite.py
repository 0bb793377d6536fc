"""The suites: every expectation has its reason, and the spec decides which there are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from validation.spec import BATCH_REASONS, DATASET_REASONS, ROW_REASONS, ValidationSpec
from validation.suite import build_batch_suite, build_dataset_suite, build_drift_suite, build_suite

# Everything that a recipe can ask for.
ALL = ValidationSpec(question_tokens=(1, 9), schema_tokens=(1, 9), dialects=["sqlite"], domains=["cars"])
ASKED = {"question_tokens", "schema_tokens", "dialect_not_allowed", "domain_not_allowed"}
RUNNING = {"unknown_table_or_column", "too_expensive", "does_not_run"}


def expectations(spec: ValidationSpec) -> dict[str, object]:
    both = [*build_suite(spec).expectations, *build_batch_suite(spec).expectations]
    found = {e.meta["reason"]: e for e in both}
    assert len(found) == len(both)
    return found


def test_every_reason_has_one_expectation_with_its_scope():
    found = expectations(ALL)
    assert {reason for reason, e in found.items() if e.meta["scope"] == "row"} == set(ROW_REASONS)
    assert {reason for reason, e in found.items() if e.meta["scope"] == "batch"} == set(BATCH_REASONS)
    assert all(e.description.startswith(reason) for reason, e in found.items())


@pytest.mark.parametrize("reason", [*ROW_REASONS, *BATCH_REASONS])
def test_each_expectation_can_be_skipped(reason):
    assert set(expectations(ALL.model_copy(update={"skip": (reason,)}))) == {*ROW_REASONS, *BATCH_REASONS} - {reason}


def test_without_execution_nothing_is_expected_to_run():
    assert set(expectations(ValidationSpec(execute=False))) == {*ROW_REASONS, *BATCH_REASONS} - RUNNING - ASKED


def test_a_dataset_has_expectations_of_its_own():
    before = {name.removeprefix("drift_"): {} for name in DATASET_REASONS if name.startswith("drift_")}
    spec = ValidationSpec(skip=["empty_split"])
    suites = (build_dataset_suite(spec), build_drift_suite(spec, before))
    assert {e.meta["reason"] for suite in suites for e in suite.expectations} == set(DATASET_REASONS) - {"empty_split"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ["duplicate_ids"]}, "did you mean 'duplicate_id'"),
        ({"question_chars": (10, 3)}, "question_chars must be"),
        ({"schema_tokens": (9, 1)}, "schema_tokens must be"),
        ({"max_quarantined_share": 1.5}, "less than or equal to 1"),
        ({"statements": ["truncate"]}, "select"),
        ({"max_quarantine": 1}, "Extra inputs"),
    ],
)
def test_bad_specs_say_what_is_wrong(options, message):
    with pytest.raises(ValidationError, match=message):
        ValidationSpec(**options)


def test_importing_validation_imports_no_great_expectations():
    asked = "[m for m in ('great_expectations', 'pandas') if m in sys.modules]"
    code = f"import sys, validation.run, validation.quarantine; print({asked})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
