"""The text of quarantined rows as it stands in their files, so that people find and mend it there.

Limits: files on this machine; rows of buckets, hubs and databases are told as the canonical row that they became.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from infra.errors import UserError
from tasks.data.containers import READERS, read_records


def original_rows(places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """The text (at most 2,000 characters) of each (file, row) that can be read again; each file is read once."""
    wanted: dict[str, set[int]] = {}
    for file, row in places:
        wanted.setdefault(file, set()).add(row)
    found: dict[tuple[str, int], str] = {}
    for file, rows in wanted.items():
        path = Path(file)
        if not file or path.suffix.lower() not in READERS or not path.is_file():
            continue
        last = max(rows)
        try:
            for record in read_records(path, file):
                if record.row in rows:
                    found[file, record.row] = record.original()
                if record.row >= last:
                    break
        except UserError:  # it could be read before: it has changed since, and its canonical rows tell what was judged
            continue
    return found
