"""Phrasings: how a question is worded, and which wordings training never sees.

A phrasing is one line of phrasings/*.yaml. `{slot}` is filled by the shape; where a slot has several synonyms one is
drawn. `[a|b]` draws one of its parts. Hold-out works by phrasing and shape: a wording kept from training for one
shape may resemble a wording that another shape does train on. English only; plurals and articles by rule.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import yaml

from infra.errors import UserError

FOLDER = Path(__file__).parent / "phrasings"
HELD_OUT_SHARE = 0.25
HELD_OUT_MINIMUM = 2
MASS_NOUNS = frozenset(
    {"revenue", "staff", "equipment", "software", "mileage", "rainfall", "money", "pay", "weather", "horsepower"}
)
_IRREGULAR_PAIRS = (
    "person people, child children, man men, woman women, foot feet, status statuses, bus buses, gas gases, "
    "class classes, alias aliases, series series, species species, aircraft aircraft, "
    "chassis chassis, crisis crises, analysis analyses"
)
IRREGULAR: dict[str, str] = dict(pair.split() for pair in _IRREGULAR_PAIRS.split(", "))
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_PREPOSITIONS = r" (?:of|in|per|at|on|for|from|to|by|with) "
# `calories burned`, `amount sold in kilograms`: a participle after the head stays as it is (`speed`, `bed` are none).
_PARTICIPLE = rf" (?:\w{{3,}}(?<!e)ed|sold|won|paid|built|held|spent|lost|open)(?={_PREPOSITIONS}|$)"
_HEAD_ENDS = re.compile(rf"{_PREPOSITIONS}|{_PARTICIPLE}")


@lru_cache(maxsize=1)
def load_phrasings() -> dict[str, tuple[str, ...]]:
    """All phrasings by shape id, in file order. Raises UserError when a shape is worded in two files."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        # BaseLoader: every scalar is text, also `yes` and `1`.
        for shape, text in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader).items():
            if shape in found:
                raise UserError(f"{path.name}: shape {shape} already has phrasings in another file; keep one list")
            found[shape] = tuple(line.strip() for line in text.splitlines() if line.strip())
    return found


@lru_cache(maxsize=1024)
def held_out(shape_id: str) -> frozenset[int]:
    """The phrasings of a shape that training never sees: a quarter, at least two, by hash of (shape, index)."""
    count = len(load_phrasings()[shape_id])
    by_hash = sorted(range(count), key=lambda i: hashlib.sha256(f"{shape_id}/{i}".encode()).digest())
    return frozenset(by_hash[: max(HELD_OUT_MINIMUM, round(count * HELD_OUT_SHARE))])


def is_held_out(shape_id: str, index: int) -> bool:
    """Whether phrasing `index` of a shape is kept for test rows."""
    return index in held_out(shape_id)


def slots_of(template: str) -> frozenset[str]:
    """The slot names in a phrasing."""
    return frozenset(_SLOT.findall(template))


def fill_phrasing(template: str, slots: Mapping[str, str | tuple[str, ...]], rng: random.Random) -> str:
    """The question: choices drawn, slots filled, first letter capital. KeyError when the shape lacks a slot."""

    def slot(match: re.Match[str]) -> str:
        value = slots[match[1]]
        return value if isinstance(value, str) else rng.choice(value)

    text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template)
    # A sentence begins with a capital: marked before slots are filled, as a value may hold a full stop.
    text = re.sub(r"(^|[.?:!] )(?=\{show\})", r"\1^", text)
    text = re.sub(r"\s+", " ", _SLOT.sub(slot, text)).strip()
    text = re.sub(r"\^(.)", lambda match: match[1].upper(), text)
    if text.startswith("Can you tell me") and text.endswith("."):
        text = f"{text[:-1]}?"
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=4096)
def _split_head(label: str) -> tuple[str, str]:
    """`date of birth` -> (`date`, ` of birth`): English inflects the head."""
    match = _HEAD_ENDS.search(label)
    return (label[: match.start()], label[match.start() :]) if match else (label, "")


@lru_cache(maxsize=4096)
def is_plural(label: str) -> bool:
    """Whether a label already is a plural (the last word of the head decides)."""
    word = _split_head(label)[0].rsplit(" ", 1)[-1].lower()
    return word.endswith("s") and not word.endswith(("ss", "us", "is", "as")) and word not in IRREGULAR


@lru_cache(maxsize=4096)
def plural(label: str) -> str:
    """`date of birth` -> `dates of birth`, `city` -> `cities`."""
    head, rest = _split_head(label)
    start, space, word = head.rpartition(" ")
    if is_plural(label) or word.lower() in MASS_NOUNS:
        return label
    if word.lower() in IRREGULAR:
        word = IRREGULAR[word.lower()]
    elif re.search(r"[^aeiou]y$", word):
        word = word[:-1] + "ies"
    elif word.endswith(("s", "x", "z", "ch", "sh")):
        word += "es"
    else:
        word += "s"
    return f"{start}{space}{word}{rest}"


@lru_cache(maxsize=4096)
def with_article(label: str) -> str:
    """`an hourly rate`, `a unit`; plurals and mass nouns stay bare."""
    if is_plural(label) or _split_head(label)[0].rsplit(" ", 1)[-1].lower() in MASS_NOUNS:
        return label
    lower = label.lower()
    vowel = lower[0] in "aeiou" and not re.match(r"(?:uni|use|usa|euro|one\b|once)", lower)
    silent_h = lower.startswith(("hour", "honor", "honour", "heir"))
    letters = label[:2].isupper() and label[0] in "FHLMNRSX"
    return f"{'an' if vowel or silent_h or letters else 'a'} {label}"
