"""The search space: which values a path of the recipe may take."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from infra.errors import UserError
from infra.hashing import canonical_json
from tasks.training.specs.stage import Spec

DIGITS = 4  # significant ones of a drawn number: more would say nothing, and people read them in a recipe
Values = dict[str, Any]


class Choices(Spec):
    """One of several values. Numbers in ascending order are a scale: what is known of one tells of its neighbours."""

    choices: tuple[Any, ...] = Field(min_length=2, description="the values, in any form the recipe takes at this path")

    @field_validator("choices")
    @classmethod
    def _check(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        values = tuple(_number(value) for value in values)
        if len({canonical_json(value) for value in values}) < len(values):
            raise ValueError("a choice stands there twice")
        return values

    @property
    def is_scale(self) -> bool:
        """Whether the choices are numbers in ascending order."""
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.choices)
        return numbers and all(a < b for a, b in itertools.pairwise(self.choices))

    def draw(self, chance: random.Random) -> Any:
        """A value drawn at random."""
        return self.choices[int(chance.random() * len(self.choices))]

    def all(self) -> tuple[Any, ...]:
        """Every value there is."""
        return self.choices


class Range(Spec):
    """A number between two bounds, both included; a whole number when the bounds (and the step) are whole."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="try as many values between 1 and 10 as between 10 and 100")
    step: int | float | None = Field(None, gt=0, description="only low, low + step, low + 2 step, …")

    @model_validator(mode="after")
    def _check(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs low above 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other: name the values with choices")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def draw(self, chance: random.Random) -> int | float:
        """A value drawn at random."""
        if self.step is not None:
            values = self.all()
            return values[int(chance.random() * len(values))]
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self.rounded(math.exp(low + chance.random() * (high - low)))
        if self.is_whole:
            return int(self.low + int(chance.random() * (self.high - self.low + 1)))
        return self.rounded(self.low + chance.random() * (self.high - self.low))

    def rounded(self, value: float) -> int | float:
        """A drawn number as it goes into the recipe."""
        if self.is_whole:
            return int(min(self.high, max(self.low, round(value))))
        return min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))

    def all(self) -> tuple[int | float, ...]:
        """Every value there is; raises UserError for a range that has no step and is not whole."""
        if self.step is None and not self.is_whole:
            raise UserError(f"a grid over {self.low} to {self.high} needs a step, or choices")
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.rounded(self.low + i * step) for i in range(count))


def _kind(value: Any) -> str:
    has = "choices" in value if isinstance(value, dict) else isinstance(value, Choices)
    return "choices" if has else "range"


Parameter = Annotated[Annotated[Choices, Tag("choices")] | Annotated[Range, Tag("range")], Discriminator(_kind)]
Space = Mapping[str, Choices | Range]


def _number(value: Any) -> Any:
    """YAML reads 1e-4 as text; it is meant as a number."""
    if isinstance(value, str) and value[:1] in "+-.0123456789":
        try:
            return float(value)
        except ValueError:
            return value
    return value


def draw(space: Space, chance: random.Random) -> Values:
    """One point of the space, each value drawn alone."""
    return {path: parameter.draw(chance) for path, parameter in space.items()}


def grid(space: Space) -> Iterator[Values]:
    """Every point of the space, the last path changing fastest; raises UserError where one has no end of values."""
    for values in itertools.product(*(parameter.all() for parameter in space.values())):
        yield dict(zip(space, values, strict=True))


def size(space: Space) -> int | None:
    """How many points the space has; None where there is no end of them."""
    try:
        return math.prod(len(parameter.all()) for parameter in space.values())
    except UserError:
        return None


def mark(values: Values) -> str:
    """What two equal points share."""
    return canonical_json(values).decode()
