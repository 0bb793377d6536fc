"""Medium shapes: joins over one foreign key, and grouping."""

from __future__ import annotations

from tasks.data.synthetic.draw import Draw, join, literal
from tasks.data.synthetic.schema import Column, Link, Table
from tasks.data.synthetic.shape import ShapeSet
from tasks.data.synthetic.shapes_easy import SHOWN, shown

medium = ShapeSet("medium")


def grouped(draw: Draw, *more: str, roles: str = "category") -> tuple[Table, Column]:
    """A table with a column to group by, said as `{by}`."""
    table = draw.table(roles, *more)
    return table, draw.column(table, roles, key="by")


@medium
def group_count(draw: Draw) -> str:
    table, by = grouped(draw, roles="category|year")
    return f"SELECT {by.name}, COUNT(*) FROM {table.name} GROUP BY {by.name}"


@medium
def group_aggregate(draw: Draw) -> str:
    table, by = grouped(draw, "measure")
    column = draw.column(table, "measure")
    return f"SELECT {by.name}, {draw.aggregate(column)}({column.name}) FROM {table.name} GROUP BY {by.name}"


@medium
def group_count_where(draw: Draw) -> str:
    table, by = grouped(draw, "category|measure|year")
    condition = draw.condition(table, "category|measure|year", avoid=(by,))
    return f"SELECT {by.name}, COUNT(*) FROM {table.name} WHERE {condition} GROUP BY {by.name}"


@medium
def group_count_ordered(draw: Draw) -> str:
    table, by = grouped(draw)
    down = draw.rng.random() < 0.7
    draw.slots["in_order"] = (
        ("from most to fewest", "in descending order", "with the largest number first")
        if down
        else ("from fewest to most", "in ascending order", "with the smallest number first")
    )
    return f"SELECT {by.name}, COUNT(*) FROM {table.name} GROUP BY {by.name} ORDER BY COUNT(*){' DESC' if down else ''}"


@medium
def group_aggregate_ordered(draw: Draw) -> str:
    table, by = grouped(draw, "measure")
    column = draw.column(table, "measure")
    value = f"{draw.aggregate(column)}({column.name})"
    order = draw.direction(column)
    return f"SELECT {by.name}, {value} FROM {table.name} GROUP BY {by.name} ORDER BY {value}{order}"


@medium
def most_common_group(draw: Draw) -> str:
    table, by = grouped(draw, roles="category|year")
    down = draw.rng.random() < 0.65
    draw.slots["most"] = ("most", "largest number of") if down else ("fewest", "smallest number of")
    draw.slots["common"] = ("most common", "most frequent") if down else ("least common", "least frequent")
    order = f"FROM {table.name} GROUP BY {by.name} ORDER BY COUNT(*){' DESC' if down else ''}"
    draw.check_cut(f"SELECT COUNT(*) {order}", 1)
    return f"SELECT {by.name} {order} LIMIT 1"


@medium
def group_with_top_aggregate(draw: Draw) -> str:
    table, by = grouped(draw, "measure")
    column = draw.column(table, "measure")
    value = f"{draw.aggregate(column, among=('AVG', 'AVG', 'SUM'))}({column.name})"
    order = f"FROM {table.name} GROUP BY {by.name} ORDER BY {value}{draw.direction(column)}"
    draw.check_cut(f"SELECT {value} {order}", 1)
    return f"SELECT {by.name} {order} LIMIT 1"


@medium
def group_count_and_average(draw: Draw) -> str:
    table, by = grouped(draw, "measure")
    column = draw.column(table, "measure")
    value = f"{draw.aggregate(column)}({column.name})"
    return f"SELECT {by.name}, COUNT(*), {value} FROM {table.name} GROUP BY {by.name}"


# Joins ---------------------------------------------------------------------------------------------------------------


def _link(draw: Draw, *child: str, parent: tuple[str, ...] = ()) -> tuple[Link, Table, Table, Column]:
    """A link, its parent and child, and the parent's name column, said as `{name}`."""
    link = draw.link(("name", *parent), child)
    above, below = draw.ends(link)
    return link, above, below, draw.column(above, "name", key="name")


@medium
def join_list(draw: Draw) -> str:
    link, parent, child, name = _link(draw, SHOWN)
    column = shown(draw, child)
    return f"SELECT {child.name}.{column.name}, {parent.name}.{name.name} FROM {join(link)}"


@medium
def join_of_named_parent(draw: Draw) -> str:
    link, parent, child, name = _link(draw, SHOWN)
    column = shown(draw, child)
    where = f"{parent.name}.{name.name} = {literal(draw.value(parent, name))}"
    return f"SELECT {child.name}.{column.name} FROM {join(link)} WHERE {where}"


@medium
def join_where_parent(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, SHOWN, parent=("category|measure|year",))
    where = draw.condition(parent, "category|measure|year", alias=f"{parent.name}.")
    draw.check_join(join(link), where)
    return f"SELECT {child.name}.{shown(draw, child).name} FROM {join(link)} WHERE {where}"


@medium
def join_where_child(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "category|measure|year|date")
    where = draw.condition(child, "category|measure|year|date", alias=f"{child.name}.")
    return f"SELECT DISTINCT {parent.name}.{name.name} FROM {join(link)} WHERE {where}"


@medium
def parent_of_named_item(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, "name", parent=(SHOWN,))
    column = shown(draw, parent)
    name = draw.column(child, "name", key="name")
    where = f"{child.name}.{name.name} = {literal(draw.value(child, name))}"
    return f"SELECT {parent.name}.{column.name} FROM {join(link)} WHERE {where}"


@medium
def join_count_named(draw: Draw) -> str:
    link, parent, _, name = _link(draw)
    where = f"{parent.name}.{name.name} = {literal(draw.value(parent, name))}"
    return f"SELECT COUNT(*) FROM {join(link)} WHERE {where}"


@medium
def join_count_where(draw: Draw) -> str:
    link, parent, _, _ = _link(draw, parent=("category|measure|year",))
    where = draw.condition(parent, "category|measure|year", alias=f"{parent.name}.")
    draw.check_join(join(link), where)
    return f"SELECT COUNT(*) FROM {join(link)} WHERE {where}"


@medium
def join_aggregate_named(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "measure")
    column = draw.column(child, "measure")
    where = f"{parent.name}.{name.name} = {literal(draw.value(parent, name))}"
    return f"SELECT {draw.aggregate(column)}({child.name}.{column.name}) FROM {join(link)} WHERE {where}"


@medium
def join_aggregate_where(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, "measure", parent=("category|year|measure",))
    column = draw.column(child, "measure")
    where = draw.condition(parent, "category|year|measure", alias=f"{parent.name}.")
    draw.check_join(join(link), where)
    return f"SELECT {draw.aggregate(column)}({child.name}.{column.name}) FROM {join(link)} WHERE {where}"


@medium
def join_two_where(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, SHOWN, "category|measure|year", parent=("category|measure",))
    above = draw.condition(parent, "category|measure", key="one", alias=f"{parent.name}.")
    below = draw.condition(child, "category|measure|year", key="two", alias=f"{child.name}.")
    used = child.column(below.removeprefix(f"{child.name}.").split(" ", 1)[0])
    draw.check_join(join(link), f"{above} AND {below}")
    column = shown(draw, child, avoid=(used,))
    return f"SELECT {child.name}.{column.name} FROM {join(link)} WHERE {above} AND {below}"


@medium
def count_per_parent(draw: Draw) -> str:
    link, parent, _, name = _link(draw)
    return f"SELECT {parent.name}.{name.name}, COUNT(*) FROM {join(link)} GROUP BY {parent.name}.{parent.key.name}"


@medium
def count_per_parent_with_zero(draw: Draw) -> str:
    link, parent, child, name = _link(draw)
    key, items = f"{parent.name}.{parent.key.name}", f"{child.name}.{child.key.name}"
    source = f"{parent.name} LEFT JOIN {child.name} ON {child.name}.{link.child_column} = {key}"
    return f"SELECT {parent.name}.{name.name}, COUNT({items}) FROM {source} GROUP BY {key}"


@medium
def aggregate_per_parent(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "measure")
    column = draw.column(child, "measure")
    value = f"{draw.aggregate(column)}({child.name}.{column.name})"
    return f"SELECT {parent.name}.{name.name}, {value} FROM {join(link)} GROUP BY {parent.name}.{parent.key.name}"


@medium
def parent_with_most(draw: Draw) -> str:
    link, parent, _, name = _link(draw)
    order = f"FROM {join(link)} GROUP BY {parent.name}.{parent.key.name} ORDER BY COUNT(*) DESC"
    draw.check_cut(f"SELECT COUNT(*) {order}", 1)
    return f"SELECT {parent.name}.{name.name} {order} LIMIT 1"


@medium
def parents_with_most(draw: Draw) -> str:
    link, parent, _, name = _link(draw)
    order = f"FROM {join(link)} GROUP BY {parent.name}.{parent.key.name} ORDER BY COUNT(*) DESC"
    limit = draw.number("n", draw.rng.randint(2, 4))
    draw.check_cut(f"SELECT COUNT(*) {order}", limit)
    return f"SELECT {parent.name}.{name.name}, COUNT(*) {order} LIMIT {limit}"


@medium
def parent_with_top_aggregate(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "measure")
    column = draw.column(child, "measure")
    value = f"{draw.aggregate(column, among=('AVG', 'SUM', 'SUM'))}({child.name}.{column.name})"
    draw.slots["most"] = ("highest", "largest", "greatest")
    order = f"FROM {join(link)} GROUP BY {parent.name}.{parent.key.name} ORDER BY {value} DESC"
    draw.check_cut(f"SELECT {value} {order}", 1)
    return f"SELECT {parent.name}.{name.name} {order} LIMIT 1"


@medium
def parent_of_top_item(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "measure|year|date")
    column = draw.column(child, "measure|year|date", key="by")
    order = f"FROM {join(link)} ORDER BY {child.name}.{column.name}{draw.direction(column)}"
    draw.check_cut(f"SELECT {child.name}.{column.name} {order}", 1)
    return f"SELECT {parent.name}.{name.name} {order} LIMIT 1"


@medium
def join_top_rows(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "measure|year|date")
    column = draw.column(child, "measure|year|date", key="by")
    order = f"FROM {join(link)} ORDER BY {child.name}.{column.name}{draw.direction(column)}"
    limit = draw.number("n", draw.rng.randint(2, 5))
    draw.check_cut(f"SELECT {child.name}.{column.name} {order}", limit)
    return f"SELECT {parent.name}.{name.name}, {child.name}.{column.name} {order} LIMIT {limit}"


@medium
def count_per_parent_group(draw: Draw) -> str:
    link, parent, _, _ = _link(draw, parent=("category",))
    by = draw.column(parent, "category", key="by")
    return f"SELECT {parent.name}.{by.name}, COUNT(*) FROM {join(link)} GROUP BY {parent.name}.{by.name}"


@medium
def aggregate_per_parent_group(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, "measure", parent=("category",))
    by = draw.column(parent, "category", key="by")
    column = draw.column(child, "measure")
    value = f"{draw.aggregate(column)}({child.name}.{column.name})"
    return f"SELECT {parent.name}.{by.name}, {value} FROM {join(link)} GROUP BY {parent.name}.{by.name}"
