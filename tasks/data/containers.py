"""Containers: the records of a .jsonl, .json, .csv or .parquet file, numbered from 1, the unreadable ones included.

Limits: text is UTF-8 (a byte order mark is passed over). The number of a record is its line in JSON Lines (blank lines
count but are no records) and its place in the other formats, a CSV header apart. A broken CSV record gives one
unreadable record for each line it spans, so that an unclosed quote hides nothing.

Memory: every format is a stream. Held at once are a record of at most 16 MiB of text (a longer one is unreadable), a
CSV cell of at most 128 KiB, and for Parquet 1,000 rows and what one row group's pages need.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from infra.errors import UserError, first_line

_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n]*")
_EXCERPT = 2000
_LONGEST = 16 << 20  # bytes of one record of a text format
_BLOCK = 1 << 20


def excerpt(text: str) -> str:
    """At most 2,000 characters of `text` that can be written as UTF-8."""
    return text[:_EXCERPT].rstrip("\r\n").encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its `values` (None when there are none to read), the `fault` that makes it unreadable, its text."""

    row: int
    values: dict[str, Any] | None
    fault: str = ""
    text: str = ""

    def original(self) -> str:
        """The record as it stood in the file, or as JSON where the file holds no text of its own; shortened."""
        return excerpt(self.text or json.dumps(self.values, ensure_ascii=False, default=str))


def read_records(path: Path, told: str) -> Iterator[Record]:
    """The records of one file; `told` is the file's name in errors.

    Raises UserError for an unknown extension or a file that cannot be opened as what its extension says.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{told} is of no known type; use one of {', '.join(READERS)}")
    try:
        yield from reader(path, told)
    except OSError as error:
        raise UserError(f"{told} cannot be read: {error.strerror or error}") from None


def _jsonl(path: Path, _told: str) -> Iterator[Record]:
    with path.open("rb") as handle:
        row = 0
        while line := handle.readline(_LONGEST):
            row += 1
            whole = line.endswith(b"\n") or len(line) < _LONGEST
            while not whole:  # a line beyond all measure is passed over in pieces
                piece = handle.readline(_LONGEST)
                whole = piece.endswith(b"\n") or len(piece) < _LONGEST
                if whole:
                    yield Record(row, None, "record_too_long", _decode(line[: 4 * _EXCERPT])[0])
                    line = b""
            content = line.removeprefix(_BOM) if row == 1 else line
            if content.strip():
                yield _json_line(row, content)


def _json_line(row: int, line: bytes) -> Record:
    text, fault = _decode(line)
    if not fault and "\0" in text:
        fault = "nul_byte"
    try:
        # A line that is lost anyway is still read as far as possible, for its id.
        values = json.loads(text, strict=fault != "nul_byte")
    except (ValueError, RecursionError):
        return Record(row, None, fault or "bad_json", text)
    if not isinstance(values, dict):
        return Record(row, None, fault or "not_an_object", text)
    return Record(row, values, fault, text)


def _decode(data: bytes) -> tuple[str, str]:
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape"), "bad_utf8"


def _json(path: Path, told: str) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        for row, item in enumerate(_items(handle, told), 1):
            if isinstance(item, dict):
                yield Record(row, item)
            else:
                yield Record(row, None, "not_an_object", json.dumps(item, ensure_ascii=False))


def _items(handle: TextIO, told: str) -> Iterator[Any]:
    """The items of one JSON list, read in blocks; raises UserError where the text stops being one."""
    decode = json.JSONDecoder(strict=False).raw_decode
    text, at, more = "", 0, True

    def broken(problem: str) -> UserError:
        return UserError(f"{told} is no JSON: {problem}; a file with one object a line is called .jsonl")

    def skip(at: int) -> int:
        return _SPACE.match(text, at).end()

    expected = "["
    while True:
        at = skip(at)
        if at == len(text):
            if not more:
                raise broken("it ends within the list" if expected != "[" else "it is empty")
            text, at = handle.read(_BLOCK), 0
            more = bool(text)
        elif expected == "[":
            if text[at] != "[":
                _check_json(text, handle, broken)
                raise UserError(f"{told} holds no list of records; a .json source is one list of objects")
            expected, at = "item or ]", at + 1
        elif text[at] == "]" and expected in ("item or ]", ", or ]"):
            if skip(at + 1) != len(text) or handle.read(_BLOCK).strip():
                raise broken("there is text behind the list")
            return
        elif expected == ", or ]":
            if text[at] != ",":
                raise broken(f"a comma is missing before {text[at : at + 20]!r}")
            expected, at = "item", at + 1
        else:
            try:
                item, end = decode(text, at)
            except RecursionError:
                raise broken("an item is nested too deeply") from None
            except ValueError as error:
                block = handle.read(_BLOCK) if len(text) - at < _LONGEST else ""
                if not block:
                    raise broken(str(error)) from None
                text, at = text[at:] + block, 0
                continue
            if end == len(text) and more and isinstance(item, (int, float)):  # a number may go on in the next block
                block = handle.read(_BLOCK)
                text, at, more = text[at:] + block, 0, bool(block)
                continue
            yield item
            at, expected = end, ", or ]"


def _check_json(text: str, handle: TextIO, broken: Callable[[str], UserError]) -> None:
    """Raise when what is no list is no JSON either; told apart only for files that are small enough to read whole."""
    try:
        json.loads(text + handle.read(_LONGEST), strict=False)
    except (ValueError, RecursionError) as error:
        raise broken(str(error)) from None


def _csv(path: Path, told: str) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        lines: list[str] = []

        def recorded() -> Iterator[str]:
            for line in handle:
                lines.append(line)
                yield line

        reader = csv.reader(recorded(), strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise UserError(f"{told}: the header line cannot be read: {error}") from None
        if len(set(header)) != len(header):
            raise UserError(f"{told}: two columns of the header have the same name")
        row = 0
        while True:
            lines.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                for line in lines:
                    row += 1
                    yield Record(row, None, "bad_csv", line)
                continue
            if not cells:
                continue
            row += 1
            if len(cells) == len(header):
                yield Record(row, dict(zip(header, cells, strict=True)), "", "".join(lines))
            else:
                yield Record(row, None, "wrong_column_count", "".join(lines))


def _parquet(path: Path, told: str) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                names = batch.schema.names
                for values in zip(*(_column(column) for column in batch.columns), strict=True):
                    row += 1
                    broken = any(value is _BROKEN for value in values)
                    cells = (None if value is _BROKEN else value for value in values)
                    yield Record(row, dict(zip(names, cells, strict=True)), "bad_utf8" if broken else "")
    except pa.ArrowException as error:
        raise UserError(f"{told} is no readable Parquet file: {first_line(error)}") from None


_BROKEN = object()


def _column(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:  # Parquet does not check its strings: find the cells that are none
        return [_cell(scalar) for scalar in column]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _BROKEN


READERS: dict[str, Callable[[Path, str], Iterator[Record]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
