"""Constrained decoding: the most probable token that keeps an answer within its schema.

Greedy decoding takes the model's best token at every step; here a token is taken only if the text with it may still
become a statement over the question's schema (`tasks.sql.continuation`), and the answer ends only where SQLite prepares
it. PICARD (Scholak et al. 2021) does the same with a parser. Base, challenger and champion are asked the same way.

Limits: only the `CANDIDATES` best tokens of a step are tried; where none of them fits the row goes on unconstrained,
and after `REFUSALS` refused ends it may end as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from transformers import LogitsProcessor

from infra.errors import UserError
from tasks.data.prompts import PromptSpec
from tasks.data.rendering import render_ddl
from tasks.data.schema import parse_schema
from tasks.sql.continuation import Continuation

_LAST_WORD = re.compile(r"[^\W\d]\w*$")
CANDIDATES = (32, 512)  # tried first, and where none of these fits
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


class SchemaConstraint(LogitsProcessor):
    """Keeps every row of a batch within its rule; a row whose rule is None is decoded greedily.

    `start` is the prompt's width in tokens, `ends` are the tokens that end an answer; `complete` says whether a text
    holds a whole statement.
    """

    def __init__(
        self,
        rules: Sequence[Continuation | None],
        tokenizer: Any,
        start: int,
        ends: Sequence[int],
        complete: Callable[[str], bool],
    ) -> None:
        self._rules = list(rules)
        self._tokenizer, self._start, self._ends, self._complete = tokenizer, start, frozenset(ends), complete
        self._refused = [0] * len(rules)
        self._encoded: dict[str, list[int]] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best = scores.topk(min(CANDIDATES[0], scores.shape[-1]), dim=-1).indices.tolist()
        answers = input_ids[:, self._start :].tolist()
        for row, rule in enumerate(self._rules):
            if rule is None:
                continue
            if not self._ends.isdisjoint(answers[row]):
                self._rules[row] = None
                continue
            token = self._first_allowed(row, rule, answers[row], best[row])
            if token is None:
                more = scores[row].topk(min(CANDIDATES[1], scores.shape[-1])).indices[len(best[row]) :].tolist()
                token = self._first_allowed(row, rule, answers[row], more)
            if token is None:
                self._rules[row] = None
            elif token != best[row][0]:
                scores[row, token] = scores[row, best[row][0]] + 1
        return scores

    def _first_allowed(self, row: int, rule: Continuation, answer: list[int], candidates: list[int]) -> int | None:
        for place, token in enumerate(candidates):
            if token in self._ends:
                if rule.completes(self._tokenizer.decode(answer)) or (place == 0 and self._gives_up(row)):
                    return token
                continue
            tokens = [*answer, token]
            text = self._tokenizer.decode(tokens)
            if not rule.allows(text) or (self._complete(text) and not rule.completes(text)):
                continue
            if self._is_on_the_way(rule, tokens, text):
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
        return any(self._encode(space + name)[: len(tail)] == tail for name in names)

    def _encode(self, text: str) -> list[int]:
        if text not in self._encoded:
            self._encoded[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._encoded[text]

    def _gives_up(self, row: int) -> bool:
        """Count a refused end; after some the row may end as it stands, so that none runs to its limit."""
        self._refused[row] += 1
        return self._refused[row] > REFUSALS
