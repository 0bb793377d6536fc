"""Questions about a user's database: verified there, the database untouched, NULLs and odd names no trap.

Run: pytest tests/tasks/data/synthetic/test_from_database.py
"""

from __future__ import annotations

import hashlib
import random
import re
import sqlite3
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.dataset import write_examples
from tasks.data.introspect import open_reader, quoted
from tasks.data.schema import parse_schema
from tasks.data.sources import FileSource, read_file
from tasks.data.synthetic.from_database import FromDatabase, FromDatabaseSpec, generate_from
from tasks.data.synthetic.generate import is_telling
from tasks.data.synthetic.labels import column_label, reference_label_for, singular, table_labels, time_label, words
from tasks.data.synthetic.roles import role_of
from tasks.sql.executor import Limits, run_readonly

# A shop as people really keep one: reserved words, spaces, capitals, a quote, missing values, repeated names, a key
# of two columns, a reference that nobody declared, dates, flags, codes, a blob and a view.
SHOP = """
CREATE TABLE "Customer Group" ("Group ID" INTEGER PRIMARY KEY, "Group Name" TEXT, discount REAL);
CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT, city TEXT, email TEXT, is_active BOOLEAN,
  joined DATE, "Group ID" INTEGER REFERENCES "Customer Group"("Group ID"), photo BLOB);
CREATE TABLE "order" (id INTEGER PRIMARY KEY, customer_id INTEGER, "group" TEXT, total REAL, placed TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, title TEXT UNIQUE, price REAL, release_year INTEGER, sku TEXT);
CREATE TABLE order_items (order_id INTEGER REFERENCES "order"(id), product_id INTEGER REFERENCES products(id),
  quantity INTEGER, PRIMARY KEY (order_id, product_id));
CREATE TABLE empty_one (a INTEGER, b TEXT);
CREATE VIEW cheap AS SELECT * FROM products WHERE price < 10;
"""


def make_shop(path: Path, journal: str = "delete") -> Path:
    rng = random.Random(5)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.executescript(SHOP)
    add = connection.executemany
    groups = ("Retail", "Trade", "Staff", "Guest's")
    add('INSERT INTO "Customer Group" VALUES (?, ?, ?)', [(i, name, i / 4) for i, name in enumerate(groups, 1)])
    first = ("Ada", "Ben", "Cy", "Dee", "Eve", "Finn")
    last = ("Ash", "Birch", "Cole", "Doe", "Elm")
    people = [f"{a} {b}" for a in first for b in last]
    people[7] = people[3]  # two customers of one name
    add(
        "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                i,
                person,
                None if i % 9 == 0 else rng.choice(("Oslo", "Bergen", "Molde")),
                f"p{i}@example.org",
                i % 3 == 0,
                f"20{10 + i % 12}-0{1 + i % 9}-15",
                None if i % 11 == 0 else 1 + i % 3,
                b"\x00\xff",
            )
            for i, person in enumerate(people, 1)
        ],
    )
    for i in range(1, 81):
        total = None if i % 7 == 0 else rng.randint(5, 900) / 10
        row = (i, rng.randint(1, 25), rng.choice("AB") * 2, total, f"2024-0{1 + i % 9}-1{i % 9}")
        connection.execute('INSERT INTO "order" VALUES (?, ?, ?, ?, ?)', row)
    titles = [f"{wood} {thing}" for wood in ("Oak", "Pine", "Elm") for thing in ("table", "chair", "desk")]
    for i, title in enumerate(titles, 1):
        row = (i, title, rng.randint(10, 999) / 10, 2000 + rng.randint(0, 20), f"SKU-{i:04}")
        connection.execute("INSERT INTO products VALUES (?, ?, ?, ?, ?)", row)
    pairs = {(rng.randint(1, 80), rng.randint(1, 9)) for _ in range(150)}
    add("INSERT INTO order_items VALUES (?, ?, ?)", [(*pair, rng.randint(1, 6)) for pair in sorted(pairs)])
    connection.commit()
    connection.close()
    return path


def ask(path: Path | str, **spec) -> FromDatabase:
    reader = open_reader(str(path), Limits(seconds=2, rows=2000))
    try:
        return generate_from(reader, FromDatabaseSpec(**spec))
    finally:
        reader.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shop(tmp_path_factory.mktemp("shop") / "shop.sqlite")


@pytest.fixture(scope="module")
def made(shop: Path) -> FromDatabase:
    return ask(shop, rows=300)


def test_every_pair_is_verified_on_the_database_and_on_the_rows_it_carries(shop: Path, made: FromDatabase) -> None:
    assert len(made.examples) == 300
    carried = sqlite3.connect(":memory:")
    carried.executescript(made.examples[0].schema + made.examples[0].setup)
    for example in made.examples:
        answer = run_readonly(shop, example.sql)
        assert answer.status == "ok", (example.sql, answer.message)
        assert is_telling(answer.rows), example.sql
        assert not any(value is None for row in answer.rows for value in row), example.sql
        assert is_telling(carried.execute(example.sql).fetchall()), example.sql
    carried.close()


def test_the_database_and_its_folder_are_untouched(tmp_path: Path) -> None:
    path = make_shop(tmp_path / "shop.sqlite")
    before = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        ask(path, rows=50)
    finally:
        tmp_path.chmod(0o755)
    assert (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) == before
    assert [p.name for p in tmp_path.iterdir()] == ["shop.sqlite"]


def test_rows_still_in_the_write_ahead_log_are_seen(tmp_path: Path) -> None:
    path = make_shop(tmp_path / "shop.sqlite", "wal")
    writer = sqlite3.connect(path)
    writer.execute("UPDATE products SET title = 'Walnut ' || id")
    writer.commit()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    found = ask(path, rows=120)
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    writer.close()
    assert "Walnut" in found.examples[0].setup
    assert after == before


def test_the_same_seed_gives_the_same_rows_and_more_keep_the_earlier_ones(shop: Path, made: FromDatabase) -> None:
    assert ask(shop, rows=60).examples == made.examples[:60]
    assert [e.question for e in ask(shop, rows=60, seed=8).examples] != [e.question for e in made.examples[:60]]


def test_names_that_need_quotes_are_quoted_and_no_made_up_name_is_left(made: FromDatabase) -> None:
    text = " ".join(example.sql for example in made.examples)
    assert 'FROM "order"' in text
    assert '"Group Name"' in text
    assert "quoted" not in text
    assert not any("quoted" in example.question or '"order"' in example.question for example in made.examples)


def test_the_questions_are_about_people_products_and_orders_in_plain_words(made: FromDatabase) -> None:
    tables = {table.label: table for table in made.survey.database.tables}
    assert set(tables) == {"customer group", "customer", "order", "product", "order item"}
    roles = {(label, c.label): c.role for label, table in tables.items() for c in table.columns}
    assert roles["customer", "name"] == "name"
    assert roles["customer", "city"] == "category"
    assert roles["customer", "is active"] == "flag"
    assert roles["customer", "joined date"] == "date"
    assert roles["product", "release year"] == "year"
    assert roles["product", "price"] == "measure"
    assert not {("product", "sku"), ("customer", "email"), ("customer", "photo")} & set(roles)
    assert made.counts()["left_out"] == {"empty_one": "0 rows"}


def test_references_that_nobody_declared_are_found_and_told(made: FromDatabase) -> None:
    assert made.survey.inferred == ["order.customer_id -> customers.customer_id"]
    assert any("customers" in e.sql and '"order"' in e.sql for e in made.examples)


def test_nothing_is_ordered_by_a_column_with_missing_values(made: FromDatabase) -> None:
    ordered = re.compile(r'ORDER BY (?:[\w"]+\.)?(?:total|city)\b')
    assert not any(ordered.search(e.sql) for e in made.examples)
    assert any(re.search(r"total\)| total [<>]|\.total [<>]", e.sql) for e in made.examples)


def test_a_name_that_two_rows_share_is_never_asked_for(made: FromDatabase) -> None:
    assert not any("'Ada Doe'" in example.sql for example in made.examples)
    assert any(re.search(r"\bname = '", example.sql) for example in made.examples)


def test_pairs_are_read_back_by_a_file_source(tmp_path: Path, made: FromDatabase) -> None:
    write_examples(tmp_path / "shop.jsonl", made.examples)
    again = list(read_file(FileSource(path=str(tmp_path / "shop.jsonl"))))
    assert [(e.id, e.question, e.sql, e.db_id) for e in again] == [
        (e.id, e.question, e.sql, e.db_id) for e in made.examples
    ]
    assert {t.name for t in parse_schema(made.examples[0].schema).tables} >= {"order", "Customer Group", "empty_one"}


def test_without_carried_rows_the_schema_stands_alone(shop: Path) -> None:
    found = ask(shop, rows=40, carry=0)
    assert len(found.examples) == 40
    assert {example.setup for example in found.examples} == {""}


def test_carried_rows_bring_their_parents(shop: Path) -> None:
    example = ask(shop, rows=1, carry=5).examples[0]
    connection = sqlite3.connect(":memory:")
    connection.executescript(example.schema + example.setup)
    assert connection.execute("SELECT COUNT(*) FROM order_items").fetchone() == (5,)
    lost = """SELECT COUNT(*) FROM order_items WHERE order_id NOT IN (SELECT id FROM "order")
        OR product_id NOT IN (SELECT id FROM products)"""
    assert connection.execute(lost).fetchone() == (0,)
    connection.close()


def test_a_large_table_is_sampled_and_checked_in_full(tmp_path: Path) -> None:
    path = tmp_path / "large.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE readings (id INTEGER PRIMARY KEY, station TEXT, level INTEGER)")
    rng = random.Random(3)
    connection.executemany(
        "INSERT INTO readings VALUES (?, ?, ?)",
        ((i, rng.choice(("North", "South", "East")), rng.randint(0, 10**6)) for i in range(6_000)),
    )
    connection.commit()
    connection.close()
    found = ask(path, rows=60)
    assert found.survey.totals["readings"] == 6_000
    assert len(found.survey.rows["readings"]) <= 2000
    assert len(found.examples[0].setup) < 4000
    assert len(found.examples) == 60
    for example in found.examples:
        assert is_telling(run_readonly(path, example.sql).rows)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no database file"),
        (lambda p: p.write_text("this is a text, no database at all" * 40), "cannot be read as a SQLite database"),
        (lambda p: sqlite3.connect(p).executescript("CREATE TABLE t (a)").close(), "no table has three rows"),
        (lambda p: sqlite3.connect(p).executescript("CREATE VIEW v AS SELECT 1").close(), "holds no table"),
    ],
)
def test_what_is_no_database_is_said_in_a_line(tmp_path: Path, make, message: str) -> None:
    path = tmp_path / "x.sqlite"
    make(path)
    with pytest.raises(UserError, match=message) as caught:
        ask(path)
    assert "\n" not in str(caught.value)


def test_another_kind_of_database_is_refused_without_showing_its_password() -> None:
    with pytest.raises(UserError, match="postgresql://") as caught:
        open_reader("mysql://me:secret@host/db", Limits())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "one", "many"),
    [
        ("tbl_OrderItems", "order item", "order items"),
        ("People", "person", "people"),
        ("movies", "movie", "movies"),
        ("Addresses", "address", "addresses"),
        ("categories", "category", "categories"),
        ("Bus", "bus", "buses"),
        ("staff", "staff", "staff"),
        ("track", "track", "tracks"),
        ("HTTPLogs", "http log", "http logs"),
        ("series", "series", "series"),
    ],
)
def test_table_names_are_said_in_words(name: str, one: str, many: str) -> None:
    assert table_labels(name) == (one, many)


def test_column_names_are_said_in_words() -> None:
    assert words("emp_qtyTotal") == "employee quantity total"
    assert column_label("customer_city", "customer") == "city"
    assert column_label("customer_id", "customer") == "customer id"
    assert [time_label(label, "date") for label in ("created at", "due date", "born")] == [
        "created date",
        "due date",
        "born date",
    ]
    assert singular("order statuses") == "order status"
    assert reference_label_for("hotel_id", "hotel", "id") == "hotel"
    assert reference_label_for("ManagerID", "employee", "id") == "manager"
    assert reference_label_for("home_team_id", "team", "id") == "home team"
    assert reference_label_for("cust_no", "customer", "id") == "customer"


@pytest.mark.parametrize(
    ("label", "values", "role"),
    [
        ("price", [1.5, 2.5, 9.0], "measure"),
        ("zip code", [12345, 23456, 34567], None),
        ("release year", [1999, 2001, 2001], "year"),
        ("price", [1999, 2001, 2005], "measure"),
        ("color", ["red", "blue", "red", "red"], "category"),
        ("title", ["One thing", "Two things", "Three"], "name"),
        ("phone", ["555-123", "555-124", "555-125"], None),
        ("born", ["1990-01-02", "1991-02-03", "1992-03-04"], "date"),
        ("note", ["x" * 200, "y" * 200, "z" * 200], None),
        ("active", [True, False, True], "flag"),
        ("mixed", [1, "two", 3.0], None),
        ("photo", [b"1", b"2", b"3"], None),
        ("few", ["a", "b"], None),
    ],
)
def test_roles_follow_values_first(label: str, values: list, role: str | None) -> None:
    assert role_of(label, values, "") == role


def test_only_what_must_be_quoted_is() -> None:
    assert [quoted(n, "sqlite") for n in ("name", "date", "order", "Full Name", "Rank")] == [
        "name",
        "date",
        '"order"',
        '"Full Name"',
        "Rank",
    ]
    assert [quoted(n, "postgres") for n in ("name", "user", "Rank")] == ["name", '"user"', '"Rank"']


def test_every_fourth_spider_database_gives_verified_pairs(real_data: Path) -> None:
    files = sorted((real_data / "spider" / "database").glob("*/*.sqlite"))
    assert len(files) == 64
    for path in files[::4]:
        before = hashlib.sha256(path.read_bytes()).hexdigest()
        found = ask(path, rows=40)
        assert len(found.examples) == 40, path.name
        for example in found.examples:
            assert is_telling(run_readonly(path, example.sql).rows), example.sql
        assert hashlib.sha256(path.read_bytes()).hexdigest() == before
