"""The feedback source: judged answers become training rows, and part of the failures a regression split that grows.

Only what a named reviewer signed counts (`tasks.data.feedback`): a right answer teaches its SQL, a wrong one its
correction. Of several judgements on one question the latest that gives SQL wins. A failure, by whoever's later word
too, stays one: a hash of the question holds a share of the failures out of training for good, as test rows with the
tag `regression`; what was trained on once never becomes one.

Everything else in the folder (unsigned, signed by nobody known, unreadable) is counted and teaches nothing; it stops no
night, because whoever can write there could otherwise stop them all. Limits: all records are read every night; the
databases of regression rows are SQLite files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from infra.hashing import fingerprint, sha256_of_file
from infra.settings import load_settings
from infra.store import open_store
from tasks.data.example import Example
from tasks.data.feedback import Feedback, read_feedback, reviewers_from_environment, trusted
from tasks.data.mixture import SourceShare
from tasks.data.strata import hashed
from tasks.sql.features import difficulty, features
from tasks.sql.parse import parse

REGRESSION = "regression"  # the tag of a regression row; its value says which version failed
VERDICT = "feedback"  # the tag of every row from here: right or corrected
_FAILED = "failed_by"  # which version failed; on rows that did not become regression rows, too


class FeedbackSource(SourceShare):
    """Judged answers in a folder or under an S3 prefix, as `nightshift feedback` and the server write them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["feedback"] = Field("feedback", description="judged answers")
    path: str = Field(
        "",
        description="folder or s3://bucket/prefix, which holds nothing until it is there; when empty, where "
        "`nightshift feedback` writes (NIGHTSHIFT_FEEDBACK, else the store)",
    )
    name: str = Field("feedback", min_length=1, description="name of the source in slices and reports")
    domain: str = Field("", description="domain of its rows")
    databases: str = Field(
        "",
        description="folder of SQLite files (<db_id>.sqlite or <db_id>/<db_id>.sqlite) that gold runs on, never "
        "written; without it rows run on their schema alone",
    )
    regression_share: float = Field(
        0.5, ge=0, le=1, description="share of the corrected failures that are kept for test and never trained on"
    )


class FeedbackAccount(BaseModel):
    """Where every record went, by its key in the folder; each stands in one list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    used: list[str] = Field(description="give a row")
    superseded: list[str] = Field(description="trusted, but a later judgement on the question counts")
    uncorrected: list[str] = Field(description="trusted verdicts `wrong` without the right SQL")
    untrusted: list[str] = Field(description="not signed by a reviewer of NIGHTSHIFT_REVIEWERS")
    unreadable: dict[str, str] = Field(description="no feedback record, and why")

    def counts(self) -> dict[str, int]:
        """The lengths of the lists."""
        return {name: len(getattr(self, name)) for name in type(self).model_fields}


def read_feedback_source(source: FeedbackSource) -> tuple[list[Example], FeedbackAccount]:
    """The rows that trusted judgements give, oldest question first, and the account of every record.

    Raises UserError when the folder of databases is missing or NIGHTSHIFT_REVIEWERS is malformed.
    """
    if source.databases and not Path(source.databases).is_dir():
        raise UserError(f"source {source.name}: no folder {source.databases} to take databases from")
    reviewers = reviewers_from_environment()
    account = FeedbackAccount(used=[], superseded=[], uncorrected=[], untrusted=[], unreadable={})
    questions: dict[str, list[tuple[str, Feedback]]] = {}
    store = open_store(source.path) if source.path else load_settings().open_feedback()
    for key, record in read_feedback(store):
        if isinstance(record, str):
            account.unreadable[key] = record
        elif any("\0" in text for text in record.model_dump().values() if isinstance(text, str)):
            account.unreadable[key] = "a text holds a NUL byte"
        elif not trusted(record, reviewers):
            account.untrusted.append(key)
        else:
            questions.setdefault(question_id(record), []).append((key, record))
    examples = []
    # Times are ISO 8601 in UTC, and signed: their order is that of the judgements.
    for id, judged in sorted(questions.items(), key=lambda item: min((r.time, item[0]) for _, r in item[1])):
        judged.sort(key=lambda item: (item[1].time, item[0]))
        telling = [(key, record) for key, record in judged if record.right_sql]
        account.uncorrected.extend(key for key, record in judged if not record.right_sql)
        if not telling:
            continue
        account.superseded.extend(key for key, _ in telling[:-1])
        key, latest = telling[-1]
        account.used.append(key)
        failed = next((record for _, record in judged if record.verdict == "wrong"), None)
        examples.append(_example(source, id, key, latest, failed))
    return examples, account


def question_id(record: Feedback) -> str:
    """The same question about the same database has one id, whoever judged it, however often, on whatever state of
    its schema; ids are remembered for good, so that this spelling must not change."""
    words = " ".join(re.findall(r"\w+", f"{record.question} {record.evidence}".lower()))
    return f"feedback-{fingerprint([record.db_id, words])}"


def _example(source: FeedbackSource, id: str, key: str, record: Feedback, failed: Feedback | None) -> Example:
    tags = {VERDICT: "corrected" if failed is not None else "right"}
    if failed is not None:
        tags[_FAILED] = f"{failed.release} version {failed.version}"
        # The hash decides, not the day: the same failure is held out whenever it is reported.
        if hashed(f"regression|{id}") < source.regression_share:
            tags[REGRESSION] = tags[_FAILED]
    tree = parse(record.right_sql, record.dialect).tree
    return Example(
        id=id,
        db_id=record.db_id,
        question=record.question,
        schema=record.ddl,
        sql=record.right_sql,
        evidence=record.evidence,
        setup=record.setup,
        dialect=record.dialect,
        source=source.name,
        difficulty=difficulty(features(tree)) if tree is not None else "",
        domain=source.domain,
        tags=tags,
        file=f"{source.path.rstrip('/') or 'feedback'}/{key}",
        row=1,
        database=_database(source, record.db_id),
    )


def _database(source: FeedbackSource, db_id: str) -> str:
    """The file of a database; empty when the folder has none, or the name is a path."""
    if not source.databases or PurePath(db_id).name != db_id:
        return ""
    places = (Path(source.databases, db_id, f"{db_id}.sqlite"), Path(source.databases, f"{db_id}.sqlite"))
    return next((str(path) for path in places if path.is_file()), "")


def feedback_digests(source: FeedbackSource) -> list[str]:
    """What the source gives right now: its rows, which change with the reviewers too, and their databases."""
    examples, _ = read_feedback_source(source)
    files = sorted({example.database for example in examples if example.database})
    return [fingerprint([e.to_row() for e in examples]), *(sha256_of_file(Path(file)) for file in files)]


# Splits --------------------------------------------------------------------------------------------------------------


def memory_key(example: Example) -> str:
    """Under what the split of a judged question is remembered, beside the databases."""
    return f"feedback question {example.id}"


def hold_failures(examples: Sequence[Example], before: Mapping[str, str]) -> tuple[list[Example], list[Example]]:
    """(regression rows, all other rows): as the hash has it, but where a question was before, it stays."""
    held, others = [], []
    for example in examples:
        if VERDICT not in example.tags:
            others.append(example)
            continue
        earlier = before.get(memory_key(example), "test" if REGRESSION in example.tags else "train")
        tags = {name: value for name, value in example.tags.items() if name not in (REGRESSION, _FAILED)}
        if earlier == "test":
            tags[REGRESSION] = example.tags.get(_FAILED) or example.tags.get(REGRESSION) or "earlier"
            held.append(replace(example, tags=tags))
        else:
            others.append(replace(example, tags=tags))
    return held, others


def databases_of_feedback(examples: Sequence[Example]) -> dict[str, str]:
    """Databases that only judged questions are about: they are trained on, unless an earlier night tested them."""
    elsewhere = {example.db_id for example in examples if VERDICT not in example.tags}
    return {e.db_id: "train" for e in examples if VERDICT in e.tags and e.db_id not in elsewhere}


def remembered(held: Sequence[Example], others: Sequence[Example]) -> dict[str, str]:
    """The splits of judged questions for the nights to come."""
    return {memory_key(e): "test" for e in held} | {memory_key(e): "train" for e in others if VERDICT in e.tags}
