"""Wrong queries made from right ones: one edit of gold's tree each, written the way gold is written.

A model that is to prefer gold over a wrong answer must not tell them apart by their form. So the edit is carried over
to gold's own text, token by token: its spacing, its case and its quotes stay, and the result is read again to make sure
that it says what the edited tree says.

Limits: whether a mutation is wrong on a given database is for the judge to say; many are not (a DISTINCT over a key).
Gold longer than `LONGEST` characters, or that sqlglot cannot read, has none.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from sqlglot import exp

from tasks.sql.mutation_rules import RULES, Surroundings
from tasks.sql.parse import parse
from tasks.sql.tokens import tokens

LONGEST = 4000  # characters of a query that is mutated
_COMPARING = frozenset("<>!=")
_NOT = re.compile(r"\bNOT ((?:\w+\.)?\w+) (IN|LIKE|BETWEEN)\b")


@dataclass(frozen=True, slots=True)
class Mutation:
    """A query that differs from gold by one edit, and the rule that made it."""

    rule: str
    sql: str


def mutations(
    sql: str,
    columns: Mapping[str, Sequence[str]],
    texts: Sequence[str] = (),
    dialect: str = "sqlite",
    seed: str = "",
) -> Iterator[Mutation]:
    """Wrong variants of `sql`, each once, the rules taking turns; the same for the same arguments.

    `columns` are the schema's, by table; `texts` are values that other texts are replaced with. Lazy: take as many as
    are needed.
    """
    tree = parse(sql, dialect).tree if len(sql) <= LONGEST else None
    if tree is None or isinstance(tree, exp.Command):
        return
    chance = random.Random(f"{seed}|{sql}")
    lower = {table.lower(): names for table, names in columns.items()}
    aliases = {table.alias_or_name.lower(): table.name.lower() for table in tree.find_all(exp.Table)}
    own = {literal.this for literal in tree.find_all(exp.Literal) if literal.is_string}
    around = Surroundings(lower, aliases, sorted(own | set(texts)), chance)
    nodes = list(tree.walk())
    by_rule = []
    for rule, look in RULES.items():
        edits = [(rule, place, new) for place, node in enumerate(nodes) for new in look(node, around)]
        chance.shuffle(edits)
        by_rule.append(edits)
    chance.shuffle(by_rule)
    identifiers = {name for table in lower.items() for name in (table[0].upper(), *map(str.upper, table[1]))}
    style = _Style(sql, tree.sql(dialect=dialect), dialect, frozenset(identifiers))
    seen = {style.canonical}
    for rule, place, new in (edit for turn in zip_longest(*by_rule) for edit in turn if edit is not None):
        changed = _replace(tree, place, new)
        wrong = changed.sql(dialect=dialect)
        if wrong in seen:
            continue
        seen.add(wrong)
        text = style.apply(wrong)
        if text is not None:
            yield Mutation(rule, text)


def _replace(tree: exp.Expression, place: int, new: exp.Expression | None) -> exp.Expression:
    changed = tree.copy()
    node = next(node for i, node in enumerate(changed.walk()) if i == place)
    if new is None:
        node.pop()
    elif node is changed:
        return new
    else:
        node.replace(new)
    return changed


class _Style:
    """Gold as it is written and as sqlglot writes it; carries edits of the latter over to the former."""

    def __init__(self, gold: str, canonical: str, dialect: str, identifiers: frozenset[str]) -> None:
        bare = gold.strip().rstrip(";").rstrip()
        self.canonical, self._dialect, self._identifiers = canonical, dialect, identifiers
        self._unequal = "<>" if "<>" in bare else "!="
        self._end = gold.strip()[len(bare) :]
        self._gold, self._tokens = _pieces(bare), _pieces(self._usual(canonical))
        self._lower = bool(self._gold) and self._gold[0][1].islower()
        self._place: dict[int, int] = {}  # boundary before the canonical token -> boundary before gold's
        for tag, i1, i2, j1, j2 in _difference(self._tokens, self._gold):
            self._place.update({i1: j1, i2: j2})
            if tag == "equal":
                self._place.update({i1 + k: j1 + k for k in range(i2 - i1 + 1)})

    def apply(self, wrong: str) -> str | None:
        """The text of `wrong` in gold's style; None where it cannot be written so."""
        theirs = _pieces(self._usual(wrong))
        written: list[tuple[str, str]] = []
        gap: str | None = None  # what stood before tokens that were taken away stands before the next one
        for tag, i1, i2, j1, j2 in _difference(self._tokens, theirs):
            if i1 not in self._place or i2 not in self._place:
                return None
            ours = self._gold[self._place[i1] : self._place[i2]]
            new = ours if tag == "equal" else [(before, self._cased(token)) for before, token in theirs[j1:j2]]
            if tag in ("replace", "delete") and ours and gap is None:
                gap = ours[0][0]
            if new and gap is not None:
                new, gap = [(gap, new[0][1]), *new[1:]], None
            written += new
        text = "".join(before + token for before, token in written).strip() + self._end
        tree = parse(text, self._dialect).tree
        return text if tree is not None and tree.sql(dialect=self._dialect) == wrong else None

    def _usual(self, sql: str) -> str:
        """sqlglot writes `NOT a IN (1)` and `a <> 1`, people mostly `a NOT IN (1)` and `a != 1`."""
        return _NOT.sub(r"\1 NOT \2", sql).replace(" <> ", f" {self._unequal} ")

    def _cased(self, token: str) -> str:
        if self._lower and token.isupper() and token.isidentifier() and token not in self._identifiers:
            return token.lower()
        return token


def _pieces(sql: str) -> list[tuple[str, str]]:
    """The tokens of `sql`, each with what stands before it; comparison operators are one token."""
    found: list[tuple[str, str]] = []
    end = 0
    for match in tokens(sql):
        gap, token = sql[end : match.start()], match.group()
        if found and not gap and token in _COMPARING and found[-1][1][-1] in _COMPARING:
            found[-1] = (found[-1][0], found[-1][1] + token)
        else:
            found.append((gap, token))
        end = match.end()
    return found


def _difference(
    ours: Sequence[tuple[str, str]], theirs: Sequence[tuple[str, str]]
) -> list[tuple[str, int, int, int, int]]:
    def key(pieces: Sequence[tuple[str, str]]) -> list[str]:
        return [token if token[0] in "'\"" else token.lower() for _, token in pieces]

    return SequenceMatcher(None, key(ours), key(theirs), autojunk=False).get_opcodes()
