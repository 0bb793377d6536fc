"""Synthetic databases: every YAML file loads, every database fills and runs in SQLite, bad lines are named.

Run: pytest tests/tasks/data/synthetic/test_databases.py
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.data.schema import parse_schema
from tasks.data.synthetic.rows import Filled, fill
from tasks.data.synthetic.schema import FOLDER, SyntheticDatabase, load_databases, read_file, read_folder

ROOT = Path(__file__).resolve().parents[4]
SEED = 7
GOOD = """
domain: harbor
databases:
  marina:
    piers | pier | piers | 5:
      pier_id: key
      pier: name | name | Ash, Elm, Oak, Fir, Yew
      depth: measure | depth in meters | 1.5..9.0
    boats | boat | boats | 12:
      boat_id: key
      pier_id: -> piers | home pier
      kind: category | type | yacht, barge, dinghy
      built: year | construction year | 1990..2020
"""


@pytest.fixture(scope="module")
def databases() -> tuple[SyntheticDatabase, ...]:
    return load_databases()


@pytest.fixture(scope="module")
def filled(databases) -> dict[str, Filled]:
    return {database.id: fill(database, SEED) for database in databases}


def test_there_are_enough_databases_in_enough_domains(databases):
    domains = Counter(database.domain for database in databases)
    assert len(databases) >= 60
    assert len(domains) >= 15
    assert set(domains) == {path.stem for path in FOLDER.glob("*.yaml")}
    assert min(domains.values()) >= 4


def test_ids_are_unique_and_sorted(databases):
    ids = [database.id for database in databases]
    assert ids == sorted(set(ids))


def test_no_two_databases_have_the_same_tables_and_columns(databases):
    def names(database: SyntheticDatabase) -> frozenset:
        return frozenset((t.name.lower(), c.name.lower()) for t in database.tables for c in t.columns)

    assert len({names(database) for database in databases}) == len(databases)


def test_no_two_databases_have_the_same_layout(databases):
    """Renamed copies would teach templates: the sequence of roles and the direction of references is unique too."""

    def layout(database: SyntheticDatabase) -> tuple:
        order = [table.name for table in database.tables]
        return tuple(tuple((c.role, c.to and order.index(c.to[0])) for c in t.columns) for t in database.tables)

    assert [ids for ids in _grouped(databases, layout) if len(ids) > 1] == []


def test_no_table_is_repeated(databases):
    tables = [frozenset(c.name.lower() for c in table.columns) for database in databases for table in database.tables]
    assert len(set(tables)) == len(tables)


def test_every_database_fills_and_runs_with_sound_foreign_keys(databases, filled):
    for database in databases:
        connection = sqlite3.connect(":memory:")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(filled[database.id].schema)
        connection.executescript(filled[database.id].setup)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == [], database.id
        for table in database.tables:
            names = ", ".join(f"T1.{column.name}" for column in table.columns)
            rows = connection.execute(f"SELECT {names} FROM {table.name} AS T1").fetchall()
            assert [tuple(row.values()) for row in filled[database.id].rows[table.name]] == rows
            assert len(rows) == table.rows
        connection.close()


def test_schema_text_reads_back_as_the_same_tables(databases, filled):
    for database in databases:
        read = parse_schema(filled[database.id].schema)
        assert [table.name for table in read.tables] == [table.name for table in database.tables]
        for table, info in zip(database.tables, read.tables, strict=True):
            assert [(c.name, c.type, c.role == "key", c.to) for c in table.columns] == [
                (c.name, c.type, c.primary_key, c.references) for c in info.columns
            ], f"{database.id}.{table.name}"


def test_schemas_are_short_enough_for_a_prompt(filled):
    lengths = sorted(len(one.schema) for one in filled.values())
    assert lengths[len(lengths) // 2] < 420
    assert lengths[-1] < 640


def test_values_fit_their_roles(databases, filled):
    for database in databases:
        for table in database.tables:
            rows = filled[database.id].rows[table.name]
            for column in table.columns:
                values = [row[column.name] for row in rows]
                place = f"{database.id}.{table.name}.{column.name}"
                kind = {"INTEGER": int, "REAL": float, "TEXT": str}[column.type]
                assert all(type(value) is kind for value in values), place
                if column.role in {"key", "name"}:
                    assert len(set(values)) == len(values), place
                if column.role in {"measure", "year"}:
                    assert all(column.low <= value <= column.high for value in values), place
                if column.role == "measure":
                    assert all(value == round(value, column.decimals) for value in values), place
                if column.role == "category":
                    assert set(values) == set(column.values), place
                if column.type == "TEXT":
                    assert not any("'" in value for value in values), place


def test_groups_differ_in_size_and_some_parents_have_no_children(databases, filled):
    for database in databases:
        for link in database.links():
            rows = filled[database.id].rows
            children = Counter(row[link.child_column] for row in rows[link.child])
            assert len(children) < len(rows[link.parent]), link
            assert max(children.values()) > min(children.values()), link


def test_references_to_one_parent_differ_within_a_row(databases, filled):
    pairs = 0
    for database in databases:
        for table in database.tables:
            targets = Counter(column.to for column in table.with_role("reference"))
            for target, count in targets.items():
                if count > 1:
                    names = [column.name for column in table.with_role("reference") if column.to == target]
                    pairs += 1
                    for row in filled[database.id].rows[table.name]:
                        assert len({row[name] for name in names}) == count
    assert pairs >= 2


def test_rows_of_a_link_table_join_each_pair_once(databases, filled):
    for database in databases:
        for table in database.tables:
            names = [column.name for column in table.with_role("reference")]
            if len(names) > 1:
                pairs = [tuple(row[name] for name in names) for row in filled[database.id].rows[table.name]]
                assert len(set(pairs)) == len(pairs), f"{database.id}.{table.name}"


def test_another_seed_gives_other_rows_and_the_same_schema(databases, filled):
    other = fill(databases[0], SEED + 1)
    assert other.schema == filled[databases[0].id].schema
    assert other.setup != filled[databases[0].id].setup


def test_same_rows_in_another_process(databases, filled):
    ids = [databases[0].id, databases[-1].id]
    script = (
        "import sys, hashlib\n"
        "from tasks.data.synthetic.rows import fill\n"
        "from tasks.data.synthetic.schema import load_databases\n"
        f"text = ''.join(fill(d, {SEED}).setup for d in load_databases() if d.id in sys.argv[1:])\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    here = hashlib.sha256("".join(filled[name].setup for name in ids).encode()).hexdigest()
    for hash_seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", script, *ids],
            capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        assert done.stdout.strip() == here


def test_a_database_fills_alone_as_among_others(databases, filled):
    alone = next(one for one in read_file(FOLDER / f"{databases[5].domain}.yaml") if one.id == databases[5].id)
    assert fill(alone, SEED).setup == filled[alone.id].setup


def test_good_file_is_read(tmp_path):
    (database,) = read_file(_write(tmp_path, GOOD))
    boats = database.table("boats")
    assert (database.id, database.domain) == ("marina", "harbor")
    assert (boats.label, boats.plural, boats.rows) == ("boat", "boats", 12)
    assert boats.key.label == "boat id"
    assert boats.column("pier_id").to == ("piers", "pier_id")
    assert database.table("piers").column("depth").type == "REAL"
    assert [(link.child, link.parent) for link in database.links()] == [("boats", "piers")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: category", "kind: colour", ["marina", "boats", "kind", "colour"]),
        ("yacht, barge, dinghy", "yacht, barge", ["boats", "kind", "3 to 7"]),
        ("yacht, barge, dinghy", "yacht, barge, sailor's", ["boats", "kind", "sailor's"]),
        ("yacht, barge, dinghy", "yacht, yacht, barge", ["boats", "kind", "twice"]),
        ("-> piers", "-> docks", ["boats", "pier_id", "above"]),
        ("1.5..9.0", "9.0..1.5", ["piers", "depth", "below"]),
        ("1.5..9.0", "many", ["piers", "depth", "low..high"]),
        ("1990..2020", "20..90", ["boats", "built", "years"]),
        ("Ash, Elm, Oak, Fir, Yew", "Ash, Elm", ["piers", "pier", "2 names for 5 rows"]),
        ("pier: name | name | Ash, Elm, Oak, Fir, Yew", "pier: flag | name", ["piers", "role name"]),
        ("piers | pier | piers | 5", "piers | pier | 5", ["piers", "header"]),
        ("piers | pier | piers | 5", "piers | pier | piers | 500", ["piers", "rows", "500"]),
        ("boat_id: key", "boat_id: flag | boat", ["boats", "boat_id", "key"]),
        ("built: year | construction year", "built: year | type", ["boats", "label", "type"]),
        ("built: year", "kind: year", ["line", "'kind' stands twice"]),
        ("built: year | construction year | 1990..2020", "built: [1, 2]", ["boats", "built"]),
        ("built: year", "built year: year", ["boats", "built year"]),
        ("domain: harbor", "domain: [", ["line", "YAML"]),
        ("domain: harbor", "area: harbor", ["domain"]),
    ],
)
def test_bad_file_names_the_place(tmp_path, old, new, words):
    assert old in GOOD
    with pytest.raises(UserError) as caught:
        read_file(_write(tmp_path, GOOD.replace(old, new)))
    message = str(caught.value)
    assert "\n" not in message
    for word in ["harbor.yaml", *words]:
        assert word in message


def test_repeated_id_and_empty_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no \*\.yaml"):
        read_folder(tmp_path)
    _write(tmp_path, GOOD)
    (tmp_path / "copy.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(UserError, match=r"marina is also in copy\.yaml"):
        read_folder(tmp_path)


def _write(folder: Path, text: str) -> Path:
    path = folder / "harbor.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _grouped(databases, of) -> list[list[str]]:
    groups: dict[object, list[str]] = {}
    for database in databases:
        groups.setdefault(of(database), []).append(database.id)
    return list(groups.values())
