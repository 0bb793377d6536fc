"""A study, an experiment as one YAML file (`flows.study_spec`), resolved at one scale.

All rows of a study share one dataset, one prompt and one evaluation: those of the scale's recipe. A row whose recipe
has others is refused, for its figures would not say what the study asks. The scale `quickstart` is small enough for a
laptop, `full` is the experiment as it was published.
"""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.recipe import (
    Recipe,
    explain,
    parse_override,
    parse_recipe,
    read_content,
    read_mapping,
    set_value,
    with_values,
)
from flows.study_spec import RowSpec, Scale, ScaleSpec, StudySpec, trials_of
from infra.errors import UserError
from tasks.training.needs import unmet_by_four_bits, unmet_needs
from tasks.training.search.space import Choices

SHARED = ("data", "validation", "prompt", "evaluation")


@dataclass(frozen=True)
class Row:
    """One row of a planned study: its number, and the resolved recipes of its candidates.

    It is one without a search; one whose trials a `sweep` chooses has the recipe they start from.
    """

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
        if self.spec.baseline:
            return unmet_by_four_bits() if self.spec.quantize else ""
        return unmet_needs(self.recipes[0].training)

    @property
    def trainings(self) -> int:
        """Settings that it tries; 0 for a baseline."""
        if self.spec.baseline:
            return 0
        return trials_of(self.spec.sweep) if self.spec.sweep else len(self.recipes)

    @property
    def candidates(self) -> int:
        """Settings tried for it, here or elsewhere; 0 for a baseline."""
        return max(self.trainings, self.spec.candidates or 0)

    def recipe_of(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe of a trial with `values`; raises UserError where they make none."""
        if self.spec.sweep is not None:
            return with_values(self.recipes[0], values)
        return self.recipes[self.values.index(dict(values))]

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether `values` of its search make a recipe."""
        try:
            self.recipe_of(values)
        except UserError:
            return False
        return True


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
        rows = [
            [
                row.spec.name,
                row.spec.baseline,
                row.spec.quantize,
                [recipe.identity() for recipe in row.recipes],
                row.spec.sweep and row.spec.sweep.model_dump(mode="json"),
            ]
            for row in self.rows
        ]
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
        _check_space(rows[-1], told)
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


def _check_space(row: Row, told: str) -> None:
    """Raise UserError for a path of the row's sweep none of whose values makes a recipe."""
    for path, parameter in row.spec.sweep.space.items() if row.spec.sweep else ():
        values = parameter.choices if isinstance(parameter, Choices) else (parameter.low, parameter.high)
        if not any(row.fits({path: value}) for value in values):
            try:
                row.recipe_of({path: values[0]})
            except UserError as error:
                raise UserError(f"{told}: {error}") from None


def _check_shared(recipe: Recipe, base: Recipe, told: str) -> None:
    for section in SHARED:
        if getattr(recipe, section) != getattr(base, section):
            raise UserError(
                f"recipe {told}: its {section} is not that of the other rows; rows of a study share data, validation, "
                "prompt and evaluation, else their figures cannot be compared"
            )
