"""Medium shapes over three tables: a child with two parents (`bridge`), or a grandparent (`chain`)."""

from __future__ import annotations

from tasks.data.synthetic.draw import Draw, join, literal
from tasks.data.synthetic.schema import Table
from tasks.data.synthetic.shape import ShapeSet
from tasks.data.synthetic.shapes_easy import SHOWN, shown

three_tables = ShapeSet("medium")


def _bridge(draw: Draw, *other: str) -> tuple[str, Table, Table, Table]:
    """A child with two parents, `{parent}` and `{other}`: the FROM clause, the parents and the child."""
    links = draw.database.links()
    pairs = [(a, b) for a in links for b in links if a.child == b.child and a.parent != b.parent]
    first, second = draw.pick([(a, b) for a, b in pairs if draw.has(b.parent, "name", *other)])
    draw.name_link(first, "parent", "item")
    draw.name_link(second, "other", "item")
    parent, far = draw.database.table(first.parent), draw.database.table(second.parent)
    source = f"{join(first)} JOIN {far.name} ON {second.child}.{second.child_column} = {far.name}.{far.key.name}"
    return source, parent, far, draw.database.table(first.child)


@three_tables
def bridge_list(draw: Draw) -> str:
    source, parent, far, _ = _bridge(draw)
    name, column = draw.column(parent, "name", key="name"), draw.column(far, "name")
    where = f"{parent.name}.{name.name} = {literal(draw.value(parent, name))}"
    return f"SELECT DISTINCT {far.name}.{column.name} FROM {source} WHERE {where}"


@three_tables
def bridge_pairs(draw: Draw) -> str:
    source, parent, far, middle = _bridge(draw)
    name, column = draw.column(parent, "name", key="name"), draw.column(far, "name")
    where = draw.condition(middle, "category|measure|year|date", alias=f"{middle.name}.")
    return f"SELECT {parent.name}.{name.name}, {far.name}.{column.name} FROM {source} WHERE {where}"


@three_tables
def bridge_count(draw: Draw) -> str:
    source, parent, far, _ = _bridge(draw, "category|measure|year")
    name = draw.column(parent, "name", key="name")
    where = f"{parent.name}.{name.name} = {literal(draw.value(parent, name))}"
    other = draw.condition(far, "category|measure|year", alias=f"{far.name}.")
    return f"SELECT COUNT(*) FROM {source} WHERE {where} AND {other}"


@three_tables
def chain_list(draw: Draw) -> str:
    links = draw.database.links()
    pairs = [(a, b) for a in links for b in links if a.child == b.parent and draw.has(b.child, SHOWN)]
    first, second = draw.pick(pairs)
    draw.name_link(second, "middle", "item")
    draw.name_link(first, "parent", "unused")
    parent, middle = draw.ends(first)
    name = draw.column(parent, "name", key="name")
    column = shown(draw, draw.database.table(second.child))
    up = f"JOIN {parent.name} ON {middle.name}.{first.child_column} = {parent.name}.{parent.key.name}"
    where = f"{parent.name}.{name.name} = {literal(draw.value(parent, name))}"
    return f"SELECT {second.child}.{column.name} FROM {join(second)} {up} WHERE {where}"
