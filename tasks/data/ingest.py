"""From a recipe's sources to canonical examples, unreadable records kept beside them."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.data.example import Example
from tasks.data.sources import BadRecord, FileSource, read_file
from tasks.data.spec import GeneratedSource
from tasks.data.synthetic.generate import GenerateSpec, generate


def read_sources(sources: Sequence[FileSource | GeneratedSource]) -> tuple[list[Example], list[BadRecord]]:
    """All examples of all sources, in order, and the records that are none.

    Raises UserError for a missing file or an unreadable container; a bad record never raises.
    """
    examples: list[Example] = []
    bad: list[BadRecord] = []
    for source in sources:
        if isinstance(source, FileSource):
            for record in read_file(source):
                (bad if isinstance(record, BadRecord) else examples).append(record)
        else:
            settings = source.model_dump(exclude={"kind"})
            examples.extend(generate(GenerateSpec(**settings)))
    return examples, bad
