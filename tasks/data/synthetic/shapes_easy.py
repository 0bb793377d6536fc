"""Easy shapes: one table, no grouping. Limits: no arithmetic beyond a range, no functions on text or dates."""

from __future__ import annotations

import re

from tasks.data.synthetic.draw import BETWEEN_QUANTILES, Draw, literal
from tasks.data.synthetic.schema import Column, Table
from tasks.data.synthetic.shape import ShapeSet

easy = ShapeSet("easy")
SHOWN = "name|category|measure|year|date"  # roles worth listing


def shown(draw: Draw, table: Table, key: str = "col", avoid: tuple[Column, ...] = ()) -> Column:
    """The column to list: the name when the table has one (two times in three), else any other."""
    names = [c for c in table.with_role("name") if c not in avoid]
    return draw.column(table, "name" if names and draw.rng.random() < 0.67 else SHOWN, key=key, avoid=avoid)


@easy
def count_rows(draw: Draw) -> str:
    return f"SELECT COUNT(*) FROM {draw.table().name}"


@easy
def list_column(draw: Draw) -> str:
    table = draw.table(SHOWN)
    return f"SELECT {draw.column(table, SHOWN).name} FROM {table.name}"


@easy
def list_two_columns(draw: Draw) -> str:
    table = draw.table(SHOWN, SHOWN)
    first = shown(draw, table)
    second = draw.column(table, SHOWN, key="other", avoid=(first,))
    return f"SELECT {first.name}, {second.name} FROM {table.name}"


def _select_where(draw: Draw, roles: str) -> str:
    table = draw.table(roles, SHOWN)
    condition = draw.condition(table, roles)
    asked = shown(draw, table, avoid=(_column_of(table, condition),))
    return f"SELECT {asked.name} FROM {table.name} WHERE {condition}"


def _column_of(table: Table, condition: str) -> Column:
    return table.column(condition.split(" ", 1)[0])


@easy
def select_where_category(draw: Draw) -> str:
    return _select_where(draw, "category")


@easy
def select_where_measure(draw: Draw) -> str:
    return _select_where(draw, "measure")


@easy
def select_where_time(draw: Draw) -> str:
    return _select_where(draw, "year|date")


@easy
def select_two_where(draw: Draw) -> str:
    table = draw.table(SHOWN, SHOWN, "category|measure")
    condition = draw.condition(table, "category|measure")
    used = _column_of(table, condition)
    first = shown(draw, table, avoid=(used,))
    second = draw.column(table, SHOWN, key="other", avoid=(first, used))
    return f"SELECT {first.name}, {second.name} FROM {table.name} WHERE {condition}"


@easy
def count_where(draw: Draw) -> str:
    table = draw.table("category|measure|year|date")
    return f"SELECT COUNT(*) FROM {table.name} WHERE {draw.condition(table, 'category|measure|year|date')}"


@easy
def select_all_where(draw: Draw) -> str:
    table = draw.table("category|measure|year|date")
    return f"SELECT * FROM {table.name} WHERE {draw.condition(table, 'category|measure|year|date')}"


@easy
def select_flag(draw: Draw) -> str:
    table = draw.table("flag", SHOWN)
    flag = draw.column(table, "flag", key="flag")
    value = draw.rng.choice((1, 1, 0))
    draw.slots["marked"] = "marked as" if value else "not marked as"
    draw.check_filter(table, f"{flag.name} = {value}")
    return f"SELECT {shown(draw, table).name} FROM {table.name} WHERE {flag.name} = {value}"


@easy
def lookup_by_name(draw: Draw) -> str:
    table = draw.table("name", "category|measure|year|date")
    name = draw.column(table, "name", key="name")
    asked = draw.column(table, "category|measure|year|date")
    return f"SELECT {asked.name} FROM {table.name} WHERE {name.name} = {literal(draw.value(table, name))}"


@easy
def lookup_two_by_name(draw: Draw) -> str:
    table = draw.table("name", "category|measure|year|date", "category|measure|year|date")
    name = draw.column(table, "name", key="name")
    first = draw.column(table, "category|measure|year|date")
    second = draw.column(table, "category|measure|year|date", key="other", avoid=(first,))
    value = literal(draw.value(table, name))
    return f"SELECT {first.name}, {second.name} FROM {table.name} WHERE {name.name} = {value}"


def _two_conditions(draw: Draw, table: Table, word: str) -> str:
    first = draw.condition(table, "category", key="one")
    second = draw.condition(table, "category|measure|year", key="two", avoid=(_column_of(table, first),))
    both = f"{first} {word} {second}"
    draw.check_filter(table, both)
    return both


@easy
def select_and(draw: Draw) -> str:
    table = draw.table("name", "category", "category|measure|year")
    where = _two_conditions(draw, table, "AND")
    return f"SELECT {draw.column(table, 'name').name} FROM {table.name} WHERE {where}"


@easy
def count_and(draw: Draw) -> str:
    table = draw.table("category", "category|measure|year")
    return f"SELECT COUNT(*) FROM {table.name} WHERE {_two_conditions(draw, table, 'AND')}"


@easy
def select_or(draw: Draw) -> str:
    table = draw.table("name", "category", "category|measure|year")
    where = _two_conditions(draw, table, "OR")
    return f"SELECT {draw.column(table, 'name').name} FROM {table.name} WHERE {where}"


@easy
def either_category(draw: Draw) -> str:
    table = draw.table("category", SHOWN)
    column = draw.column(table, "category", key="by")
    one = draw.value(table, column, key="value")
    two = draw.value(table, column, key="second", avoid=(one,))
    where = f"{column.name} = {literal(one)} OR {column.name} = {literal(two)}"
    draw.check_filter(table, where)
    asked = shown(draw, table, avoid=(column,))
    return f"SELECT {asked.name} FROM {table.name} WHERE {where}"


@easy
def between(draw: Draw) -> str:
    table = draw.table("measure|year", SHOWN)
    column = draw.column(table, "measure|year", key="by")
    values = {draw.cut(table, column, *BETWEEN_QUANTILES), draw.cut(table, column, *BETWEEN_QUANTILES)}
    low, high = min(values), max(values)
    draw.slots["low"], draw.slots["high"] = str(low), str(high)
    draw.check_filter(table, f"{column.name} BETWEEN {low} AND {high}")
    draw.pick([1] if low < high else [])
    asked = shown(draw, table, avoid=(column,))
    return f"SELECT {asked.name} FROM {table.name} WHERE {column.name} BETWEEN {low} AND {high}"


@easy
def name_prefix(draw: Draw) -> str:
    table = draw.table("name")
    name = draw.column(table, "name", key="name")
    letter = str(draw.value(table, name))[0]
    draw.slots["letter"] = draw.rng.choice((letter, f'"{letter}"', f"'{letter}'"))
    draw.check_filter(table, f"{name.name} LIKE '{letter}%'")
    return f"SELECT {name.name} FROM {table.name} WHERE {name.name} LIKE '{letter}%'"


@easy
def name_contains(draw: Draw) -> str:
    table = draw.table("name")
    name = draw.column(table, "name", key="name")
    word = draw.pick(re.findall(r"[A-Za-z]{3,}", str(draw.value(table, name))))
    draw.slots["word"] = draw.rng.choice((f'"{word}"', f"'{word}'"))
    draw.check_filter(table, f"{name.name} LIKE '%{word}%'")
    return f"SELECT {name.name} FROM {table.name} WHERE {name.name} LIKE '%{word}%'"


@easy
def not_equal(draw: Draw) -> str:
    table = draw.table("category", SHOWN)
    column = draw.column(table, "category", key="by")
    value = literal(draw.value(table, column))
    draw.check_filter(table, f"{column.name} != {value}")
    asked = shown(draw, table, avoid=(column,))
    return f"SELECT {asked.name} FROM {table.name} WHERE {column.name} != {value}"


@easy
def distinct_values(draw: Draw) -> str:
    table = draw.table("category")
    return f"SELECT DISTINCT {draw.column(table, 'category').name} FROM {table.name}"


@easy
def count_distinct(draw: Draw) -> str:
    table = draw.table("category")
    return f"SELECT COUNT(DISTINCT {draw.column(table, 'category').name}) FROM {table.name}"


@easy
def aggregate_all(draw: Draw) -> str:
    table = draw.table("measure")
    column = draw.column(table, "measure")
    return f"SELECT {draw.aggregate(column)}({column.name}) FROM {table.name}"


@easy
def aggregate_where(draw: Draw) -> str:
    table = draw.table("measure", "category|year")
    column = draw.column(table, "measure")
    aggregate = draw.aggregate(column)
    return f"SELECT {aggregate}({column.name}) FROM {table.name} WHERE {draw.condition(table, 'category|year')}"


@easy
def minimum_and_maximum(draw: Draw) -> str:
    table = draw.table("measure")
    column = draw.column(table, "measure").name
    return f"SELECT MIN({column}), MAX({column}) FROM {table.name}"


@easy
def several_aggregates(draw: Draw) -> str:
    table = draw.table("measure")
    column = draw.column(table, "measure").name
    return f"SELECT AVG({column}), MIN({column}), MAX({column}) FROM {table.name}"


@easy
def order_by(draw: Draw) -> str:
    table = draw.table("name", "measure|year|date")
    column = draw.column(table, "measure|year|date", key="by")
    name = draw.column(table, "name")
    return f"SELECT {name.name} FROM {table.name} ORDER BY {column.name}{draw.direction(column)}"


@easy
def order_where(draw: Draw) -> str:
    table = draw.table("category", "measure|year|date", "name")
    condition = draw.condition(table, "category")
    column = draw.column(table, "measure|year|date", key="by")
    name = draw.column(table, "name")
    return f"SELECT {name.name} FROM {table.name} WHERE {condition} ORDER BY {column.name}{draw.direction(column)}"


@easy
def top_rows(draw: Draw) -> str:
    table = draw.table("name", "measure|year|date")
    column = draw.column(table, "measure|year|date", key="by")
    name = draw.column(table, "name")
    order = f"ORDER BY {column.name}{draw.direction(column)}"
    limit = draw.number("n", draw.rng.randint(2, 5))
    draw.check_cut(f"SELECT {column.name} FROM {table.name} {order}", limit)
    return f"SELECT {name.name} FROM {table.name} {order} LIMIT {limit}"


@easy
def top_row(draw: Draw) -> str:
    table = draw.table("measure|year|date", SHOWN)
    column = draw.column(table, "measure|year|date", key="by")
    asked = shown(draw, table, avoid=(column,))
    order = f"ORDER BY {column.name}{draw.direction(column)}"
    draw.check_cut(f"SELECT {column.name} FROM {table.name} {order}", 1)
    return f"SELECT {asked.name} FROM {table.name} {order} LIMIT 1"


@easy
def top_row_where(draw: Draw) -> str:
    table = draw.table("category", "measure|year|date", "name")
    condition = draw.condition(table, "category")
    column = draw.column(table, "measure|year|date", key="by")
    name = draw.column(table, "name")
    order = f"WHERE {condition} ORDER BY {column.name}{draw.direction(column)}"
    draw.check_cut(f"SELECT {column.name} FROM {table.name} {order}", 1)
    return f"SELECT {name.name} FROM {table.name} {order} LIMIT 1"
