"""Hard shapes with UNION, INTERSECT and EXCEPT."""

from __future__ import annotations

from tasks.data.synthetic.draw import Draw, NoFit, join, literal
from tasks.data.synthetic.shape import ShapeSet
from tasks.data.synthetic.shapes_medium import grouped

sets = ShapeSet("hard")


def _two_kinds(draw: Draw, operator: str) -> str:
    """Names of parents by two values of one column of their items, joined by a set operator."""
    link = draw.link(("name",), ("category",))
    parent, child = draw.ends(link)
    name = draw.column(parent, "name", key="name").name
    by = draw.column(child, "category", key="by")
    one = draw.value(child, by, key="value")
    two = draw.value(child, by, key="second", avoid=(one,))
    half = f"SELECT {parent.name}.{name} FROM {join(link)} WHERE {child.name}.{by.name} ="
    first, both = f"{half} {literal(one)}", f"{half} {literal(one)} {operator} {half} {literal(two)}"
    # The second half must matter: without it the answer would be the same.
    if {*draw.query(first)} == {*draw.query(both)}:
        raise NoFit
    return both


@sets
def intersect_kinds(draw: Draw) -> str:
    return _two_kinds(draw, "INTERSECT")


@sets
def except_kinds(draw: Draw) -> str:
    return _two_kinds(draw, "EXCEPT")


@sets
def union_kinds(draw: Draw) -> str:
    return _two_kinds(draw, "UNION")


def _two_sets(draw: Draw, operator: str) -> str:
    """Values of a category by two conditions on a measure, joined by a set operator."""
    table, by = grouped(draw, "measure")
    column = draw.column(table, "measure")
    low, high = sorted((draw.cut(table, column), draw.cut(table, column)))
    draw.say("one", column, ">", str(high))
    draw.say("two", column, "<", str(low))
    one = f"SELECT {by.name} FROM {table.name} WHERE {column.name} > {high}"
    both = f"{one} {operator} SELECT {by.name} FROM {table.name} WHERE {column.name} < {low}"
    if low == high or {*draw.query(one)} == {*draw.query(both)}:
        raise NoFit
    return both


@sets
def intersect_values(draw: Draw) -> str:
    return _two_sets(draw, "INTERSECT")


@sets
def except_values(draw: Draw) -> str:
    return _two_sets(draw, "EXCEPT")


@sets
def union_conditions(draw: Draw) -> str:
    table = draw.table("name", "category", "measure|year")
    name = draw.column(table, "name", key="name")
    one = draw.condition(table, "category", key="one")
    two = draw.condition(table, "measure|year", key="two")
    draw.check_filter(table, f"{one} OR {two}")
    half = f"SELECT {name.name} FROM {table.name} WHERE"
    return f"{half} {one} UNION {half} {two}"
