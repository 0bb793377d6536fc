"""What constrained decoding lets a model write: whole real queries pass, every misspelt or misplaced name does not."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tasks.sql.continuation import Continuation

SCHEMA = """
CREATE TABLE airline (al_id INTEGER PRIMARY KEY, name TEXT, founding_year INTEGER);
CREATE TABLE aircraft (tail_no INTEGER PRIMARY KEY, al_id INTEGER, model TEXT, seat_count INTEGER);
"""
QUESTION = "How many aircraft of students at Heathrow and O'Hare are from 1987?"
RULE = Continuation(SCHEMA, QUESTION)

GOOD = [
    "SELECT COUNT(*) FROM airline",
    "select Name from AIRLINE order by Founding_Year desc limit 3",
    "SELECT aircraft.model, airline.name FROM aircraft JOIN airline ON aircraft.al_id = airline.al_id",
    "SELECT T1.name FROM airline AS T1 JOIN aircraft AS T2 ON T1.al_id = T2.al_id WHERE T2.model = 'A320'",
    "SELECT a.name FROM airline a, aircraft b WHERE a.al_id = b.al_id",
    "SELECT name FROM airline WHERE al_id NOT IN (SELECT al_id FROM aircraft WHERE seat_count > 50)",
    "SELECT name FROM airline AS T1 WHERE 9 < (SELECT AVG(seat_count) FROM aircraft AS T2 WHERE T2.al_id = T1.al_id)",
    "SELECT name AS n, COUNT(*) AS c FROM airline GROUP BY n ORDER BY c DESC LIMIT 10",
    "SELECT COUNT(*) FROM (SELECT al_id FROM aircraft GROUP BY al_id HAVING COUNT(*) > 2)",
    "SELECT name FROM airline UNION SELECT model FROM aircraft",
    "WITH big AS (SELECT al_id FROM aircraft) SELECT COUNT(*) FROM big",
    "SELECT name FROM airline WHERE name = 'Heathrow' OR name = 'student' OR name = 'O''Hare' OR name LIKE '%Hear%'",
    "SELECT name FROM airline WHERE founding_year BETWEEN 1987 AND 1987.0",
    "SELECT CAST(seat_count AS REAL) FROM aircraft",
    "SELECT RANK() OVER (PARTITION BY model ORDER BY seat_count) FROM aircraft",
    "SELECT CASE WHEN al_id > 2 THEN 'a' ELSE 'b' END FROM airline WHERE name IS NOT NULL AND al_id <> 3",
    "SELECT T1.* FROM airline AS T1 WHERE EXISTS (SELECT * FROM aircraft WHERE aircraft.al_id = T1.al_id)",
    "SELECT MAX(al_id) - MIN(al_id) FROM airline WHERE al_id IN (1, 2)",
    'SELECT t1.NAME ,  count(*) FROM Airline AS t1 WHERE t1.name  =  "heathrow" GROUP BY t1.NAME HAVING count(*)  >  1',
    "SELECT T2.model FROM airline AS T1 JOIN aircraft AS T2 ON T1.al_id = T2.al_id WHERE T1.name = '1987-01-02'",
    "SELECT T1.name FROM airline AS T1 JOIN airline AS T2 ON T1.al_id = T2.founding_year",
    "SELECT name AS n, COUNT(*) AS total_count FROM airline GROUP BY n ORDER BY total_count DESC",
    'SELECT "name" FROM `airline` WHERE "airline"."al_id" > 3',
]
BAD = [
    ("SELECT nam FROM airline", "SELECT nam "),
    ("SELECT raquo_count FROM aircraft", "SELECT raq"),
    ("SELECT name FROM airlines", "SELECT name FROM airlines"),
    ("SELECT airline.seat_count FROM airline", "SELECT airline.s"),
    ("SELECT seat_count FROM airline WHERE 1", "SELECT seat_count FROM airline WH"),
    ("SELECT aircraft.model FROM airline ORDER BY 1", "SELECT aircraft.model FROM airline OR"),
    ("SELECT name FROM airline WHERE seat_count > 3", "SELECT name FROM airline WHERE se"),
    ("SELECT T1.name FROM airline AS T1 WHERE T2.al_id = 1", "SELECT T1.name FROM airline AS T1 WHERE T2"),
    ("SELECT name FROM airline UNION SELECT seat_count FROM airline LIMIT 1", None),
    ("SELECT name FROM airline WHERE name = 'Hearst'", "SELECT name FROM airline WHERE name = 'Hear"),
    ("SELECT name FROM airline WHERE name = 'Heat'", "SELECT name FROM airline WHERE name = 'Heat'"),
    ("SELECT name FROM airline WHERE founding_year > 1988", "SELECT name FROM airline WHERE founding_year > 1988"),
    ("SELECT name FROM airline LIMIT 1.", "SELECT name FROM airline LIMIT 1."),
    ("SELECT name FROM airline)", "SELECT name FROM airline)"),
    ("SELECT airline.name FROM airline JOIN airline ON 1", "SELECT airline.name FROM airline JOIN airl"),
    ("SELECT name FROM airline GROUP_CONCAT(SELECT name)", "SELECT name FROM airline GROUP_"),
    ("SELECT name FROM airline LIMIT 1 LIMIT 1", "SELECT name FROM airline LIMIT 1 L"),
    ("SELECT name FROM airline - LOWER(name)", "SELECT name FROM airline -"),
    ("SELECT name DISTINCT al_id FROM airline", "SELECT name D"),
    ("SELECT naMe FROM airline", "SELECT naM"),
    ("SELECT name FROM airline ORDER BY name UNION SELECT 1", "SELECT name FROM airline ORDER BY name U"),
    ("SELECT name FROM airline WHERE al_id = 'Nord'", "SELECT name FROM airline WHERE al_id = 'N"),
    ("SELECT name FROM airline WHERE 1 -- all", "SELECT name FROM airline WHERE 1 --"),
    ("SELECT name FROM airline WHERE al_id = 1 WHERE 1", "SELECT name FROM airline WHERE al_id = 1 WHER"),
    ("SELECT name ON airline", "SELECT name ON"),
    ("SELECT name FROM airline ORDER BY name LIMIT 1 DESC", "SELECT name FROM airline ORDER BY name LIMIT 1 D"),
    ("SELECT name FROM airline JOIN (SELECT 1)", "SELECT name FROM airline JOIN ("),
    ("SELECT airline.name.al_id FROM airline", "SELECT airline.name."),
    ("SELECT T1.name FROM airline.name AS T1", "SELECT T1.name FROM airline."),
    ("SELECT T1.model FROM airline AS T1", "SELECT T1.model FROM airl"),
    ("SELECT T1.name FROM airline JOIN aircraft AS T1", "SELECT T1.name FROM airline JO"),
    ("SELECT airline.name FROM airline AS T1", "SELECT airline.name FROM airline A"),
    ("SELECT T2.name FROM aircraft AS T1 JOIN aircraft", "SELECT T2.name FROM aircraft AS T1 JOIN airc"),
    ("SELECT 1 FROM airline AS T1 JOIN aircraft AS T1", "SELECT 1 FROM airline AS T1 JOIN aircraft AS T1"),
    ("SELECT al_id FROM airline JOIN aircraft", "SELECT al_id FROM airline JOIN a"),
    ("SELECT 1 FROM airline, aircraft WHERE al_id = 1", "SELECT 1 FROM airline, aircraft WHERE al_id "),
    ("SELECT 1 FROM airline JOIN aircraft ON 1 ON 1", "SELECT 1 FROM airline JOIN aircraft ON 1 ON"),
    ("SELECT 1 FROM airline WHERE al_id = 1 = 2", "SELECT 1 FROM airline WHERE al_id = 1 ="),
    ("SELECT 1 FROM airline WHERE COUNT(*) > 1", "SELECT 1 FROM airline WHERE COU"),
    ("SELECT MAX(COUNT(*)) FROM airline", "SELECT MAX(COU"),
    ("SELECT RANK() FROM airline", "SELECT RANK() F"),
    ("SELECT FLOOR(FLOOR(al_id)) FROM airline", "SELECT FLOOR(FL"),
    ('SELECT "nome" FROM airline', 'SELECT "no'),
    ('SELECT 1 FROM airline WHERE name = "Heathen"', 'SELECT 1 FROM airline WHERE name = "Heathe'),
    ("SELECT 1 FROM airline WHERE name = 'la la la la la la'", "SELECT 1 FROM airline WHERE name = 'la la la la "),
    ("The query is SELECT", "T"),
    ("DELETE FROM airline", "D"),
]


@pytest.mark.parametrize("sql", GOOD)
def test_every_prefix_of_a_right_statement_is_allowed(sql: str) -> None:
    refused = [sql[:end] for end in range(1, len(sql) + 1) if not RULE.allows(sql[:end])]
    assert refused == []
    assert RULE.completes(sql)


@pytest.mark.parametrize(("sql", "refused_at"), BAD)
def test_a_wrong_statement_is_refused_where_it_goes_wrong(sql: str, refused_at: str | None) -> None:
    first = next((sql[:end] for end in range(1, len(sql) + 1) if not RULE.allows(sql[:end])), None)
    assert first is not None
    if refused_at is not None:
        assert first == refused_at


@pytest.mark.parametrize(
    "sql", ["SELECT aircraft.model FROM airline", "SELECT DISTINCT DISTINCT name FROM airline", ""]
)
def test_what_sqlite_does_not_prepare_is_no_end(sql: str) -> None:
    assert not RULE.completes(sql)


def test_real_queries_are_hardly_ever_refused(real_data: Path) -> None:
    """Gold of the Spider sample: refused are chance likenesses of literals, odd spellings and errors."""
    folder = real_data / "spider"
    ddl = {}
    for entry in json.loads((folder / "tables.json").read_text()):
        columns = defaultdict(list)
        for table, column in entry["column_names_original"]:
            columns[table].append(f'"{column}"')
        names = enumerate(entry["table_names_original"])
        ddl[entry["db_id"]] = "".join(f'CREATE TABLE "{name}" ({", ".join(columns[i])});' for i, name in names)
    rows = [json.loads(line) for line in (folder / "train_spider.jsonl").read_text().splitlines()]
    refused = [
        row["query"] for row in rows if not Continuation(ddl[row["db_id"]], row["question"]).allows(row["query"])
    ]
    assert len(rows) == 3000
    assert len(refused) <= 17, refused  # 14 of them run


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT na", {"name"}),
        ("SELECT Na", {"Name"}),
        ("SELECT NA", {"NAME"}),
        ("SELECT name FROM AIR", {"AIRLINE", "AIRCRAFT"}),
        ("SELECT name FROM airline WHERE nam", {"name"}),
        ("SELECT COUNT(*) AS the_count FROM airline ORDER BY the", {"the_count"}),
    ],
)
def test_an_unfinished_word_may_become_a_name_in_the_case_it_has_begun(text: str, names: set[str]) -> None:
    assert {name for name in RULE.names(text) or () if RULE.becomes(text, name)} == names


@pytest.mark.parametrize("text", ["SELECT name FROM airline AS so", 'SELECT 1 FROM airline WHERE 1 = "so', "SELECT "])
def test_an_alias_and_a_text_may_be_anything(text: str) -> None:
    assert RULE.names(text) is None
