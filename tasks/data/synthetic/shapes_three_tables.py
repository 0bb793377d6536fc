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
    source = f"{join(first, parent)} JOIN {far.name} AS T3 ON T2.{second.child_column} = T3.{far.key.name}"
    return source, parent, far, draw.database.table(first.child)


@three_tables
def bridge_list(draw: Draw) -> str:
    source, parent, far, _ = _bridge(draw)
    name, column = draw.column(parent, "name", key="name"), draw.column(far, "name")
    return f"SELECT DISTINCT T3.{column.name} FROM {source} WHERE T1.{name.name} = {literal(draw.value(parent, name))}"


@three_tables
def bridge_pairs(draw: Draw) -> str:
    source, parent, far, middle = _bridge(draw)
    name, column = draw.column(parent, "name", key="name"), draw.column(far, "name")
    where = draw.condition(middle, "category|measure|year|date", alias="T2.")
    return f"SELECT T1.{name.name}, T3.{column.name} FROM {source} WHERE {where}"


@three_tables
def bridge_count(draw: Draw) -> str:
    source, parent, far, _ = _bridge(draw, "category|measure|year")
    name = draw.column(parent, "name", key="name")
    where = f"T1.{name.name} = {literal(draw.value(parent, name))}"
    where += f" AND {draw.condition(far, 'category|measure|year', alias='T3.')}"
    return f"SELECT COUNT(*) FROM {source} WHERE {where}"


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
    source = f"{join(first, parent)} JOIN {second.child} AS T3 ON T2.{middle.key.name} = T3.{second.child_column}"
    return f"SELECT T3.{column.name} FROM {source} WHERE T1.{name.name} = {literal(draw.value(parent, name))}"
