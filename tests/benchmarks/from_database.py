"""How fast questions about a user's database are written, by the size of its tables.

Run: python -m tests.benchmarks.from_database
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
from pathlib import Path

from tasks.data.introspect import open_reader
from tasks.data.synthetic.from_database import FromDatabaseSpec, generate_from
from tasks.sql.executor import Limits

ROWS = (100, 10_000)
ASKED = 200


def main() -> None:
    """Print a line for every size: pairs, shapes and seconds."""
    print(f"{'rows a table':>12} {'pairs':>6} {'shapes':>6} {'seconds':>8} {'ms a pair':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for rows in ROWS:
            path = _make(Path(folder, f"{rows}.sqlite"), rows)
            began = time.perf_counter()
            reader = open_reader(str(path), Limits(seconds=2, rows=2000))
            found = generate_from(reader, FromDatabaseSpec(rows=ASKED))
            reader.close()
            spent = time.perf_counter() - began
            counts = found.counts()
            print(
                f"{rows:>12,} {counts['rows']:>6} {len(counts['shapes']):>6} {spent:>8.2f} "
                f"{1000 * spent / counts['rows']:>9.1f}"
            )


def _make(path: Path, rows: int) -> Path:
    rng = random.Random(1)
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE stores (store_id INTEGER PRIMARY KEY, store_name TEXT, city TEXT, opened_year INTEGER);"
        "CREATE TABLE sales (sale_id INTEGER PRIMARY KEY, store_id INTEGER REFERENCES stores, amount REAL, kind TEXT,"
        " sold DATE);"
    )
    cities = ("Oslo", "Lyon", "Porto", "Graz")
    connection.executemany(
        "INSERT INTO stores VALUES (?, ?, ?, ?)",
        [(i, f"Store {i} of {rng.choice(cities)}", rng.choice(cities), rng.randint(1980, 2024)) for i in range(40)],
    )
    connection.executemany(
        "INSERT INTO sales VALUES (?, ?, ?, ?, ?)",
        (
            (i, rng.randrange(35), rng.randint(100, 99_999) / 100, rng.choice("abc") * 3, f"2024-{1 + i % 12:02}-15")
            for i in range(rows)
        ),
    )
    connection.commit()
    connection.close()
    return path


if __name__ == "__main__":
    main()
