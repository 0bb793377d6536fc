"""A study: an experiment as one YAML file. What varies, the runs at each scale, and the questions they answer.

All rows of a study share one dataset, one prompt and one evaluation: those of the scale's recipe. A row whose recipe
has others is refused, for its figures would not say what the study asks. The scale `quickstart` is small enough for a
laptop, `full` is the experiment as it was published.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flows.recipe import Recipe, explain, parse_override, parse_recipe, read_content, read_mapping, set_value
from infra.errors import UserError
from tasks.evaluation.findings import Question
from tasks.training.needs import unmet_needs

Scale = Literal["quickstart", "full"]
MOST_CANDIDATES = 100  # of one row: their trials are numbered by it
SHARED = ("data", "validation", "prompt", "evaluation")


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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
    candidates: int | None = Field(
        None, ge=1, description="settings tried for it elsewhere, where that is known; for what is told about effort"
    )
    baseline: bool = Field(False, description="the model is asked as it is, nothing is trained")

    @model_validator(mode="after")
    def _check(self) -> RowSpec:
        if self.baseline and (self.search or self.candidates):
            raise ValueError(f"row {self.name}: a baseline trains nothing, so there is nothing to search")
        if any(len(values) < 2 for values in self.search.values()):
            raise ValueError(f"row {self.name}: search needs two values or more for each path")
        if math.prod(map(len, self.search.values())) > MOST_CANDIDATES:
            raise ValueError(f"row {self.name}: search has more than {MOST_CANDIDATES} combinations of values")
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


@dataclass(frozen=True)
class Row:
    """One row of a planned study: its number, and the resolved recipes of its candidates (one without a search)."""

    number: int
    spec: RowSpec
    values: tuple[dict[str, Any], ...]
    recipes: tuple[Recipe, ...]

    @property
    def title(self) -> str:
        """What people call it."""
        return self.spec.label or self.spec.name

    @property
    def unmet_needs(self) -> str:
        """Why this machine cannot run it; empty when it can."""
        return "" if self.spec.baseline else unmet_needs(self.recipes[0].training)

    @property
    def candidates(self) -> int:
        """Settings tried for it, here or elsewhere; 0 for a baseline."""
        return 0 if self.spec.baseline else max(len(self.recipes), self.spec.candidates or 1)


@dataclass(frozen=True)
class Plan:
    """A study at one scale, resolved: what its rows share stands in `base`."""

    spec: StudySpec
    scale: Scale
    base: Recipe
    rows: tuple[Row, ...]
    train: int | None
    validation: int | None
    test_questions: int | None

    @property
    def at(self) -> ScaleSpec:
        """The scale's own words."""
        return self.spec.scales[self.scale]

    def chosen(self, names: Sequence[str]) -> tuple[Row, ...]:
        """The rows called `names`, all when there are none; raises UserError for a name that no row has."""
        known = [row.spec.name for row in self.rows]
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
                raise UserError(f"study {self.spec.name} has no row {name!r} at scale {self.scale}; {hint}")
        return tuple(row for row in self.rows if not names or row.spec.name in names)

    def identity(self) -> list[Any]:
        """What of the plan makes its figures, beyond the data."""
        rows = [[row.spec.name, row.spec.baseline, [recipe.identity() for recipe in row.recipes]] for row in self.rows]
        return [self.spec.name, self.scale, rows, self.train, self.validation, self.test_questions]


def builtin_studies() -> dict[str, Path]:
    """The studies that come with Nightshift, by name."""
    return {path.stem: path for path in sorted(Path(str(resources.files("flows") / "studies")).glob("*.yaml"))}


def load_study(name: str) -> StudySpec:
    """A study by name, or by the path of its file. Raises UserError on one line: file, key, nearest valid key."""
    builtin = builtin_studies()
    path = builtin.get(name, Path(name))
    if not path.is_file() or path.suffix not in {".yaml", ".yml"}:
        near = difflib.get_close_matches(name, builtin, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"built in are {', '.join(builtin)}"
        raise UserError(f"no study {name!r}: it is neither a .yaml file nor a built-in study; {hint}")
    try:
        return StudySpec.model_validate(read_mapping(path, "study"))
    except ValidationError as error:
        raise UserError(f"study {path.name}: {explain(error, StudySpec)}") from None


def plan_study(
    spec: StudySpec,
    scale: Scale,
    overrides: Sequence[str] = (),
    train: int | None = None,
    test_questions: int | None = None,
) -> Plan:
    """Resolve every row. `overrides` (path=value) hold for all rows, after the rows' own values.

    Raises UserError for a scale that the study lacks, for a value that no recipe takes, and for rows that would not
    share data, prompt and evaluation.
    """
    if scale not in spec.scales:
        raise UserError(f"study {spec.name} has no scale {scale}; it has {', '.join(spec.scales)}")
    at = spec.scales[scale]
    given = dict(map(parse_override, overrides))
    shared = {**at.set, **given}
    content, _ = read_content(at.recipe)
    base = _resolve(content, shared, f"of study {spec.name}", {"name": f"study_{spec.name}_{scale}"})
    rows = []
    for number, row in enumerate(at.rows):
        told = f"of study {spec.name}, row {row.name}"
        own = copy.deepcopy(content) if row.recipe is None else read_content(row.recipe)[0]
        # The row's own values come after the scale's; those a person gives hold in any case, and are not searched.
        fixed = {path for path in row.search for one in given if path == one or path.startswith(f"{one}.")}
        values = _combinations({path: tried for path, tried in row.search.items() if path not in fixed})
        orders = [{**at.set, **row.set, **chosen, **given} for chosen in values]
        recipes = tuple(_resolve(own, order, told, {"name": base.name}) for order in orders)
        for recipe in recipes:
            _check_shared(recipe, base, told)
        rows.append(Row(number, row, tuple(values), recipes))
    names = [row.spec.name for row in rows]
    if spec.reference and spec.reference not in names:
        raise UserError(f"study {spec.name}: its reference {spec.reference!r} is no row of scale {scale}")
    return Plan(spec, scale, base, tuple(rows), train or at.train, at.validation, test_questions or at.test_questions)


def _combinations(search: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values searched; one without any when nothing is."""
    return [dict(zip(search, chosen, strict=True)) for chosen in itertools.product(*search.values())]


def _resolve(content: dict[str, Any], values: Mapping[str, Any], told: str, always: Mapping[str, Any]) -> Recipe:
    fresh = copy.deepcopy(content)
    for path, value in {**values, **always}.items():
        set_value(fresh, path, copy.deepcopy(value), f"recipe {told}: {path}")
    return parse_recipe(fresh, told)


def _check_shared(recipe: Recipe, base: Recipe, told: str) -> None:
    for section in SHARED:
        if getattr(recipe, section) != getattr(base, section):
            raise UserError(
                f"recipe {told}: its {section} is not that of the other rows; rows of a study share data, validation, "
                "prompt and evaluation, else their figures cannot be compared"
            )
