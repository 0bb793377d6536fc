"""The outline of a query: its clauses as sets of short texts that can be compared, literals and spelling set aside.

Columns are written `table.column` where that can be known, aliases are resolved, foreign keys make their columns one,
literals become `?` and are kept beside. Two outlines are compared by `tasks.evaluation.spider_match` (are they the
same?) and `tasks.evaluation.differences` (what is different?).

Limits: a table that is joined to itself is one name; of a set operation, ORDER BY and LIMIT are its last branch's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from sqlglot import exp

from tasks.sql.catalogue import Catalogue, catalogue_of
from tasks.sql.outline_parts import LITERAL, Condition, Outline, Output
from tasks.sql.parse import parse
from tasks.sql.walking import conditions_of, sources_of, unwrapped

QUERY = "(query)"
_FLIPPED: dict[str, str] = {"gt": "lt", "lt": "gt", "gte": "lte", "lte": "gte", "eq": "eq", "neq": "neq"}


@lru_cache(maxsize=8192)
def outline_of(sql: str, dialect: str, schema: str, database: str | None = None) -> Outline | None:
    """The outline of a query on the DDL `schema` or the file `database`; None when `sql` is no query that parses."""
    tree = parse(sql, dialect).tree
    if tree is None or not isinstance(unwrapped(tree), (exp.Select, exp.SetOperation)):
        return None
    try:
        return _Reader(catalogue_of(schema, dialect, database)).query(tree)
    except RecursionError:
        return None


class _Scope:
    """The names one SELECT can use: alias -> table (None for a query in brackets), output name -> expression."""

    def __init__(self) -> None:
        self.sources: dict[str, str | None] = {}
        self.outputs: dict[str, exp.Expression] = {}


class _Reader:
    """Reads one statement; `_literals`, `_queries`, `_aggregates` collect what `_text` meets."""

    def __init__(self, catalogue: Catalogue | None) -> None:
        self._catalogue = catalogue
        self._scopes: list[_Scope] = []
        self._made: set[str] = set()  # names of common table expressions
        self._literals: list[str] = []
        self._queries: list[Outline] = []
        self._aggregates: list[str] = []
        self._distinct = False

    def query(self, tree: exp.Expression) -> Outline:
        tree = unwrapped(tree)
        common = self._common(tree)
        branches: list[tuple[str, exp.Select]] = []
        order, limit = tree.args.get("order"), tree.args.get("limit")
        self._flatten(tree, "", branches)
        outlines = [self._select(select) for _, select in branches]
        if len(outlines) > 1 and (order is not None or limit is not None):
            self._scopes.append(_Scope())
            outlines[-1] = replace(outlines[-1], order=self._order(order), limit=_limit(limit))
            self._scopes.pop()
        found = outlines[-1]
        for (operator, _), before in zip(branches[:0:-1], outlines[-2::-1], strict=True):
            found = replace(before, operator=operator, other=found)
        return replace(found, common=common)

    def _common(self, tree: exp.Expression) -> tuple[Outline, ...]:
        clause = tree.args.get("with_") or tree.args.get("with")
        found = []
        for cte in clause.expressions if clause is not None else []:
            self._made.add(cte.alias.lower())
            if isinstance(unwrapped(cte.this), (exp.Select, exp.SetOperation)):
                found.append(self.query(cte.this))
        return tuple(found)

    def _flatten(self, tree: exp.Expression, operator: str, branches: list[tuple[str, exp.Select]]) -> None:
        tree = unwrapped(tree)
        if isinstance(tree, exp.SetOperation):
            self._flatten(tree.this, operator, branches)
            self._flatten(tree.expression, tree.key if tree.args.get("distinct") else f"{tree.key} all", branches)
        elif isinstance(tree, exp.Select):
            branches.append((operator, tree))
        else:  # VALUES
            branches.append((operator, exp.Select(expressions=[exp.Star()])))

    def _select(self, select: exp.Select) -> Outline:
        scope = _Scope()
        tables: list[str] = []
        derived: list[Outline] = []
        sources = sources_of(select)
        for source in sources:
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
                name = source.name.lower()
                tables.append(name)
                scope.sources[source.alias_or_name.lower()] = None if name in self._made else name
            else:
                scope.sources[source.alias_or_name.lower()] = None
                if isinstance(unwrapped(source), (exp.Select, exp.SetOperation)):
                    derived.append(self.query(source))
        self._scopes.append(scope)
        try:
            return self._clauses(select, scope, tuple(sorted(tables)), tuple(derived))
        finally:
            self._scopes.pop()

    def _clauses(
        self, select: exp.Select, scope: _Scope, tables: tuple[str, ...], derived: tuple[Outline, ...]
    ) -> Outline:
        links, sides, on = self._joins(select, tables)
        outputs = tuple(self._output(item) for item in select.expressions)
        where, connectors = self._conditions(select.args.get("where"))
        scope.outputs = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}
        having, more = self._conditions(select.args.get("having"))
        group = select.args.get("group")
        return Outline(
            tables=tables,
            derived=derived,
            sides=sides,
            links=links,
            distinct=select.args.get("distinct") is not None,
            outputs=outputs,
            on=on,
            where=where,
            connectors=connectors | more,
            group=tuple(sorted(self._text(key) for key in group.expressions)) if group is not None else (),
            having=having,
            order=self._order(select.args.get("order")),
            limit=_limit(select.args.get("limit")),
        )

    def _joins(
        self, select: exp.Select, tables: tuple[str, ...]
    ) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[Condition, ...]]:
        links: list[tuple[str, str]] = []
        sides: list[str] = []
        rest: list[Condition] = []
        for join in select.args.get("joins") or []:
            if join.side:
                sides.append(join.side.lower())
            for column in join.args.get("using") or []:
                name = column.name.lower()
                holders = [self._linked(f"{table}.{name}") for table in tables if self._has(table, name)]
                links += pairwise(holders)
            on = join.args.get("on")
            for leaf in conditions_of(on)[0] if on is not None else []:
                condition = self._condition(leaf)
                if condition.joins is not None:
                    links.append(condition.joins)
                else:
                    rest.append(condition)
        return tuple(sorted(links)), tuple(sorted(sides)), tuple(rest)

    def _output(self, item: exp.Expression) -> Output:
        self._aggregates, self._distinct = [], False
        text = self._text(item.unalias())
        return Output(text, tuple(self._aggregates), self._distinct)

    def _order(self, order: exp.Expression | None) -> tuple[tuple[str, bool], ...]:
        keys = order.expressions if order is not None else []
        return tuple((self._text(key.this), bool(key.args.get("desc"))) for key in keys)

    def _conditions(self, clause: exp.Expression | None) -> tuple[tuple[Condition, ...], frozenset[str]]:
        if clause is None:
            return (), frozenset()
        leaves, ands, ors = conditions_of(clause.this)
        connectors = frozenset(name for name, count in (("and", ands), ("or", ors)) if count)
        return tuple(self._condition(leaf) for leaf in leaves), connectors

    def _condition(self, leaf: exp.Expression) -> Condition:
        negated = False
        while isinstance(leaf, (exp.Not, exp.Paren)):
            negated ^= isinstance(leaf, exp.Not)
            leaf = leaf.this
        kept = self._literals, self._queries
        self._literals, self._queries = [], []
        operator, first = leaf.key, leaf.this if isinstance(leaf.this, exp.Expression) else leaf
        others = [] if first is leaf else _parts(leaf)[1:]
        left = self._text(first)
        right = [self._value(part) for part in others]
        if left == LITERAL and len(right) == 1 and operator in _FLIPPED:
            left, right, operator = right[0], [left], _FLIPPED[operator]
        literals = sorted(self._literals) if operator in ("in", "between") else self._literals
        if operator == "in":
            right = sorted(set(right))
        found = Condition(negated, operator, left, tuple(right), tuple(literals), tuple(self._queries))
        self._literals, self._queries = kept
        return found

    def _value(self, node: exp.Expression) -> str:
        """The right side of a comparison, where `"text"` that names no column is text, as SQLite reads it."""
        if isinstance(node, exp.Column) and node.this.quoted and not node.table:
            known = self._catalogue is not None and node.name.lower() in self._catalogue.columns
            if not known:
                self._literals.append(node.name)
                return LITERAL
        return self._text(node)

    def _text(self, node: exp.Expression) -> str:
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Literal):
            self._literals.append(node.name if node.is_string else _number(node.name))
            return LITERAL
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
            self._literals.append("-" + _number(node.this.name))
            return LITERAL
        if isinstance(node, exp.Identifier):
            return node.name.lower()
        if isinstance(node, exp.Paren):
            return self._text(node.this)
        if isinstance(node, (exp.Subquery, exp.Select, exp.SetOperation)):
            if isinstance(unwrapped(node), (exp.Select, exp.SetOperation)):
                self._queries.append(self.query(node))
            return QUERY
        if isinstance(node, exp.Star):
            return "*"
        if isinstance(node, exp.Distinct):
            self._distinct = True
            return ",".join(self._text(part) for part in _parts(node))
        name = node.name.lower() if isinstance(node, (exp.Anonymous, exp.DataType, exp.Var)) else node.key
        if isinstance(node, exp.AggFunc):
            self._aggregates.append(name)
        return f"{name}({','.join(self._text(part) for part in _parts(node))})"

    def _column(self, node: exp.Column) -> str:
        name, qualifier = node.name.lower() or "*", node.table.lower()
        if qualifier:
            for scope in reversed(self._scopes):
                if qualifier in scope.sources:
                    table = scope.sources[qualifier]
                    return self._linked(f"{table}.{name}") if table else name
            return f"{qualifier}.{name}"
        scope = self._scopes[-1]
        for scope in reversed(self._scopes):
            for table in scope.sources.values():
                if table is not None and self._has(table, name):
                    return self._linked(f"{table}.{name}")
        named = self._scopes[-1].outputs.pop(name, None)  # taken out while it is read: it may use its own name
        if named is not None:
            text = self._text(named)
            self._scopes[-1].outputs[name] = named
            return text
        tables = list(self._scopes[-1].sources.values())
        alone = len(tables) == 1 and tables[0] is not None
        return f"{tables[0]}.{name}" if alone and not self._catalogue else name

    def _has(self, table: str, column: str) -> bool:
        return self._catalogue is not None and column in self._catalogue.tables.get(table, ())

    def _linked(self, column: str) -> str:
        return self._catalogue.linked.get(column, column) if self._catalogue is not None else column


def _parts(node: exp.Expression) -> list[exp.Expression]:
    found = []
    for value in node.args.values():
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, exp.Expression)]
        elif isinstance(value, exp.Expression):
            found.append(value)
    return found


def _limit(limit: exp.Expression | None) -> str | None:
    if limit is None:
        return None
    count = limit.args.get("expression") or limit.args.get("count")
    return count.sql() if count is not None else ""


def _number(text: str) -> str:
    try:
        return f"{float(text):.15g}"
    except ValueError:
        return text
