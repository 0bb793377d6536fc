"""What a recipe says about data: sources and splits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.hashing import fingerprint
from tasks.data.hub import HubSource, hub_digest
from tasks.data.query_source import QuerySource, query_digest
from tasks.data.sources import FileSource, file_digests
from tasks.data.splits import SplitSpec
from tasks.data.synthetic.generate import GenerateSpec


class GeneratedSource(GenerateSpec):
    """Examples that the project's own generator writes."""

    kind: Literal["generated"] = "generated"


AnySource = FileSource | HubSource | QuerySource | GeneratedSource
Source = Annotated[AnySource, Field(discriminator="kind")]


class DataSpec(BaseModel):
    """Where examples come from and how they are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...] = Field(
        min_length=1, description="sources, most trusted first: of equal rows the first one's stays"
    )
    splits: SplitSpec = SplitSpec()


def source_fingerprint(source: AnySource) -> str:
    """What a source holds right now: its files with their schemas and databases, a dataset's commit, a query's rows, or
    the settings of the generator.

    Raises UserError when it is not there.
    """
    content: list[str] = []
    if isinstance(source, FileSource):
        content = file_digests(source)
    elif isinstance(source, HubSource):
        content = [hub_digest(source)]
    elif isinstance(source, QuerySource):
        content = [query_digest(source)]
    return fingerprint([source.model_dump(mode="json"), content])
