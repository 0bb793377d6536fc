"""What a recipe says about data: sources and splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.hashing import fingerprint
from tasks.data.dedupe import DecontaminationSpec
from tasks.data.feedback_source import FeedbackSource, feedback_digests
from tasks.data.hub import HubSource, hub_digest
from tasks.data.mixture import MixtureSpec, SourceShare
from tasks.data.query_source import QuerySource, query_digest
from tasks.data.sources import FileSource, file_digests
from tasks.data.splits import SplitSpec
from tasks.data.synthetic.generate import GenerateSpec

_GENERATED = "synthetic"  # the name that generated examples carry


class GeneratedSource(GenerateSpec, SourceShare):
    """Examples that the project's own generator writes."""

    kind: Literal["generated"] = "generated"

    def settings(self) -> GenerateSpec:
        """What the generator is told."""
        return GenerateSpec(**self.model_dump(include=set(GenerateSpec.model_fields)))


AnySource = FileSource | HubSource | QuerySource | FeedbackSource | GeneratedSource
Source = Annotated[AnySource, Field(discriminator="kind")]


class DataSpec(BaseModel):
    """Where examples come from and how they are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...] = Field(
        min_length=1, description="sources, most trusted first: of equal rows the first one's stays"
    )
    splits: SplitSpec = SplitSpec()
    decontaminate: DecontaminationSpec = DecontaminationSpec()
    mixture: MixtureSpec = MixtureSpec()
    sql_style: Literal["given", "uniform"] = Field(
        "given", description="uniform: training queries rewritten one way, without aliases; test rows stay as given"
    )

    @model_validator(mode="after")
    def _check(self) -> DataSpec:
        shared = [source for source in self.sources if source.weight is not None or source.max_samples is not None]
        names = [source_name(source) for source in shared]
        if "" in names:
            raise ValueError("a source with a weight or max_samples needs a name, by which its rows are found")
        if len(set(names)) != len(names):
            raise ValueError("two sources with a weight or max_samples have the same name")
        trained = [source for source in self.sources if getattr(source, "split", None) in (None, "train")]
        weights = [source.weight for source in trained if source.weight is not None]
        if weights and len(weights) != len(trained):
            raise ValueError("some sources have a weight and others none: give all that are trained on one, or none")
        if any(source.weight is not None for source in self.sources if source not in trained):
            raise ValueError("a source whose split is test or validation is not trained on and has no weight")
        return self


def source_name(source: AnySource) -> str:
    """The name that a source's examples carry; empty when each file gives its own."""
    return _GENERATED if isinstance(source, GeneratedSource) else source.name


def source_shares(sources: Sequence[AnySource]) -> dict[str, SourceShare]:
    """The weights and limits of the sources that have any, by name."""
    return {source_name(s): s for s in sources if s.weight is not None or s.max_samples is not None}


def source_fingerprint(source: AnySource) -> str:
    """What a source holds right now: its files with their schemas and databases, a dataset's commit, a query's rows,
    the trusted feedback, or the settings of the generator.

    Raises UserError when it is not there.
    """
    content: list[str] = []
    if isinstance(source, FileSource):
        content = file_digests(source)
    elif isinstance(source, HubSource):
        content = [hub_digest(source)]
    elif isinstance(source, QuerySource):
        content = [query_digest(source)]
    elif isinstance(source, FeedbackSource):
        content = feedback_digests(source)
    return fingerprint([source.model_dump(mode="json"), content])
