"""What a study file says: what varies, the runs at each scale, and the questions they answer."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.evaluation.findings import Question
from tasks.training.search.space import size
from tasks.training.search.spec import SweepSpec

Scale = Literal["quickstart", "full"]
MOST_CANDIDATES = 100  # of one row: their trials are numbered by it


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _check_sweep(name: str, sweep: SweepSpec, searched: bool) -> None:
    if searched:
        raise ValueError(f"row {name}: search and sweep exclude each other")
    if sweep.stages[-1].train or sweep.stages[-1].validation:
        raise ValueError(
            f"row {name}: the last stage of its sweep has the study's rows: leave out train and validation"
        )
    if other := [path for path in sweep.space if not path.startswith("training.")]:
        raise ValueError(f"row {name}: its sweep changes {other[0]}, and rows of a study differ in training alone")
    if trials_of(sweep) > MOST_CANDIDATES:
        raise ValueError(f"row {name}: its sweep has {trials_of(sweep)} trials, more than {MOST_CANDIDATES}")


def trials_of(sweep: SweepSpec) -> int:
    """How many trials a search has at most."""
    first, *later = sweep.stages
    begun = first.trials or size(sweep.space) or 0  # without a number it is a grid
    carried = [before.keep for before in sweep.stages[:-1]]
    return begun + sum(stage.trials or keep for stage, keep in zip(later, carried, strict=True))


class RowSpec(_Spec):
    """One run of the study: a recipe with some values of its own."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="unique in the study, lower case")
    label: str = Field("", description="what people call it")
    note: str = Field("", description="what a reader of its figures should know")
    recipe: str | None = Field(None, description="a recipe of its own; the scale's when absent")
    set: dict[str, Any] = Field({}, description="path in the recipe -> value")
    search: dict[str, list[Any]] = Field(
        {}, description="path -> values tried first; those with the lowest validation loss make the row"
    )
    sweep: SweepSpec | None = Field(
        None, description="a staged search whose winner makes the row; its last stage has the study's own rows"
    )
    candidates: int | None = Field(
        None, ge=1, description="settings tried for it elsewhere, where that is known; for what is told about effort"
    )
    baseline: bool = Field(False, description="the model is asked as it is, nothing is trained")
    quantize: Literal["nf4", "fp4"] | None = Field(
        None, description="of a baseline: its weights are held in 4 bits while it answers; needs bitsandbytes"
    )

    @model_validator(mode="after")
    def _check(self) -> RowSpec:
        if self.baseline and (self.search or self.sweep or self.candidates):
            raise ValueError(f"row {self.name}: a baseline trains nothing, so there is nothing to search")
        if self.quantize and not self.baseline:
            raise ValueError(f"row {self.name}: quantize is for a baseline; set training.quantize of what is trained")
        if any(len(values) < 2 for values in self.search.values()):
            raise ValueError(f"row {self.name}: search needs two values or more for each path")
        if math.prod(map(len, self.search.values())) > MOST_CANDIDATES:
            raise ValueError(f"row {self.name}: search has more than {MOST_CANDIDATES} combinations of values")
        if self.sweep is not None:
            _check_sweep(self.name, self.sweep, bool(self.search))
        return self


class ScaleSpec(_Spec):
    """The study at one size."""

    description: str = Field("", description="what this scale is, and what it cannot show")
    recipe: str = Field(description="the recipe whose data, prompt and evaluation all rows share")
    set: dict[str, Any] = Field({}, description="path in that recipe -> value, for all rows")
    train: int | None = Field(None, ge=1, description="training rows of every run; all when absent")
    validation: int | None = Field(None, ge=1, description="validation rows of every run; all when absent")
    test_questions: int | None = Field(None, ge=1, description="test questions every run answers; all when absent")
    rows: tuple[RowSpec, ...] = Field(min_length=1, description="the runs that are compared")
    left_out: dict[str, str] = Field({}, description="what is not run at this scale -> why")

    @model_validator(mode="after")
    def _check(self) -> ScaleSpec:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("the names of rows must differ")
        return self


class StudySpec(_Spec):
    """An experiment."""

    version: Literal[1] = Field(description="version of the study format")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str = Field(description="the page's heading")
    description: str = Field("", description="one line for people")
    varies: tuple[str, ...] = Field(min_length=1, description="paths of the recipe that are studied, with all below")
    reference: str = Field("", description="the row that every other is held against; the first that trains when empty")
    findings: tuple[Question, ...] = Field((), description="questions that two rows answer")
    scales: dict[Scale, ScaleSpec] = Field(min_length=1)
