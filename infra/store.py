"""The one store: a local folder or an S3 prefix behind the same nine verbs.

`create` is the only conditional write and the base of the ledger and of leases: it succeeds for exactly one of
several rivals (a hard link locally, `If-None-Match: *` on S3). Trees are written file by file and end with a
marker, so that a half-written tree is never mistaken for a whole one. Limits: no listing beyond a prefix, no locks (see
`infra.lease`).
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from infra.errors import AlreadyExists, NotFound, UserError

MARKER = ".complete.json"


class Store(ABC):
    """Bytes under keys (`a/b/c`), with a conditional create; trees are folders closed by a marker."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The bytes under `key`; raises NotFound."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Write or replace `key`; a reader sees the old bytes or the new, never a mixture."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Write `key` only if nothing is there; raises AlreadyExists otherwise. Exactly one rival succeeds."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether `key` holds bytes."""

    @abstractmethod
    def size(self, key: str) -> int:
        """Bytes under `key`; raises NotFound."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens if it is not there."""

    @abstractmethod
    def list(self, prefix: str) -> list[str]:
        """All keys below `prefix` (a folder), sorted."""

    @abstractmethod
    def fetch(self, key: str, target: Path) -> Path:
        """Copy the bytes under `key` into the file `target`, however large; raises NotFound."""

    @abstractmethod
    def put(self, key: str, source: Path) -> None:
        """Write or replace `key` with the file `source`, however large; never held in memory as a whole."""

    def read_json(self, key: str) -> Any:
        """The JSON document under `key`."""
        return json.loads(self.read(key))

    def write_json(self, key: str, value: Any) -> None:
        """Write `value` as indented JSON."""
        self.write(key, _to_json(value))

    def create_json(self, key: str, value: Any) -> None:
        """Conditional create of a JSON document."""
        self.create(key, _to_json(value))

    def put_tree(self, prefix: str, folder: Path, about: dict[str, Any] | None = None) -> None:
        """Store every file of `folder` below `prefix`, then the marker with `about` in it."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path)
        self.close_tree(prefix, about)

    def close_tree(self, prefix: str, about: dict[str, Any] | None = None) -> None:
        """Declare the tree below `prefix` whole; the last write of whoever fills it file by file."""
        self.write_json(f"{prefix}/{MARKER}", about or {})

    def has_tree(self, prefix: str) -> bool:
        """Whether the tree below `prefix` was written to its end."""
        return self.exists(f"{prefix}/{MARKER}")

    def about_tree(self, prefix: str) -> dict[str, Any]:
        """What `put_tree` was told about the tree; raises NotFound for a missing or unfinished one."""
        return self.read_json(f"{prefix}/{MARKER}")

    def delete_tree(self, prefix: str) -> None:
        """Remove everything below `prefix`, the marker first: a tree that is half gone is not taken for whole."""
        for key in [f"{prefix}/{MARKER}", *self.list(prefix)]:
            self.delete(key)

    def get_tree(self, prefix: str, target: Path) -> Path:
        """A local folder with the tree's files: `target` filled, or the store's own folder where it is local.

        Callers read the returned folder and never write into it.
        """
        self.about_tree(prefix)
        target.mkdir(parents=True, exist_ok=True)
        for key in self.list(prefix):
            name = key[len(prefix) + 1 :]
            if name != MARKER and not (target / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                self.fetch(key, target / name)
        return target


class LocalStore(Store):
    """A folder; writes go to a temporary name and are renamed, creates are hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """The file of `key`; refuses keys that would leave the store."""
        parts = PurePosixPath(key).parts
        if not parts or key.startswith("/") or ".." in parts:
            raise UserError(f"store key {key!r} is not a relative path")
        return self.root.joinpath(*parts)

    def read(self, key: str) -> bytes:
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"the store has nothing under {key!r}") from None

    def _stage(self, key: str, data: BinaryIO) -> tuple[Path, Path]:
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
        with temporary.open("wb") as handle:
            shutil.copyfileobj(data, handle, 1 << 20)
            handle.flush()
            os.fsync(handle.fileno())
        return temporary, path

    def write(self, key: str, data: bytes) -> None:
        temporary, path = self._stage(key, BytesIO(data))
        os.replace(temporary, path)

    def put(self, key: str, source: Path) -> None:
        with source.open("rb") as data:
            temporary, path = self._stage(key, data)
        os.replace(temporary, path)

    def create(self, key: str, data: bytes) -> None:
        temporary, path = self._stage(key, BytesIO(data))
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise AlreadyExists(f"{key!r} already exists") from None
        finally:
            temporary.unlink()

    def exists(self, key: str) -> bool:
        return self.path(key).is_file()

    def size(self, key: str) -> int:
        if not self.exists(key):
            raise NotFound(f"the store has nothing under {key!r}")
        return self.path(key).stat().st_size

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> list[str]:
        base = self.path(prefix)
        found = (p for p in base.rglob("*") if p.is_file() and not p.name.endswith(".tmp"))
        return sorted(p.relative_to(self.root).as_posix() for p in found)

    def fetch(self, key: str, target: Path) -> Path:
        if not self.exists(key):
            raise NotFound(f"the store has nothing under {key!r}")
        part = target.with_name(f"{target.name}.part")  # whole or not at all: a resumed night takes what is there
        shutil.copyfile(self.path(key), part)
        part.replace(target)
        return target

    def get_tree(self, prefix: str, target: Path) -> Path:
        self.about_tree(prefix)
        return self.path(prefix)


def open_store(url: str) -> Store:
    """The store at `url`: `s3://bucket/prefix`, or a local folder."""
    if url.startswith("s3://"):
        from infra.s3 import S3Store

        return S3Store(url)
    if "://" in url:
        raise UserError(f"store {url!r}: only a local folder or s3://bucket/prefix is supported")
    return LocalStore(Path(url))


def _to_json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False).encode("utf-8") + b"\n"
