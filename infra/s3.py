"""The store on S3, or on whatever speaks its protocol. One that does not answer is waited for, five minutes at most.

Every verb may be repeated: writes replace, and a create whose answer was lost meets its own entry, which those who
create look for (`registry.ledger`, `infra.lease`).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from infra.errors import AlreadyExists, Away, NotFound, first_line
from infra.store import Store

AWAY_SECONDS = 300.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("nightshift.store")


def _away(error: Exception) -> bool:
    """Whether S3 did not answer, or answered that it cannot now; what it refuses is no such thing."""
    from boto3.exceptions import RetriesExceededError, S3UploadFailedError
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError

    if isinstance(error, ClientError):
        code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code >= 500 or code == 429
    if isinstance(error, S3UploadFailedError):  # boto3 wraps what the upload of a file met
        return isinstance(error.__context__, Exception) and _away(error.__context__)
    return isinstance(error, (ConnectionError, HTTPClientError, IncompleteReadError, RetriesExceededError))


def _patient(method: Callable[Concatenate[S3Store, P], T]) -> Callable[Concatenate[S3Store, P], T]:
    """Repeat a call that S3 did not answer, ever later; raises Away after AWAY_SECONDS of it."""

    @functools.wraps(method)
    def call(self: S3Store, *args: P.args, **more: P.kwargs) -> T:
        deadline, wait = time.monotonic() + AWAY_SECONDS, FIRST_WAIT
        while True:
            try:
                return method(self, *args, **more)
            except Exception as error:
                if not _away(error):
                    raise
                place = f"s3://{self.bucket}/{self.prefix}"
                if time.monotonic() + wait > deadline:
                    told = f"the store {place} has not answered for {AWAY_SECONDS:.0f} s: {first_line(error)}"
                    raise Away(told) from error
                log.warning("the store %s does not answer, next try in %.1f s: %s", place, wait, first_line(error))
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    return call


class S3Store(Store):
    """An S3 prefix through boto3; credentials and endpoint come from the environment as boto3 reads them."""

    def __init__(self, url: str) -> None:
        import boto3

        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self.bucket, self.prefix = bucket, prefix.strip("/")
        self.client = boto3.client("s3")

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @_patient
    def read(self, key: str) -> bytes:
        try:
            return self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read()
        except self.client.exceptions.NoSuchKey:
            raise NotFound(f"the store has nothing under {key!r}") from None

    @_patient
    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    @_patient
    def put(self, key: str, source: Path) -> None:
        # In parts where it is large: one request takes 5 GB at most, which a fully trained model exceeds.
        self.client.upload_file(str(source), self.bucket, self._key(key))

    @_patient
    def create(self, key: str, data: bytes) -> None:
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
        except ClientError as error:
            # 412: the key exists; 409: a rival's create is in flight and S3 asks the loser to look again.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {409, 412}:
                raise AlreadyExists(f"{key!r} already exists") from None
            raise

    @_patient
    def exists(self, key: str) -> bool:
        return self._head(key) is not None

    @_patient
    def size(self, key: str) -> int:
        found = self._head(key)
        if found is None:
            raise NotFound(f"the store has nothing under {key!r}")
        return int(found["ContentLength"])

    def _head(self, key: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            return self.client.head_object(Bucket=self.bucket, Key=self._key(key))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise

    @_patient
    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self._key(key))

    @_patient
    def list(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._key(prefix).rstrip("/") + "/"
        )
        start = len(self.prefix) + 1 if self.prefix else 0
        return sorted(item["Key"][start:] for page in pages for item in page.get("Contents", []))

    @_patient
    def fetch(self, key: str, target: Path) -> Path:
        from botocore.exceptions import ClientError

        part = target.with_name(f"{target.name}.part")  # an interrupted download is never taken for the file
        try:
            self.client.download_file(self.bucket, self._key(key), str(part))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise NotFound(f"the store has nothing under {key!r}") from None
            raise
        part.replace(target)
        return target
