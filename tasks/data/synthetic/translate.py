"""From the SQL that shapes write to the SQL of a user's database: its real names, its dialect; and what to refuse."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from tasks.data.synthetic.draw import NoFit
from tasks.sql.tokens import TOKEN

if TYPE_CHECKING:
    from tasks.data.synthetic.survey import Survey


def to_real(sql: str, found: Survey, dialect: str) -> str:
    """`sql` with the database's own names and in its dialect; NoFit when sqlglot cannot say it there."""
    names = found.plain.written
    named = TOKEN.sub(
        lambda match: names.get(match.group(), match.group()) if match.lastgroup == "word" else match.group(), sql
    )
    if dialect == "sqlite":
        return named
    try:
        tree = sqlglot.parse_one(named, read="sqlite")
    except sqlglot.errors.SqlglotError:
        raise NoFit from None
    booleans = {names.get(name, name).strip('"') for name in found.booleans}
    for node in list(tree.walk()):
        if isinstance(node, exp.Ordered):
            node.set("nulls_first", bool(node.args.get("desc")))  # as PostgreSQL has it: no NULL is ever ordered by
        elif isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and node.this.name in booleans:
            node.set("expression", exp.Boolean(this=node.expression.name == "1"))
        elif isinstance(node, exp.Subquery) and isinstance(node.parent, exp.From) and not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier("found")))  # PostgreSQL before 16 asks for a name
    return tree.sql(dialect)


def groups_unseen_nulls(sql: str, missing: Set[str]) -> bool:
    """Whether the query groups by a column with NULLs where the answer does not show the group, as in a count of
    groups."""
    tree = sqlglot.parse_one(sql, read="sqlite")
    for group in tree.find_all(exp.Group):
        if group.parent is not tree and any(column.name in missing for column in group.find_all(exp.Column)):
            return True
    return False


def has_set_operation(sql: str) -> bool:
    """Whether the query joins two by UNION, INTERSECT or EXCEPT."""
    return any(word in sql for word in (" UNION ", " INTERSECT ", " EXCEPT "))
