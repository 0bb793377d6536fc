"""Constrained decoding: the most probable token that keeps an answer within its schema.

Greedy decoding takes the model's best token at every step; here a token is taken only if the text with it may still
become a statement over the question's schema (`tasks.sql.continuation`), and the answer ends only where SQLite prepares
it. PICARD (Scholak et al. 2021) does the same with a parser. Base, challenger and champion are asked the same way.

A name is written in the tokens that the tokenizer gives it; where none of these is left, any that spell it will do.
Where no token at all fits, what was written cannot become a statement any more: the answer ends there. It ends as well
where the model wants it to once more after `REFUSALS` refusals. Both are told (`SchemaConstraint.gave_up`).

Limits: no way back; what was written stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from infra.errors import UserError
from tasks.data.prompts import PromptSpec
from tasks.data.rendering import render_ddl
from tasks.data.schema import parse_schema
from tasks.sql.continuation import Continuation

_LAST_WORD = re.compile(r"[^\W\d]\w*$")
CANDIDATES = (32, 512)  # tried first, and where none of these fits; after them the whole vocabulary
REFUSALS = 3


def continuation(spec: PromptSpec, schema: str, question: str) -> Continuation | None:
    """The rule for one question's answer; None when the spec asks for greedy decoding.

    None as well where SQLite cannot build the schema, even rewritten: then there is nothing to hold the answer to.
    """
    if spec.decoding == "greedy":
        return None
    with suppress(UserError):  # SQLite cannot build it as it stands: the next line tries once more
        return Continuation(schema, question)
    with suppress(UserError):  # a schema of another dialect, as SQLite would write it; if not that either, no rule
        return Continuation(render_ddl(parse_schema(schema)), question)
    return None


class SchemaConstraint:
    """The next tokens of answers, each kept within its own rule; an answer whose rule is None is decoded greedily.

    `rules` are numbered as the prompts are, `ends` are the tokens that end an answer; `complete` says whether a text
    holds a whole statement.
    """

    def __init__(
        self,
        rules: Sequence[Continuation | None],
        tokenizer: Any,
        ends: Collection[int],
        complete: Callable[[str], bool],
    ) -> None:
        self._rules = list(rules)
        self._tokenizer, self._ends, self._complete = tokenizer, ends, complete
        self._refused = [0] * len(rules)
        self._encoded: dict[str, list[int]] = {}
        self._spelt: dict[int, str] = {}
        self.gave_up: set[int] = set()  # numbers of the rules that had to be given up

    def choose(self, rows: Sequence[int], answers: Sequence[list[int]], scores: Any) -> list[int]:
        """The next token for the prompts `rows`, which have `answers` so far; `scores` is (rows, vocabulary)."""
        if all(self._rules[row] is None for row in rows):
            return scores.argmax(dim=-1).tolist()
        best = scores.topk(min(CANDIDATES[0], scores.shape[-1]), dim=-1).indices.tolist()
        return [self._token(*each) for each in zip(rows, answers, best, scores, strict=True)]

    def _token(self, row: int, answer: list[int], best: list[int], scores: Any) -> int:
        rule = self._rules[row]
        if rule is None:
            return best[0]
        if best[0] in self._ends and not rule.completes(self._tokenizer.decode(answer)) and self._gives_up(row):
            return best[0]
        token = self._first_allowed(rule, answer, best)
        if token is None:
            more = scores.topk(min(CANDIDATES[1], len(scores))).indices[len(best) :].tolist()
            token = self._first_allowed(rule, answer, more)
        if token is None:
            token = self._first_of_all(rule, answer, scores)
        if token is None:  # better a name in other tokens than the model would take than none
            token = self._first_allowed(rule, answer, [*best, *more], astray=True)
        if token is None:
            self._rules[row] = None
            self.gave_up.add(row)
            return max(self._ends, key=lambda end: float(scores[end]))
        return token

    def _first_of_all(self, rule: Continuation, answer: list[int], scores: Any) -> int | None:
        """The best token of the vocabulary that is allowed; whatever begins alike is refused at once."""
        begun = self._tokenizer.decode(answer)
        known = {"": True}  # beginnings of tokens -> whether the answer may go on with them
        for token in scores.argsort(descending=True).tolist():
            spelt = self._spelling(token)
            for end in range(1, len(spelt) + 1):
                if spelt[:end] not in known:
                    known[spelt[:end]] = rule.allows(begun + spelt[:end])
                if not known[spelt[:end]]:
                    break
            else:
                if spelt and self._first_allowed(rule, answer, [token]) is not None:
                    return token
        return None

    def _spelling(self, token: int) -> str:
        if token not in self._spelt:
            # Behind another one: tokenizers like Llama's drop the space that a text begins with.
            before = self._encode("x")[-1:]
            self._spelt[token] = self._tokenizer.decode([*before, token])[len(self._tokenizer.decode(before)) :]
        return self._spelt[token]

    def _first_allowed(
        self, rule: Continuation, answer: list[int], candidates: list[int], astray: bool = False
    ) -> int | None:
        for token in candidates:
            if token in self._ends:
                if rule.completes(self._tokenizer.decode(answer)):
                    return token
                continue
            tokens = [*answer, token]
            text = self._tokenizer.decode(tokens)
            if not rule.allows(text) or (self._complete(text) and not rule.completes(text)):
                continue
            if astray or self._is_on_the_way(rule, tokens, text):
                return token
        return None

    def _is_on_the_way(self, rule: Continuation, tokens: list[int], text: str) -> bool:
        """Whether the last word's tokens are those the tokenizer gives to a word it may become.

        `parking` + `_` + `area` spells the beginning of `parking_areas`, but the model knows that name as `parking` +
        `_` + `areas`: after the wrong beginning it would never find the end.
        """
        names = rule.names(text)
        if names is None:
            return True
        length = len(_LAST_WORD.search(text).group())  # names() found this word
        tail: list[int] = []
        while tokens and len(self._tokenizer.decode(tail).lstrip()) < length:
            tail.insert(0, tokens[len(tokens) - len(tail) - 1])
        spelt = self._tokenizer.decode(tail)
        if len(spelt.lstrip()) > length:  # the tokenizer joins letters with the mark before them: nothing to compare
            return True
        space = " " if spelt.startswith(" ") else ""
        return any(self._encode(space + name)[: len(tail)] == tail and rule.becomes(text, name) for name in names)

    def _encode(self, text: str) -> list[int]:
        if text not in self._encoded:
            self._encoded[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._encoded[text]

    def _gives_up(self, row: int) -> bool:
        """Count a refused end; after some the row may end as it stands, so that none runs to its limit."""
        self._refused[row] += 1
        if self._refused[row] > REFUSALS:
            self.gave_up.add(row)
        return row in self.gave_up
