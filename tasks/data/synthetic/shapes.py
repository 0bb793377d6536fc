"""All shapes, and the check that every one of them is worded."""

from __future__ import annotations

from functools import lru_cache

from infra.errors import UserError
from tasks.data.synthetic.phrasing import load_phrasings
from tasks.data.synthetic.shape import Shape
from tasks.data.synthetic.shapes_easy import easy
from tasks.data.synthetic.shapes_hard import hard
from tasks.data.synthetic.shapes_medium import medium
from tasks.data.synthetic.shapes_sets import sets
from tasks.data.synthetic.shapes_three_tables import three_tables


@lru_cache(maxsize=1)
def all_shapes() -> tuple[Shape, ...]:
    """Every shape, easy ones first. UserError when shapes and phrasings do not match one to one."""
    shapes = (*easy.shapes, *medium.shapes, *three_tables.shapes, *hard.shapes, *sets.shapes)
    unmatched = {shape.id for shape in shapes} ^ set(load_phrasings())
    if unmatched:
        raise UserError(f"shapes without phrasings, or phrasings without a shape: {', '.join(sorted(unmatched))}")
    return shapes
