"""Words for the names of a user's tables and columns: `tbl_OrderItems` is an "order item", `cust_qty` a "quantity".

Limits: English, by rule; a name that holds no word (`x17`) is said as it stands.
"""

from __future__ import annotations

import re

from tasks.data.synthetic.phrasing import IRREGULAR, is_plural, plural

_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
_SHORT_PAIRS = (
    "qty quantity, amt amount, num number, nbr number, dept department, addr address, desc description, emp employee, "
    "cust customer, prod product, pct percentage, avg average, yr year, dob birthday, fname forename, lname surname, "
    "descr description, temp temperature, lang language, bal balance, cnt count, mgr manager, loc location, "
    "org organization, acct account, inv invoice, pmt payment, txn transaction, mfg manufacturer"
)
_SHORT: dict[str, str] = dict(pair.split() for pair in _SHORT_PAIRS.split(", "))
_SINGULARS = {many: one for one, many in IRREGULAR.items()} | {"movies": "movie", "cookies": "cookie", "data": "data"}
_ID = re.compile(r" (?:id|code|key|no|number)$")


def words(name: str) -> str:
    """`OrderItem_QTY` as a person says it: "order item quantity"."""
    parts = [part.lower() for part in _BREAKS.split(name) if part]
    if len(parts) > 1 and parts[0] in ("tbl", "t"):
        parts = parts[1:]
    return " ".join(_SHORT.get(part, part) for part in parts) or name


def table_labels(name: str) -> tuple[str, str]:
    """The singular and the plural noun for a row of the table called `name`."""
    one = singular(words(name))
    return one, plural(one)


def singular(label: str) -> str:
    """`order items` -> `order item`; what is no plural stays."""
    start, space, word = label.rpartition(" ")
    if word in _SINGULARS:
        return f"{start}{space}{_SINGULARS[word]}"
    if word.endswith("statuses") or not is_plural(word):
        return f"{start}{space}{word.removesuffix('es') if word.endswith('statuses') else word}"
    if word.endswith("ies") and len(word) > 4:
        word = f"{word[:-3]}y"
    elif re.search(r"(?:ss|x|ch|sh|us)es$", word):
        word = word[:-2]
    else:
        word = word[:-1]
    return f"{start}{space}{word}"


def column_label(name: str, table: str) -> str:
    """The label of a column of a table whose rows are called `table`: the row's own noun in front is left out."""
    label = words(name)
    return label.removeprefix(f"{table} ") if label != f"{table} id" else label


def time_label(label: str, kind: str) -> str:
    """`created at` is no noun and has no plural: the `created date`. `kind` is date or year."""
    if re.search(r"date|day|time|year|birth|month", label):
        return label
    return f"{re.sub(r' (?:at|on|in)$', '', label)} {kind}"


def reference_label_for(column: str, parent: str, key: str) -> str:
    """How a reference to `parent` (its label) by its column `key` is said: as the parent itself, or by its part."""
    stem = _ID.sub("", words(column))
    itself = column.lower() == key.lower() or stem in ("id", plural(parent)) or parent.startswith(stem)
    return parent if itself or parent.endswith(f" {stem}") else stem
