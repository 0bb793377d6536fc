"""The contract of a dataset once its rows are divided: splits that do not meet, and the shape it had last time.

What it had last time are the shares of difficulties, kinds of statements and lengths of questions in the last accepted
dataset; without one nothing is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.data.build import Divided
from tasks.data.dedupe import question_key, schema_key
from tasks.data.example import Example
from tasks.data.feedback_source import REGRESSION
from tasks.data.splits import SPLITS
from tasks.data.strata import shares
from tasks.sql.tokens import first_keyword
from validation.gx import check, open_project
from validation.result import Outcome
from validation.spec import ValidationSpec
from validation.suite import build_dataset_suite, build_drift_suite

if TYPE_CHECKING:
    import pandas as pd

# Characters of a question from which the next bucket begins.
_LENGTHS = (40, 80, 160, 320)


def validate_dataset(
    divided: Divided,
    spec: ValidationSpec,
    before: Mapping[str, Mapping[str, float]],
    docs_dir: Path | None = None,
    *,
    by_database: bool = True,
    project: Path | None = None,
) -> list[Outcome]:
    """Check the splits; `before` is the `distribution` of the last accepted dataset, empty when there is none.

    Raises NightshiftError when an expectation cannot be evaluated.
    """
    with open_project(docs_dir, project) as context:
        outcomes = check(context, build_dataset_suite(spec), _counts(divided, by_database), ())[0]
        if before:
            outcomes += check(context, build_drift_suite(spec, before), _features(divided), ())[0]
    return outcomes


def distribution(divided: Divided) -> dict[str, dict[str, float]]:
    """The shares that the next dataset is compared with: column -> value -> share of the rows."""
    frame = _features(divided)
    return {column: shares(frame[column].tolist()) for column in frame.columns}


def _features(divided: Divided) -> pd.DataFrame:
    """One row for each row of the splits, repeats of the mixture apart."""
    import pandas as pd

    rows = [e for split in SPLITS for e in divided.splits[split] if e.id not in divided.mixed.repeats]
    return pd.DataFrame(
        {
            "difficulty": pd.Series([e.difficulty for e in rows], dtype="object"),
            "statement": pd.Series([_statement(e.sql) for e in rows], dtype="object"),
            "question": pd.Series([_length(e.question) for e in rows], dtype="object"),
        }
    )


def _statement(sql: str) -> str:
    keyword = first_keyword(sql).lower()
    return "select" if keyword in ("with", "values", "") else keyword


def _length(question: str) -> str:
    below = next((bound for bound in _LENGTHS if len(question) < bound), None)
    return f"{_LENGTHS[-1]} characters or more" if below is None else f"below {below} characters"


def _counts(divided: Divided, by_database: bool) -> pd.DataFrame:
    """One row that says how large the splits are and how much of them meets."""
    import pandas as pd

    splits = divided.splits
    others = [*splits["train"], *splits["validation"]]
    met = sum(map(len, divided.contaminated.values()))
    return pd.DataFrame(
        {
            "smallest_split": [min(len(splits["train"]), len(splits["test"]))],
            "overlap": [_overlap(others, splits["test"], by_database)],
            "contaminated_share": [met / (met + len(others)) if met else 0.0],
        }
    )


def _overlap(others: Sequence[Example], test: Sequence[Example], by_database: bool) -> int:
    """Rows for training and validation that a test row can be recognised in, found without `dedupe`'s index."""
    ids = {e.id for e in test}
    keys = {question_key(e) for e in test}
    # Users ask about few databases: a failure held out of training bars its question, not its database.
    whole = [e for e in test if by_database and REGRESSION not in e.tags]
    databases = {e.db_id for e in whole} | {schema_key(e.schema) for e in whole if e.schema}
    return sum(
        e.id in ids or question_key(e) in keys or e.db_id in databases or schema_key(e.schema) in databases
        for e in others
    )
