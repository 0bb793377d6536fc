"""Hard shapes: subqueries and HAVING. Limits: one level of nesting, no windows, no CTEs."""

from __future__ import annotations

from tasks.data.synthetic.draw import Draw, NoFit, join, literal
from tasks.data.synthetic.schema import Column, Link, Table
from tasks.data.synthetic.shape import ShapeSet
from tasks.data.synthetic.shapes_easy import SHOWN, shown
from tasks.data.synthetic.shapes_medium import grouped
from tasks.data.synthetic.wording import NUMBER_WORDS

hard = ShapeSet("hard")


def _named(draw: Draw, *roles: str) -> tuple[Table, Column]:
    """A table with a name, said as `{name}`, and columns of further roles."""
    table = draw.table("name", *roles)
    return table, draw.column(table, "name", key="name")


def _link(draw: Draw, *child: str, parent: tuple[str, ...] = (), plain: bool = False) -> tuple[Link, Table, Table, str]:
    """A link, its parent and child, and the name column of the parent, said as `{name}`."""
    link = draw.link(("name", *parent), child, plain)
    above, below = draw.ends(link)
    return link, above, below, draw.column(above, "name", key="name").name


# Against a value computed from the rows ------------------------------------------------------------------------------


@hard
def against_average(draw: Draw) -> str:
    table, name = _named(draw, "measure")
    column, op = draw.column(table, "measure").name, draw.side()
    return f"SELECT {name.name} FROM {table.name} WHERE {column} {op} (SELECT AVG({column}) FROM {table.name})"


@hard
def count_against_average(draw: Draw) -> str:
    table = draw.table("measure")
    column, op = draw.column(table, "measure").name, draw.side()
    return f"SELECT COUNT(*) FROM {table.name} WHERE {column} {op} (SELECT AVG({column}) FROM {table.name})"


@hard
def against_group_average(draw: Draw) -> str:
    table, name = _named(draw, "measure", "category")
    column, op = draw.column(table, "measure").name, draw.side()
    by = draw.column(table, "category", key="by")
    where = f"{by.name} = {literal(draw.value(table, by))}"
    inner = f"SELECT AVG({column}) FROM {table.name} WHERE {where}"
    draw.check_filter(table, f"{column} {op} ({inner})")
    return f"SELECT {name.name} FROM {table.name} WHERE {column} {op} ({inner})"


@hard
def equal_to_extreme(draw: Draw) -> str:
    table = draw.table("measure|year", SHOWN)
    column = draw.column(table, "measure|year", key="by")
    function = "MAX" if draw.direction(column) else "MIN"
    asked = shown(draw, table, avoid=(column,))
    inner = f"SELECT {function}({column.name}) FROM {table.name}"
    return f"SELECT {asked.name} FROM {table.name} WHERE {column.name} = ({inner})"


@hard
def against_named(draw: Draw) -> str:
    table, name = _named(draw, "measure")
    column, op = draw.column(table, "measure").name, draw.side()
    inner = f"SELECT {column} FROM {table.name} WHERE {name.name} = {literal(draw.value(table, name))}"
    draw.check_filter(table, f"{column} {op} ({inner})")
    return f"SELECT {name.name} FROM {table.name} WHERE {column} {op} ({inner})"


@hard
def same_as_named(draw: Draw) -> str:
    table, name = _named(draw, "category")
    by, value = draw.column(table, "category", key="by").name, literal(draw.value(table, name))
    inner = f"SELECT {by} FROM {table.name} WHERE {name.name} = {value}"
    return f"SELECT {name.name} FROM {table.name} WHERE {by} = ({inner}) AND {name.name} != {value}"


@hard
def top_of_group(draw: Draw) -> str:
    table, name = _named(draw, "measure", "category")
    by, column = draw.column(table, "category", key="by").name, draw.column(table, "measure")
    function = "MAX" if draw.direction(column) else "MIN"
    inner = f"SELECT {function}(T2.{column.name}) FROM {table.name} AS T2 WHERE T2.{by} = T1.{by}"
    sql = f"SELECT T1.{by}, T1.{name.name} FROM {table.name} AS T1 WHERE T1.{column.name} = ({inner})"
    winners = draw.query(sql)
    if len(winners) != len({group for group, _ in winners}):
        raise NoFit
    return sql


@hard
def against_own_group(draw: Draw) -> str:
    table, name = _named(draw, "measure", "category")
    by, column = draw.column(table, "category", key="by").name, draw.column(table, "measure").name
    inner = f"SELECT AVG(T2.{column}) FROM {table.name} AS T2 WHERE T2.{by} = T1.{by}"
    return f"SELECT T1.{name.name} FROM {table.name} AS T1 WHERE T1.{column} {draw.side()} ({inner})"


# IN and NOT IN -------------------------------------------------------------------------------------------------------


@hard
def parents_without(draw: Draw) -> str:
    link, parent, child, name = _link(draw, plain=True)
    inner = f"SELECT {link.child_column} FROM {child.name}"
    return f"SELECT {name} FROM {parent.name} WHERE {parent.key.name} NOT IN ({inner})"


@hard
def count_parents_without(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, plain=True)
    inner = f"SELECT {link.child_column} FROM {child.name}"
    return f"SELECT COUNT(*) FROM {parent.name} WHERE {parent.key.name} NOT IN ({inner})"


@hard
def parents_with(draw: Draw) -> str:
    link, parent, child, name = _link(draw, plain=True)
    where = f"{parent.key.name} IN (SELECT {link.child_column} FROM {child.name})"
    draw.check_filter(parent, where)
    return f"SELECT {name} FROM {parent.name} WHERE {where}"


@hard
def parents_in_where(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, "category|measure|year|date", parent=(SHOWN,), plain=True)
    condition = draw.condition(child, "category|measure|year|date")
    where = f"{parent.key.name} IN (SELECT {link.child_column} FROM {child.name} WHERE {condition})"
    draw.check_filter(parent, where)
    return f"SELECT {shown(draw, parent).name} FROM {parent.name} WHERE {where}"


@hard
def parents_not_in_where(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "category|measure|year|date", plain=True)
    condition = draw.condition(child, "category|measure|year|date")
    where = f"{parent.key.name} NOT IN (SELECT {link.child_column} FROM {child.name} WHERE {condition})"
    draw.check_filter(parent, where)
    return f"SELECT {name} FROM {parent.name} WHERE {where}"


@hard
def parent_of_most(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, parent=("category|measure|year",), plain=True)
    column = draw.column(parent, "category|measure|year").name
    order = f"FROM {child.name} GROUP BY {link.child_column} ORDER BY COUNT(*) DESC"
    draw.check_cut(f"SELECT COUNT(*) {order}", 1)
    inner = f"SELECT {link.child_column} {order} LIMIT 1"
    return f"SELECT {column} FROM {parent.name} WHERE {parent.key.name} = ({inner})"


@hard
def items_of_top_parent(draw: Draw) -> str:
    link, parent, child, _ = _link(draw, SHOWN, parent=("measure|year",))
    column = draw.column(parent, "measure|year", key="by")
    order = f"FROM {parent.name} ORDER BY {column.name}{draw.direction(column)}"
    draw.check_cut(f"SELECT {column.name} {order}", 1)
    inner = f"SELECT {parent.key.name} {order} LIMIT 1"
    return f"SELECT {shown(draw, child).name} FROM {child.name} WHERE {link.child_column} = ({inner})"


# HAVING --------------------------------------------------------------------------------------------------------------


def _more_than(draw: Draw, counts: str) -> str:
    """`> n` or `>= n` that some but not all groups pass, said as `{least}`; `counts` is a query for the group sizes."""
    sizes = sorted(row[0] for row in draw.query(counts))
    options = range(max(2, sizes[0] + 1), min(9, sizes[-1]) + 1)
    least = draw.pick(options)
    if draw.rng.random() < 0.5:
        number = draw.rng.choice((str(least - 1), NUMBER_WORDS[least - 1]))
        draw.slots["least"] = (f"more than {number}", f"over {number}")
        return f"> {least - 1}"
    number = draw.rng.choice((str(least), NUMBER_WORDS[least]))
    draw.slots["least"] = (f"at least {number}", f"{number} or more", f"no fewer than {number}")
    return f">= {least}"


@hard
def groups_having_count(draw: Draw) -> str:
    table, by = grouped(draw, roles="category|year")
    groups = f"FROM {table.name} GROUP BY {by.name}"
    return f"SELECT {by.name} {groups} HAVING COUNT(*) {_more_than(draw, f'SELECT COUNT(*) {groups}')}"


@hard
def groups_having_aggregate(draw: Draw) -> str:
    table, by = grouped(draw, "measure")
    column = draw.column(table, "measure")
    value = f"{draw.aggregate(column, among=('AVG', 'AVG', 'SUM', 'MAX'))}({column.name})"
    groups = f"FROM {table.name} GROUP BY {by.name}"
    op, bound = _bound(draw, f"SELECT {value} {groups}", column)
    return f"SELECT {by.name} {groups} HAVING {value} {op} {bound}"


def _bound(draw: Draw, values: str, column: Column) -> tuple[str, float]:
    """A side and a rounded bound that some but not all groups pass, said as `{side}` and `{bound}`."""
    found = sorted(row[0] for row in draw.query(values))
    bound = draw.rng.uniform(found[0], found[-1])
    digits = 1 - len(str(int(abs(found[-1] - found[0])))) + (1 if column.type == "INTEGER" else 0)
    bound = round(bound, min(1, digits)) if found[-1] - found[0] < 10 else int(round(bound, min(0, digits)))
    op = draw.side()
    passing = sum(value > bound if op == ">" else value < bound for value in found)
    if not 0 < passing < len(found) or bound in found:
        raise NoFit
    draw.slots["bound"] = str(bound)
    return op, bound


@hard
def groups_having_where(draw: Draw) -> str:
    table, by = grouped(draw, "measure|category|year")
    condition = draw.condition(table, "measure|category|year", avoid=(by,))
    groups = f"FROM {table.name} WHERE {condition} GROUP BY {by.name}"
    return f"SELECT {by.name} {groups} HAVING COUNT(*) {_more_than(draw, f'SELECT COUNT(*) {groups}')}"


@hard
def parents_having_count(draw: Draw) -> str:
    link, parent, _, name = _link(draw)
    groups = f"FROM {join(link)} GROUP BY {parent.name}.{parent.key.name}"
    return f"SELECT {parent.name}.{name} {groups} HAVING COUNT(*) {_more_than(draw, f'SELECT COUNT(*) {groups}')}"


@hard
def parents_having_aggregate(draw: Draw) -> str:
    link, parent, child, name = _link(draw, "measure")
    column = draw.column(child, "measure")
    value = f"{draw.aggregate(column, among=('AVG', 'SUM', 'SUM'))}({child.name}.{column.name})"
    groups = f"FROM {join(link)} GROUP BY {parent.name}.{parent.key.name}"
    op, bound = _bound(draw, f"SELECT {value} {groups}", column)
    return f"SELECT {parent.name}.{name} {groups} HAVING {value} {op} {bound}"


@hard
def count_groups_having(draw: Draw) -> str:
    link, _, child, _ = _link(draw)
    groups = f"FROM {child.name} GROUP BY {link.child_column}"
    having = _more_than(draw, f"SELECT COUNT(*) {groups}")
    return f"SELECT COUNT(*) FROM (SELECT {link.child_column} {groups} HAVING COUNT(*) {having})"
