"""File sources: the rows of files, globs and folders, on this machine or in a bucket, become canonical examples.

Limits: a folder's files are those directly in it; files that hold schemas for others (`tables.json`,
`*.tables.jsonl`) are not rows.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from infra.errors import UserError
from tasks.data.containers import READERS, read_records
from tasks.data.example import Example
from tasks.data.layouts import Companions, is_companion
from tasks.data.mapping import BadRecord, RowReader
from tasks.data.places import Place, place_of
from tasks.data.row_source import RowSource


class FileSource(RowSource):
    """Examples in files. Known layouts (Spider, BIRD, WikiSQL, gretel, sql-create-context, SynSQL, …) need no map."""

    kind: Literal["file"] = Field("file", description="rows of files")
    path: str = Field(
        min_length=1, description="file, glob or folder of .jsonl, .json, .csv or .parquet files; s3://bucket/… as well"
    )


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source: its place, its name there, and what people are told."""

    place: Place
    name: str

    @property
    def stem(self) -> str:
        """The file's name without folder and extension."""
        return PurePosixPath(self.name).stem


def source_files(source: FileSource) -> list[SourceFile]:
    """The files of a source, sorted, all in one place.

    Raises UserError when there is none or one has an unknown extension.
    """
    place, path = place_of(source.path), source.path
    if place.is_file(path):
        if is_companion(path):
            raise UserError(f"source {path} holds schemas, no rows; name the file of rows beside it")
        files = [path if path.startswith("s3://") else Path(path).as_posix()]
    elif place.is_folder(path):
        inside = [name for suffix in READERS for name in place.files(f"{glob.escape(path.rstrip('/'))}/*{suffix}")]
        files = sorted(name for name in inside if not is_companion(name))
        if not files:
            raise UserError(f"source {path} is a folder without any {', '.join(READERS)} file in it")
    else:
        files = [name for name in place.files(path) if not is_companion(name)] if glob.has_magic(path) else []
    if not files:
        raise UserError(f"source {path}: there is no such file; check the path")
    for name in files:
        if PurePosixPath(name).suffix.lower() not in READERS:
            told = PurePosixPath(name).name
            raise UserError(f"source {path}: {told} is of no known type; use one of {', '.join(READERS)}")
    return [SourceFile(place, name) for name in files]


def read_file(source: FileSource) -> Iterator[Example | BadRecord]:
    """Every record of a source in order, as an example or as a bad record.

    Ids that rows give are kept, others are `<file stem>-<row>`. Raises UserError, naming the file, when one is missing,
    of an unknown type or unreadable as a whole.
    """
    files = source_files(source)
    beside = Companions(source, files[0].place)
    stems = Counter(file.stem for file in files)
    for file in files:
        whole = file.name.removeprefix("s3://").rpartition(".")[0].strip("/").replace("/", "-")
        stem = file.stem if stems[file.stem] == 1 else whole
        reader = RowReader(source, file.name, stem, beside.surroundings(file.name))
        for record in read_records(file.place.fetch(file.name), file.name):
            yield reader.example(record)


def file_digests(source: FileSource) -> list[str]:
    """The content of everything a source reads, files of schemas and databases too, each once."""
    files = source_files(source)
    beside = Companions(source, files[0].place)
    names = dict.fromkeys(name for file in files for name in (file.name, *beside.files(file.name)))
    places: dict[bool, Place] = {}  # the place of all local files, and that of all objects, which lists a bucket once
    return [places.setdefault(name.startswith("s3://"), place_of(name)).digest(name) for name in names]
