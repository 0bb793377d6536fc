"""What a column of a user's database is to a question: a name, a category, a measure, a year, a date, a flag.

Decided from sampled values first and the column's name second. What fits no role (free text, codes, blobs, web
addresses) is not asked about: no question is better than one that no person would ask.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from tasks.data.synthetic.schema import Role

LONGEST = 60  # characters of a value that a question can hold
_MOST_CATEGORIES = 50
_DATE = re.compile(r"[12]\d{3}-(?:0\d|1[0-2])-[0-3]\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?")
_YEAR_NAME = re.compile(r"year|\byr|found|establish|\bopened|built|\bborn|season|vintage|since")
_CODE_NAME = re.compile(
    r"\bid\b|\bids\b|code|phone|\bfax|\bzip|postal|postcode|\bssn\b|isbn|\bsku\b|url|link|email|e mail|password|hash|"
    r"uuid|guid|token|\bkey\b|\bip\b|\bnumber$|\bno$|latitude|longitude|address|street|description|comment|note|detail|"
    r"remark"
)
_NAME_NAME = re.compile(r"\bname\b|title|surname|label")


def is_sayable(value: Any) -> bool:
    """Whether a value can stand in a question and in LIKE as it is."""
    if isinstance(value, str):
        fits = 0 < len(value) <= LONGEST and value == value.strip() and value.isprintable()
        return fits and not set(value) & set('"%_\\`') and "�" not in value
    return isinstance(value, (int, float)) and math.isfinite(value)


def role_of(label: str, values: Sequence[Any], declared: str) -> Role | None:
    """The role of a column that is neither key nor reference, from its values that are not NULL; None for no role."""
    if len(values) < 3:
        return None
    distinct = set(values)
    if all(isinstance(value, bool) for value in values) or (
        distinct == {0, 1} and (declared.upper().startswith("BOOL") or label.startswith(("is ", "has ")))
    ):
        return "flag" if len(distinct) == 2 else None
    if all(isinstance(value, (int, float)) for value in values):
        return _number_role(label, distinct)
    if all(isinstance(value, str) for value in values):
        return _text_role(label, values, distinct)
    return None


def _number_role(label: str, distinct: set[Any]) -> Role | None:
    if _YEAR_NAME.search(label) and all(value == int(value) and 1000 <= value <= 2100 for value in distinct):
        return "year" if len(distinct) > 1 else None
    return "measure" if len(distinct) > 2 and not _CODE_NAME.search(label) else None


def _text_role(label: str, values: Sequence[str], distinct: set[Any]) -> Role | None:
    if all(_DATE.fullmatch(value) for value in values):
        return "date" if len(distinct) > 2 else None
    if sum(is_sayable(value) for value in values) < 0.9 * len(values):
        return None
    if 2 <= len(distinct) <= min(_MOST_CATEGORIES, 0.7 * len(values)) and not re.search(r"email|phone|password", label):
        return "category"
    wordy = sum(bool(re.search(r"[^\W\d]{2}", value)) for value in values)
    if len(distinct) >= 0.95 * len(values) and wordy >= 0.9 * len(values):
        return "name" if _NAME_NAME.search(label) or not _CODE_NAME.search(label) else None
    return None


def best_name(labels: Sequence[str], noun: str) -> int:
    """Which of several columns of role name is the one that a person calls a row by; `noun` is the row's."""

    def rank(place: int) -> tuple[int, int]:
        label = labels[place]
        exact = label in ("name", "title", noun, f"{noun} name", "full name")
        return (0 if exact else 1 if _NAME_NAME.search(label) else 2), place

    return min(range(len(labels)), key=rank)
