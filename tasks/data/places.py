"""Where files are: paths, globs and folders of this machine, or of a bucket (`s3://bucket/key`) through boto3.

Both kinds of place answer the same three questions: which files are meant, what lies beside one, and its content as a
fingerprint. Objects are downloaded in parts into `HOME/fetched`, once for each ETag; credentials and endpoint come from
the environment as boto3 reads them.

Limits: an object's ETag stands for its content, so a copy uploaded in parts of another size counts as another file.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import uuid
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any

from infra.errors import UserError
from infra.hashing import sha256_of_file


class Place(ABC):
    """Files by name, with forward slashes."""

    @abstractmethod
    def is_file(self, name: str) -> bool:
        """Whether `name` is a file."""

    @abstractmethod
    def is_folder(self, name: str) -> bool:
        """Whether `name` is a folder that holds something."""

    @abstractmethod
    def files(self, pattern: str) -> list[str]:
        """The files that a glob (`*`, `**`) means, sorted."""

    @abstractmethod
    def fetch(self, name: str) -> Path:
        """The file `name` on this machine; raises UserError when it cannot be had."""

    @abstractmethod
    def digest(self, name: str) -> str:
        """The fingerprint of the file's content."""


class LocalPlace(Place):
    """Files of this machine."""

    def is_file(self, name: str) -> bool:
        return Path(name).is_file()

    def is_folder(self, name: str) -> bool:
        return Path(name).is_dir()

    def files(self, pattern: str) -> list[str]:
        found = sorted(path for text in glob.glob(pattern, recursive=True) if (path := Path(text)).is_file())
        return [path.as_posix() for path in found]

    def fetch(self, name: str) -> Path:
        return Path(name)

    def digest(self, name: str) -> str:
        return sha256_of_file(Path(name))


class S3Place(Place):
    """The objects of a bucket; names are whole urls."""

    def __init__(self) -> None:
        self._client: Any = None
        self._listed: dict[str, dict[str, str]] = {}

    @property
    def client(self) -> Any:
        """The boto3 client, made when first needed."""
        if self._client is None:
            import boto3

            self._client = boto3.client("s3")
        return self._client

    def _below(self, prefix: str) -> dict[str, str]:
        """url -> ETag of every object whose url begins with `prefix`."""
        if prefix not in self._listed:
            from botocore.exceptions import BotoCoreError, ClientError

            bucket, key = _bucket_and_key(prefix)
            try:
                pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
                self._listed[prefix] = {
                    f"s3://{bucket}/{item['Key']}": item["ETag"].strip('"')
                    for page in pages
                    for item in page.get("Contents", [])
                    if not item["Key"].endswith("/")
                }
            except (BotoCoreError, ClientError) as error:
                raise UserError(f"{prefix} cannot be listed: {error}") from None
        return self._listed[prefix]

    def is_file(self, name: str) -> bool:
        return name in self._below(name)

    def is_folder(self, name: str) -> bool:
        return bool(self._below(name.rstrip("/") + "/"))

    def files(self, pattern: str) -> list[str]:
        fixed = pattern[: min(i for i, c in enumerate(pattern + "*") if c in "*?[")]
        return sorted(url for url in self._below(fixed) if _matches(url, pattern))

    def fetch(self, name: str) -> Path:
        from botocore.exceptions import BotoCoreError, ClientError

        from infra.settings import load_settings

        bucket, key = _bucket_and_key(name)
        target = load_settings().root / "fetched" / self.digest(name) / PurePosixPath(key).name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
            try:
                self.client.download_file(bucket, key, str(part))
                os.replace(part, target)
            except (BotoCoreError, ClientError) as error:
                raise UserError(f"{name} cannot be fetched: {error}") from None
            finally:
                part.unlink(missing_ok=True)
        return target

    def digest(self, name: str) -> str:
        found = self._below(name)
        if name not in found:
            raise UserError(f"{name}: there is no such object; check the url")
        return found[name]


def place_of(path: str) -> Place:
    """The place that `path` is in."""
    return S3Place() if path.startswith("s3://") else LocalPlace()


def _bucket_and_key(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise UserError(f"{url} names no bucket; write s3://bucket/key")
    return bucket, key


def _matches(url: str, pattern: str) -> bool:
    """Glob with `**` for any number of folders, as `glob` has it."""
    parts, wanted = url.split("/"), pattern.split("/")

    def match(i: int, j: int) -> bool:
        if j == len(wanted):
            return i == len(parts)
        if wanted[j] == "**":
            return any(match(k, j + 1) for k in range(i, len(parts) + 1))
        return i < len(parts) and fnmatch.fnmatchcase(parts[i], wanted[j]) and match(i + 1, j + 1)

    return match(0, 0)
