"""From a recipe's sources to canonical examples, unreadable records kept beside them.

Ids are made unique across files and sources: a row whose id an earlier file already gave carries its source's name in
front (`spider:dev-7`). A repeated id within one file stays as it is, for validation to name.

Limits: reading is a stream, its result is not: all examples are held in memory, about 1 KB a row beside the texts;
rows over one schema share its text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tasks.data.example import Example
from tasks.data.feedback_source import FeedbackSource, read_feedback_source
from tasks.data.hub import HubSource, read_hub
from tasks.data.mapping import BadRecord
from tasks.data.query_source import QuerySource, read_query
from tasks.data.sources import FileSource, read_file
from tasks.data.spec import AnySource
from tasks.data.synthetic.generate import generate


def read_sources(sources: Sequence[AnySource]) -> tuple[list[Example], list[BadRecord]]:
    """All examples of all sources, in order, and the records that are none.

    Raises UserError for a missing file or an unreadable container; a bad record never raises.
    """
    examples: list[Example] = []
    bad: list[BadRecord] = []
    for record in stream_sources(sources):
        if isinstance(record, BadRecord):
            bad.append(record)
        else:
            examples.append(record)
    return examples, bad


def stream_sources(sources: Sequence[AnySource]) -> Iterator[Example | BadRecord]:
    """The records of all sources, in order, with ids that are unique across their files."""
    ids = _Ids()
    for place, source in enumerate(sources, 1):
        for record in _records(source):
            yield ids.told_apart(record, place)


def _records(source: AnySource) -> Iterator[Example | BadRecord]:
    if isinstance(source, FileSource):
        return read_file(source)
    if isinstance(source, HubSource):
        return read_hub(source)
    if isinstance(source, QuerySource):
        return read_query(source)
    if isinstance(source, FeedbackSource):
        return iter(read_feedback_source(source)[0])
    return iter(generate(source.settings()))


class _Ids:
    """Which file of which source first gave an id."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, str], int] = {}
        self._owner: dict[str, int] = {}

    def told_apart(self, record: Example | BadRecord, place: int) -> Example | BadRecord:
        owner = self._files.setdefault((place, record.file), len(self._files))
        identifier, prefixes = record.id, self._prefixes(record, place)
        while self._owner.setdefault(identifier, owner) != owner:
            identifier = f"{next(prefixes)}:{record.id}"
        return record if identifier == record.id else replace(record, id=identifier)

    @staticmethod
    def _prefixes(record: Example | BadRecord, place: int) -> Iterator[str]:
        """The shortest name first; after them numbers without end."""
        if isinstance(record, Example) and record.source:
            yield record.source
        yield record.file
        yield from (f"{record.file}:{place}.{number}" for number in itertools.count(1))
