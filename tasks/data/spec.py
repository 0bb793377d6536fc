"""What a recipe says about data: sources and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.hashing import fingerprint, sha256_of_file
from tasks.data.sources import FileSource, schema_file, source_files
from tasks.data.splits import SplitSpec
from tasks.data.synthetic.generate import GenerateSpec


class GeneratedSource(GenerateSpec):
    """Examples that the project's own generator writes."""

    kind: Literal["generated"] = "generated"


Source = Annotated[FileSource | GeneratedSource, Field(discriminator="kind")]


class DataSpec(BaseModel):
    """Where examples come from and how they are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...] = Field(
        min_length=1, description="sources, most trusted first: of equal rows the first one's stays"
    )
    splits: SplitSpec = SplitSpec()


def source_fingerprint(source: FileSource | GeneratedSource) -> str:
    """What a source holds right now: the content of its files and their schemas, or the settings of the generator.

    Raises UserError when a file is missing.
    """
    read: dict[Path, str] = {}
    if isinstance(source, FileSource):
        for file in source_files(source):
            for path in (file, schema_file(source, file)):
                if path is not None and path not in read:
                    read[path] = sha256_of_file(path)
    return fingerprint([source.model_dump(mode="json"), list(read.values())])
