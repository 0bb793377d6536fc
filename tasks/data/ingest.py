"""From a recipe's sources to canonical examples, unreadable records kept beside them.

Ids are made unique across files and sources: a row whose id an earlier file already gave carries its source's name in
front (`spider:dev-7`). A repeated id within one file stays as it is, for validation to name.

Memory: reading is a stream, its result is held: of each source at most its `max_rows`, some 0.6 KB a row with question
and SQL; rows over one schema share its text. Limits: schemas that lie beside the rows (tables.json, WikiSQL's tables),
generated rows and judged answers are held whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tasks.data.example import Example
from tasks.data.feedback_source import FeedbackSource, read_feedback_source
from tasks.data.held import Undrawn, draw_rows
from tasks.data.hub import HubSource, read_hub
from tasks.data.mapping import BadRecord
from tasks.data.query_source import QuerySource, read_query
from tasks.data.row_source import RowSource
from tasks.data.sources import FileSource, read_file
from tasks.data.spec import AnySource
from tasks.data.synthetic.generate import generate


@dataclass(frozen=True, slots=True)
class Rows:
    """What sources hold: examples in order, records that are none, and the sources of which rows were left out."""

    examples: list[Example]
    bad: list[BadRecord]
    undrawn: tuple[Undrawn, ...] = ()


def read_sources(sources: Sequence[AnySource]) -> Rows:
    """All rows of all sources, in order, of each at most its `max_rows`; ids are unique across their files.

    Raises UserError for a missing file or an unreadable container; a bad record never raises.
    """
    ids = _Ids()
    examples: list[Example] = []
    bad: list[BadRecord] = []
    undrawn: list[Undrawn] = []
    for place, source in enumerate(sources, 1):
        held, read = draw_rows(_records(source), source.max_rows if isinstance(source, RowSource) else None)
        if read > len(held):
            undrawn.append(Undrawn(_told(source), read - len(held), len(held)))
        for record in held:
            named = ids.told_apart(record, place)
            if isinstance(named, BadRecord):
                bad.append(named)
            else:
                examples.append(named)
    return Rows(examples, bad, tuple(undrawn))


def _told(source: AnySource) -> str:
    """What people know a source by."""
    if isinstance(source, FileSource):
        return source.name or source.path
    if isinstance(source, HubSource):
        return source.name or source.dataset
    return source.name or source.kind


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
