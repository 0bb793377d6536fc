"""One way to write a query: the same rows, in the schema's own spelling, without aliases that nobody needs."""

from __future__ import annotations

import pytest

from tasks.sql.uniform import uniform

TABLES = {"Singer": ("Singer_ID", "Name", "Age"), "Song": ("Song_ID", "Singer_ID", "Title")}


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (
            "select T1.name ,  count(*) from singer as T1 join song as T2 on T1.singer_id  =  T2.singer_id",
            "SELECT Singer.Name, COUNT(*) FROM Singer JOIN Song ON Singer.Singer_ID = Song.Singer_ID",
        ),
        ('SELECT age FROM singer WHERE name  =  "France"', "SELECT Age FROM Singer WHERE Name = 'France'"),
        ('SELECT "name" FROM singer', 'SELECT "Name" FROM Singer'),  # a column, quoted
        (
            "SELECT t1.age FROM singer t1 UNION SELECT t1.song_id FROM song t1",
            "SELECT Singer.Age FROM Singer UNION SELECT Song.Song_ID FROM Song",
        ),
        (
            "SELECT T1.name FROM singer AS T1 WHERE T1.age > (SELECT avg(T1.age) FROM singer AS T1)",
            "SELECT Singer.Name FROM Singer WHERE Singer.Age > (SELECT AVG(Singer.Age) FROM Singer)",
        ),
        # A table read twice needs its names, and so does a subquery that looks outside.
        (
            "SELECT a.name FROM singer a JOIN singer b ON a.age < b.age",
            "SELECT a.Name FROM Singer AS a JOIN Singer AS b ON a.Age < b.Age",
        ),
        (
            "SELECT name FROM singer AS s WHERE EXISTS (SELECT 1 FROM song AS x WHERE x.singer_id = s.singer_id)",
            "SELECT Name FROM Singer AS s WHERE EXISTS(SELECT 1 FROM Song AS x WHERE x.Singer_ID = s.Singer_ID)",
        ),
        ("SELECT count(*) AS n FROM singer ORDER BY n", "SELECT COUNT(*) AS n FROM Singer ORDER BY n"),
        # What another table has as a column is text here, and its letters count.
        ('SELECT age FROM singer WHERE name = "TITLE"', "SELECT Age FROM Singer WHERE Name = 'TITLE'"),
        (
            'SELECT age FROM singer WHERE name = "TITLE" AND age IN (SELECT song_id FROM song)',
            'SELECT Age FROM Singer WHERE Name = "TITLE" AND Age IN (SELECT Song_ID FROM Song)',
        ),
        (
            'WITH t(x) AS (SELECT age FROM singer) SELECT "x", "rowid" FROM t',
            'WITH t(x) AS (SELECT Age FROM Singer) SELECT "x", "rowid" FROM t',
        ),
        ('SELECT "x" FROM a_view', 'SELECT "x" FROM a_view'),
        ("DELETE FROM singer", "DELETE FROM singer"),
        ("SELECT FROM WHERE", "SELECT FROM WHERE"),
    ],
)
def test_a_query_is_written_one_way(given: str, written: str) -> None:
    assert uniform(given, TABLES) == written
    assert uniform(written, TABLES) == written


def test_names_that_the_schema_spells_in_two_ways_stay() -> None:
    assert uniform("SELECT id FROM a", {"a": ("ID",), "b": ("Id",)}) == "SELECT id FROM a"
