"""Literals of an answer against the words of its question: what begins as a copy goes on as a copy.

Models of a hundred million parameters misspell names they should copy (`Hearst` for `Heathrow`). A literal that begins
unlike any word of the question is left alone: values may be stored otherwise than they are said.
"""

from __future__ import annotations

import re

_BEGINS = 2  # letters of a literal that make it the copy of a word
_SMALL = 2  # digits of a number that may be the answer's own: LIMIT 10, more than twelve
_INFLECTION = 3  # letters of the question's word that may be left out at its end: `student` for "students"


class Copied:
    """The words and numbers of one question."""

    def __init__(self, question: str) -> None:
        self._question = question
        self._numbers = frozenset(re.findall(r"\d+(?:\.\d+)?", question.replace(",", "")))

    def allows_text(self, literal: str) -> bool:
        """Whether a quoted text, perhaps unfinished, agrees with the question as far as it is a copy of it."""
        closed = len(literal) > 1 and (len(literal) - len(literal.rstrip("'"))) % 2 == 1
        value = (literal[1:-1] if closed else literal[1:]).replace("''", "'")
        start = value[:_BEGINS]
        if len(start) < _BEGINS or "%" in value or not start.isalnum():
            return True
        if not re.search(rf"\b{re.escape(start)}", self._question):
            return True
        end = rf"(?!\w{{{_INFLECTION + 1}}})" if closed else ""
        return re.search(rf"\b{re.escape(value)}{end}", self._question) is not None

    def allows_number(self, number: str, unfinished: bool, whole: bool = False) -> bool:
        """Whether a number is small or one of the question's; `whole`: it has no point, as LIMIT asks."""
        if whole and "." in number:
            return False
        if number in self._numbers or number.rstrip("0").rstrip(".") in self._numbers:
            return True
        if unfinished and any(known.startswith(number) for known in self._numbers):
            return True
        return len(number.replace(".", "")) <= _SMALL
