"""Plain DDL: text that is certainly readable as CREATE TABLE statements, told without a parser.

Most schemas of public collections are so simple that a regular expression reads them forty times faster than a parser
does. It only ever says yes or "ask the parser".

Limits: SQLite must be able to build the text too; a name that SQLite takes and sqlglot does not is in `_TROUBLE`.
"""

from __future__ import annotations

import re

TYPES = (
    "INTEGER INT TINYINT SMALLINT MEDIUMINT BIGINT TEXT VARCHAR CHAR CHARACTER NVARCHAR NCHAR CLOB REAL FLOAT DOUBLE"
    " NUMERIC DECIMAL NUMBER BOOLEAN BOOL DATE DATETIME TIMESTAMP TIME YEAR BLOB"
)
# Names that SQLite accepts for a column or table and sqlglot does not, or reads as something else.
_TROUBLE = re.compile(
    r"\b(any|cross|current_date|current_time|current_timestamp|current_user|false|true|fetch|for|function|glob|grant|ilike"
    r"|inner|lateral|like|outer|partitioned_by|qualify|regexp|revoke|rlike|rollback|tablesample|uncache|with|xor)\b",
    re.IGNORECASE,
)
_NAME = r'(?:[A-Za-z_]\w*+|"[^"\n]++")'
_TYPE = rf"(?:{'|'.join(TYPES.split())})(?:\s*+\(\s*+\d++\s*+(?:,\s*+\d++\s*+)?\))?"
_NAMES = rf"\(\s*+{_NAME}(?:\s*+,\s*+{_NAME})*\s*+\)"
_TARGET = rf"REFERENCES\s++{_NAME}\s*+(?:{_NAMES})?"
_COLUMN = rf"{_NAME}\s++{_TYPE}(?:\s++(?:PRIMARY\s++KEY|NOT\s++NULL|UNIQUE|{_TARGET}))*"
_KEYS = rf"(?:CONSTRAINT\s++{_NAME}\s++)?(?:PRIMARY\s++KEY\s*+{_NAMES}|FOREIGN\s++KEY\s*+{_NAMES}\s*+{_TARGET})"
_PART = rf"\s*+(?:{_KEYS}|{_COLUMN})\s*+"
_TABLE = rf"\s*+CREATE\s++TABLE\s++{_NAME}\s*+\({_PART}(?:,{_PART})*\)\s*+"
_PLAIN = re.compile(rf"{_TABLE}(?:;{_TABLE})*;?\s*+", re.IGNORECASE | re.ASCII)
_COMMENT = re.compile(r"""("[^"\n]*+"|'[^'\n]*+')|/\*.*?\*/|--[^\n]*+""", re.DOTALL)
_LONGEST = 20_000  # characters; beyond that a parser is asked, whose time nobody can blow up


def is_plain_ddl(text: str) -> bool:
    """Whether `text` is nothing but simple CREATE TABLE statements."""
    if "/*" in text or "--" in text:
        text = _COMMENT.sub(lambda match: match.group(1) or " ", text)
    return len(text) <= _LONGEST and _PLAIN.fullmatch(text) is not None and _TROUBLE.search(text) is None
