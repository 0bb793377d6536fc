"""A shape: one kind of SQL query, built from what a database offers, with its phrasings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.data.example import Difficulty
from tasks.data.synthetic.draw import Draw
from tasks.data.synthetic.phrasing import load_phrasings


@dataclass(frozen=True)
class Shape:
    """`build` draws from a database, sets the slots and returns the SQL; it raises NoFit when it cannot."""

    id: str
    difficulty: Difficulty
    build: Callable[[Draw], str]

    @property
    def phrasings(self) -> tuple[str, ...]:
        """Its templates, in file order."""
        return load_phrasings()[self.id]


class ShapeSet:
    """Collects the shapes of one difficulty; used as a decorator: a function's name becomes the shape's id.

    The name and the SQL that the function returns say what a shape is; builders carry no further docstring.
    """

    def __init__(self, difficulty: Difficulty) -> None:
        self.difficulty: Difficulty = difficulty
        self.shapes: list[Shape] = []

    def __call__(self, build: Callable[[Draw], str]) -> Callable[[Draw], str]:
        self.shapes.append(Shape(build.__name__, self.difficulty, build))
        return build
