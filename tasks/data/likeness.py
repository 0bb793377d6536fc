"""When two questions or two queries say the same: spellings that are equal for equal meaning, and near questions.

Questions are compared by their content words (stop words aside, plural endings cut) in alphabetical order, by
rapidfuzz's normalised InDel similarity. Candidates come from an index on the rarest words, the prefix filter of
set-similarity joins (Chaudhuri, Ganti and Kaushik 2006), so that the cost grows with the rows, not with their product.

Limits: words, not meanings. Questions that share less than half of their words, however alike in letters, are not
compared. A question told in other words altogether is only found by its SQL, and one whose SQL is
built differently too is not found at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from tasks.sql.tokens import tokens

_NOT_WORD = re.compile(r"[^\w]+")
_WORD = re.compile(r"\w+")
# Words in which the same request differs from speaker to speaker; what is asked of which things stays.
_STOP = frozenset(
    _WORD.findall(
        "a about all also am an and any are as at be been by can could did do does each every find for "
        "from get give had has have having i if in into is it its let list many may me much need now of "
        "on only or out please print question return see select shall should show so some table tell "
        "than that the their them then there these they this those to up us want was we were what when "
        "where which who whom whose will with would you your return report display provide how kindly "
        "retrieve fetch identify "
    )
)
# Ways of asking for the same figure.
_HOW_MANY = re.compile(r"\bhow many\b")
_SAME = {"count": "number", "mean": "average", "unique": "distinct", "different": "distinct"}
_SAME |= dict.fromkeys(("above", "over", "greater", "older"), "more")
_SAME |= dict.fromkeys(("below", "under", "fewer", "younger"), "less")
_SAME |= dict.fromkeys(("max", "maximum", "largest", "biggest", "greatest", "most"), "highest")
_SAME |= dict.fromkeys(("min", "minimum", "smallest", "least", "fewest"), "lowest")
_NAME = re.compile(r"\w+")
_TABLE_AHEAD = frozenset({"from", "join", "update", "into"})
_NO_ALIAS = frozenset(
    _WORD.findall(
        "select from join inner left right full outer cross natural on using where group by having order "
        "limit offset union intersect except as and or not in set values window "
    )
)
_SILENT = frozenset({"inner", "outer", "asc", ";"})


def plain_words(text: str) -> str:
    """The words of a text, lower case, one space between them."""
    return _NOT_WORD.sub(" ", text.lower()).strip()


def content_words(text: str) -> tuple[str, ...]:
    """The words that carry a question, each once, in alphabetical order; all words when no other are left."""
    words = _WORD.findall(_HOW_MANY.sub("number", text.lower()))
    carrying = {_SAME.get(word) or _stem(word) for word in words if word not in _STOP}
    return tuple(sorted(carrying or set(words)))


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=16384)
def sql_spelling(sql: str) -> str:
    """A statement in one spelling: white space, case outside strings, comments and optional signs aside."""
    return " ".join(_spelled(sql))


def _spelled(sql: str) -> list[str]:
    parts: list[str] = []
    for token in tokens(sql):
        text, kind = token.group(), token.lastgroup
        if kind == "name" and (text[0] != '"' or _NAME.fullmatch(text[1:-1])):
            text = text[1:-1].lower()
        elif kind == "name":  # SQLite reads what names no column as a string, and so do people who write it
            text = "'" + text[1:-1].replace('""', '"') + "'"
        elif kind != "string":
            text = text.lower()
        if text == ">" and parts and parts[-1] == "<":
            parts[-1:], text = ["!"], "="
        if text == "=" and parts and parts[-1] == "=":
            continue
        parts.append(text)
    while parts and parts[-1] == ";":
        parts.pop()
    return parts


@lru_cache(maxsize=16384)
def sql_parts(sql: str) -> str:
    """What a query is made of, in alphabetical order: aliases, qualifiers, quotes and the order of parts aside.

    Two different queries may agree (`a > b` and `b > a`): good for a suspicion of contamination, not for a verdict of
    equality.
    """
    spelled = _spelled(sql)
    kept: list[str] = []
    position = 0
    while position < len(spelled):
        text = spelled[position]
        after = spelled[position + 1] if position + 1 < len(spelled) else ""
        before = kept[-1] if kept else ""
        if after == "." and _NAME.fullmatch(text):
            position += 2
            continue
        if text == "as" and _NAME.fullmatch(after) and not _opens(spelled, position + 2):
            position += 2
            continue
        if text not in _SILENT:
            kept.append(text.strip("'").lower())
            if before in _TABLE_AHEAD and _NAME.fullmatch(after) and after not in _NO_ALIAS:
                position += 1  # an alias without AS
        position += 1
    return " ".join(sorted(kept))


def _opens(spelled: list[str], position: int) -> bool:
    return position < len(spelled) and spelled[position] == "("


class NearQuestions:
    """Questions to be recognised in other words: those whose content words are at least `similarity` (0 to 1) alike."""

    def __init__(self, questions: Iterable[str], similarity: float) -> None:
        self._least = 100 * similarity
        self._sets = list(dict.fromkeys(filter(None, map(content_words, questions))))
        self._rarity = Counter(word for words in self._sets for word in words)
        self._texts = [" ".join(words) for words in self._sets]
        self._by_word: dict[str, list[int]] = {}
        for number, words in enumerate(self._sets):
            for word in self._prefix(words):
                self._by_word.setdefault(word, []).append(number)
        self._known: dict[tuple[str, ...], bool] = {}

    def _prefix(self, words: tuple[str, ...]) -> list[str]:
        """The rarest words of a set: two sets that share half of the larger one have one of these in common."""
        return sorted(words, key=lambda word: (self._rarity[word], word))[: len(words) // 2 + 1]

    def near(self, question: str) -> bool:
        """Whether one of the questions has (nearly) the content words of this one; answers are kept, by those words."""
        words = content_words(question)
        found = self._known.get(words)
        if found is None:
            found = self._known[words] = self._search(words)
        return found

    def _search(self, words: tuple[str, ...]) -> bool:
        from rapidfuzz import fuzz

        text = " ".join(words)
        candidates = {number for word in self._prefix(words) for number in self._by_word.get(word, ())}
        return any(fuzz.ratio(text, self._texts[number], score_cutoff=self._least) for number in candidates)
