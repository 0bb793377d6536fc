"""Hugging Face datasets as sources: a dataset of the hub, or a local folder that `save_to_disk` or a download left.

Rows come as a stream: a hub dataset is never held whole, a saved one is memory-mapped.

Limits: no loading scripts (datasets 5 has none); whoever needs one exports the rows to JSONL first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from infra.errors import UserError, first_line
from infra.hashing import fingerprint_of_folder
from tasks.data.containers import Record
from tasks.data.example import Example
from tasks.data.layouts import named_surroundings
from tasks.data.mapping import BadRecord, RowReader
from tasks.data.row_source import RowSource

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class HubSource(RowSource):
    """Examples of a Hugging Face dataset. Layouts that files may have without a field map need none here either."""

    kind: Literal["hub"] = Field("hub", description="rows of a Hugging Face dataset")
    dataset: str = Field(min_length=1, description="id on the hub (owner/name), or a local folder")
    config: str = Field("", description="configuration of a dataset that has several")
    rows: str = Field("train", description="the dataset's own split that is read, such as train or validation")
    revision: str = Field(
        "main", description="branch, tag or commit; a commit needs no look at the hub to plan a night"
    )


def read_hub(source: HubSource) -> Iterator[Example | BadRecord]:
    """Every row in order; ids that rows lack are `<dataset>-<rows>-<number>`. Raises UserError when there are none."""
    told = f"{source.dataset}/{source.rows}"
    stem = f"{Path(source.dataset).name}-{source.rows}"
    reader = RowReader(source, told, source.name or stem, named_surroundings(source))
    for row, values in enumerate(_rows(source), 1):
        yield reader.example(Record(row, dict(values)))


def _rows(source: HubSource) -> Iterator[dict[str, Any]]:
    import datasets

    folder = Path(source.dataset)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(str(folder))
            if isinstance(found, datasets.DatasetDict):
                if source.rows not in found:
                    raise UserError(f"dataset {source.dataset} has no split {source.rows!r}; it has {', '.join(found)}")
                found = found[source.rows]
        else:
            found = datasets.load_dataset(
                str(folder) if folder.is_dir() else source.dataset,
                source.config or None,
                split=source.rows,
                revision=None if folder.is_dir() else source.revision,
                streaming=True,
            )
        yield from found
    except (OSError, ValueError, RuntimeError) as error:  # DatasetNotFoundError and offline errors are among them
        raise UserError(f"dataset {source.dataset} cannot be read: {first_line(error)}") from None


def hub_digest(source: HubSource) -> str:
    """The content: a fingerprint of a local folder, the commit of a hub dataset; raises UserError when unknown."""
    folder = Path(source.dataset)
    if folder.is_dir():
        return fingerprint_of_folder(folder)
    if _COMMIT.match(source.revision):
        return source.revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(source.dataset, revision=source.revision).sha)
    except Exception as error:  # the hub's client raises whatever its transport raises
        raise UserError(
            f"dataset {source.dataset}: its commit cannot be looked up ({first_line(error)}); "
            "give a commit as revision, or a local folder"
        ) from None
