"""Words for comparisons, orders and aggregates, by the kind of a column.

`COMPARISONS[kind, operator]` holds two forms: after `whose` (`fee is above 5`) and after `with` (`a fee above 5`),
where `{l}` is the label, `{a}` the label with its article, `{v}` the value and `{be}`, `{do}`, `{s}` agree in number.
`ORDERS[kind, descending]` holds the superlative and the order in words.
"""

from __future__ import annotations

import re

AGGREGATES = {
    "AVG": ("average", "average", "mean"),
    "SUM": ("total", "total", "combined"),
    "MAX": ("maximum", "highest", "largest"),
    "MIN": ("minimum", "lowest", "smallest"),
}
NOT_SUMMED = re.compile(
    r"rating|score|percent|share|\brate|\bage\b|temperature|height|speed|year|depth|altitude|elevation|\bper\b|level|"
    r"index|grade|width|latitude|longitude|ratio|rank"
)
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDES = {
    ">": (("above", "over", "higher than", "greater than"), "above"),
    "<": (("below", "under", "lower than", "less than"), "below"),
}

KIND = {"category": "category", "measure": "measure", "year": "time", "date": "time"}
COMPARISONS: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("category", "="): (("{l} {be} {v}",), ("the {l} {v}", "{v} as the {l}")),
    ("measure", ">"): (
        (
            "{l} {be} above {v}",
            "{l} {be} over {v}",
            "{l} {be} greater than {v}",
            "{l} {be} more than {v}",
            "{l} {be} higher than {v}",
            "{l} exceed{s} {v}",
        ),
        ("{a} above {v}", "{a} over {v}", "{a} of more than {v}", "{a} greater than {v}", "{a} exceeding {v}"),
    ),
    ("measure", "<"): (
        (
            "{l} {be} below {v}",
            "{l} {be} under {v}",
            "{l} {be} less than {v}",
            "{l} {be} lower than {v}",
            "{l} {be} smaller than {v}",
        ),
        ("{a} below {v}", "{a} under {v}", "{a} of less than {v}", "{a} lower than {v}"),
    ),
    ("measure", ">="): (
        ("{l} {be} at least {v}", "{l} {be} {v} or more", "{l} {be} no less than {v}", "{l} {be} {v} or higher"),
        ("{a} of at least {v}", "{a} of {v} or more", "{a} of {v} or above"),
    ),
    ("measure", "<="): (
        ("{l} {be} at most {v}", "{l} {be} {v} or less", "{l} {do} not exceed {v}", "{l} {be} no more than {v}"),
        ("{a} of at most {v}", "{a} of {v} or less", "{a} of no more than {v}"),
    ),
    ("time", ">"): (("{l} {be} after {v}", "{l} {be} later than {v}"), ("{a} after {v}", "{a} later than {v}")),
    ("time", "<"): (("{l} {be} before {v}", "{l} {be} earlier than {v}"), ("{a} before {v}", "{a} earlier than {v}")),
    ("time", ">="): (
        ("{l} {be} {v} or later", "{l} {be} not before {v}"),
        ("{a} of {v} or later", "{a} no earlier than {v}"),
    ),
    ("time", "<="): (
        ("{l} {be} {v} or earlier", "{l} {be} not after {v}"),
        ("{a} of {v} or earlier", "{a} no later than {v}"),
    ),
}
ORDERS: dict[tuple[str, bool], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("measure", True): (
        ("highest", "highest", "largest", "greatest"),
        ("in descending order", "from highest to lowest", "from largest to smallest", "descending"),
    ),
    ("measure", False): (
        ("lowest", "lowest", "smallest"),
        ("in ascending order", "from lowest to highest", "from smallest to largest", "ascending"),
    ),
    ("time", True): (
        ("latest", "most recent"),
        ("in descending order", "from newest to oldest", "from latest to earliest"),
    ),
    ("time", False): (("earliest",), ("in ascending order", "from oldest to newest", "from earliest to latest")),
}
