"""Feedback: what people said about answers, one JSON object an answer and judge, in a folder or under an S3 prefix.

A record is trusted only when a named reviewer signed it: HMAC-SHA256 (RFC 2104) over its content with the reviewer's
token. Whoever can write to the folder but has no token can add records, never training rows. Tokens come from the
environment alone: `NIGHTSHIFT_REVIEWERS="ada:TOKEN,bob:TOKEN"`; take a name out and nothing it signed counts any more.

Limits: the signature says who judged, not that they were right; validation sees these rows like all others.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.errors import AlreadyExists, UserError
from infra.hashing import canonical_json, fingerprint
from infra.store import Store

REVIEWERS = "NIGHTSHIFT_REVIEWERS"
FOLDER = "answers"  # below the feedback folder or prefix
SHORTEST_TOKEN = 12


class Feedback(BaseModel):
    """One judgement on one answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    schema_version: Literal[1] = Field(1, description="version of this document's shape")
    question: str = Field(min_length=1, max_length=4000, description="as it was asked")
    evidence: str = Field("", max_length=8000, description="hints that came with the question")
    db_id: str = Field(min_length=1, max_length=200, description="name of the database")
    # `schema` itself would shadow a pydantic attribute; in JSON it is `schema`.
    ddl: str = Field(alias="schema", min_length=1, description="the CREATE TABLE statements the answer was made from")
    setup: str = Field("", description="INSERT statements, where the asker gave rows; never read from a database")
    dialect: str = Field("sqlite", description="SQL dialect of both statements")
    sql: str = Field(description="what the release answered")
    verdict: Literal["right", "wrong"] = Field(description="is `sql` the answer to the question?")
    corrected_sql: str = Field("", description="what it should have been; only with verdict wrong")
    release: str = Field(description="registered model that answered")
    version: str = Field(description="its version")
    answer_id: str = Field("", description="id that `ask` or `serve` gave the answer")
    reviewer: str = Field("", description="name behind the signature; empty: nobody in particular")
    time: str = Field(description="when it was judged, ISO 8601 in UTC")
    signature: str = Field("", description="the reviewer's HMAC-SHA256 over all other fields, 64 hex digits")

    @model_validator(mode="after")
    def _check(self) -> Feedback:
        if self.corrected_sql and self.verdict != "wrong":
            raise ValueError("corrected_sql goes with verdict 'wrong'")
        if bool(self.reviewer) != bool(self.signature):
            raise ValueError("reviewer and signature are both given or both absent")
        return self

    @property
    def id(self) -> str:
        """The same judgement of the same answer by the same person is the same record, however often it is sent."""
        return fingerprint(self.model_dump(mode="json", exclude={"time", "signature"}))

    @property
    def right_sql(self) -> str:
        """The SQL that the judge vouches for: the answer when right, else the correction, empty when there is none."""
        return self.sql if self.verdict == "right" else self.corrected_sql

    @property
    def key(self) -> str:
        """Where it lies in the feedback store."""
        return f"{FOLDER}/{self.id}.json"


def now() -> str:
    """The time as records carry it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def reviewers_from_environment() -> dict[str, str]:
    """Reviewer -> token, from `NIGHTSHIFT_REVIEWERS`; empty when it is not set. Raises UserError when malformed."""
    found: dict[str, str] = {}
    for number, part in enumerate(filter(None, os.environ.get(REVIEWERS, "").split(",")), start=1):
        name, _, token = (piece.strip() for piece in part.partition(":"))
        if not name or len(token) < SHORTEST_TOKEN:  # the token itself is never shown
            raise UserError(
                f"{REVIEWERS}, entry {number}: write name:token with a token of at least {SHORTEST_TOKEN} characters"
            )
        if name in found or token in found.values():
            raise UserError(f"{REVIEWERS}, entry {number}: each name and each token may stand there once")
        found[name] = token
    return found


def sign(record: Feedback, reviewer: str, token: str) -> Feedback:
    """The record with `reviewer`'s name and signature on it."""
    named = record.model_copy(update={"reviewer": reviewer, "signature": ""})
    return named.model_copy(update={"signature": _signature(named, token)})


def trusted(record: Feedback, reviewers: Mapping[str, str]) -> bool:
    """Whether one of `reviewers` (name -> token) signed exactly this content."""
    token = reviewers.get(record.reviewer)
    if token is None:
        return False
    return hmac.compare_digest(record.signature.encode(), _signature(record, token).encode())


def _signature(record: Feedback, token: str) -> str:
    content = canonical_json(record.model_dump(mode="json", exclude={"signature"}))
    return hmac.new(token.encode(), content, hashlib.sha256).hexdigest()


def write_feedback(store: Store, record: Feedback) -> bool:
    """Create the record's object in the feedback store; False when the same judgement is already there."""
    try:
        store.create_json(record.key, record.model_dump(mode="json"))
    except AlreadyExists:
        return False
    return True


def read_feedback(store: Store) -> Iterator[tuple[str, Feedback | str]]:
    """Every object of the feedback store by key: the record, or the reason why it is none. None is passed over."""
    for key in store.list(FOLDER):
        try:
            yield key, Feedback.model_validate_json(store.read(key))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            yield key, f"{'.'.join(str(part) for part in first['loc']) or 'record'}: {first['msg']}"
