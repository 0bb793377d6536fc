"""Questions in other words, for the repeats of a row: only how the request is opened changes, never what is asked.

A rule says which openings ask for the same thing whatever follows, so that the query stays the answer as it stands.
Names of tables, limits and orders are left alone: to change them is to ask something else.
"""

from __future__ import annotations

import re

from tasks.data.likeness import plain_words

# Openings that can take each other's place, as what they match and what is written.
_THE = ("Show me the", "Give me the", "Find the", "List the", "Tell me the", "Return the")
_RULES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (
        re.compile(
            r"(?:what (?:is|are)|(?:please )?(?:show|give|tell|find|list|return|display|get)(?: me)?)"
            r" the (?P<rest>[^?]+)[?.]?\s*",
            re.IGNORECASE,
        ),
        tuple(f"{opening} {{rest}}." for opening in _THE),
    ),
    (
        re.compile(r"(?:how many (?P<rest>[^?]+?) are there|count the (?P<also>[^?.]+))[?.]?\s*", re.IGNORECASE),
        ("Count the {rest}.", "How many {rest} are there?", "Tell me how many {rest} there are."),
    ),
)


def reworded(question: str, number: int) -> str:
    """The `number`-th (from 1) other wording of a question, over and over; the question itself where no rule fits."""
    for pattern, forms in _RULES:
        match = pattern.fullmatch(question.strip())
        if match:
            rest = next(text for text in match.groups() if text).rstrip(" .")
            wordings = (form.format(rest=rest) for form in forms)
            others = [text for text in wordings if plain_words(text) != plain_words(question)]
            return others[(number - 1) % len(others)]
    return question
