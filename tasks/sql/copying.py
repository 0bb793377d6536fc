"""Literals of an answer against the words of its question: what begins as a copy goes on as a copy.

Models of a hundred million parameters misspell names they should copy (`Hearst` for `Heathrow`). A literal that begins
unlike any word of the question is left alone: values may be stored otherwise than they are said. For the same reason
case, spaces and marks are not compared, and a word may be inflected.
"""

from __future__ import annotations

import re

_BEGINS = 2  # letters of a literal that make it the copy of a word
_SMALL = 2  # digits of a number that may be the answer's own: LIMIT 10, more than twelve
_INFLECTION = 3  # letters that a copy may lack of the question's word, or have beyond it: `student` for "students"
_LONGEST = 200  # characters of a literal
_LOOP = re.compile(r"([^\d\s]+[^\d]{0,12}?)\1{3}")  # the same four times over: the model has lost itself
_WORD = re.compile(r"[^\W_]+")


class Copied:
    """The words and numbers of one question."""

    def __init__(self, question: str) -> None:
        self._question = question
        self._numbers = frozenset(re.findall(r"\d+(?:\.\d+)?", question.replace(",", "")))
        self._words = _WORD.findall(question.lower())

    def has_numbers(self) -> bool:
        """Whether the question names any."""
        return bool(self._numbers)

    def allows_text(self, literal: str) -> bool:
        """Whether a quoted text, perhaps unfinished, agrees with the question as far as it is a copy of it."""
        quote = literal[0]
        closed = len(literal) > 1 and (len(literal) - len(literal.rstrip(quote))) % 2 == 1
        value = (literal[1:-1] if closed else literal[1:]).replace(quote * 2, quote)
        if len(value) > _LONGEST or _LOOP.search(value):
            return False
        start = value[:_BEGINS]
        if len(start) < _BEGINS or "%" in value or not start.isalnum():
            return True
        if not re.search(rf"\b{re.escape(start)}", self._question):
            return True
        words = _WORD.findall(value.lower())
        if words[0].isdigit():  # a date may be written otherwise than it is said
            words, closed = words[:1], False
        return any(self._is_copy(words, at, closed) for at in range(len(self._words)))

    def _is_copy(self, words: list[str], at: int, closed: bool) -> bool:
        """Whether `words` are those of the question from `at` on, the last one perhaps unfinished or inflected."""
        said = self._words[at : at + len(words)]
        if len(said) < len(words) or said[:-1] != words[:-1]:
            return False
        last, meant = words[-1], said[-1]
        if last.startswith(meant):
            return len(last) - len(meant) <= _INFLECTION
        return meant.startswith(last) and (not closed or len(meant) - len(last) <= _INFLECTION)

    def allows_number(self, number: str, unfinished: bool, whole: bool = False) -> bool:
        """Whether a number is small or one of the question's; `whole`: it has no point, as LIMIT asks."""
        if whole and "." in number:
            return False
        if number in self._numbers or number.rstrip("0").rstrip(".") in self._numbers:
            return True
        if unfinished and any(known.startswith(number) for known in self._numbers):
            return True
        return len(number.replace(".", "")) <= _SMALL
