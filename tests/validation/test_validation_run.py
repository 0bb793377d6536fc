"""Validation as a whole: planted defects are caught with their reasons, nothing is lost, the documents are written."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import NightshiftError
from tasks.data.example import Example
from tasks.data.mapping import BadRecord
from tasks.data.sources import FileSource, read_file
from validation import run
from validation.quarantine import quarantine_table, write_quarantine
from validation.run import validate_examples
from validation.spec import ROW_REASONS, ValidationSpec

SCHEMA = "CREATE TABLE pupils (id INTEGER PRIMARY KEY, name TEXT);"


def good(number: int, **changes) -> Example:
    example = Example(
        id=f"g{number}", db_id="school", question=f"Which pupils have an id above {number}?", schema=SCHEMA,
        sql=f"SELECT name FROM pupils WHERE id > {number}", file="data.jsonl", row=number, difficulty="easy",
    )  # fmt: skip
    return replace(example, **changes)


def line(number: int, **changes) -> bytes:
    example = good(number)
    row = {"id": example.id, "question": example.question, "schema": example.schema, "sql": example.sql} | changes
    return json.dumps({key: value for key, value in row.items() if value is not ...}).encode()


# Rows of the planted file: what is wrong with them -> the reasons they must get.
DEFECTS: list[tuple[bytes, tuple[str, ...]]] = [
    (line(11, sql=...), ("missing_sql",)),
    (line(12, question=["no", "text"]), ("wrong_type_question",)),
    (line(13, question="   "), ("empty_question",)),
    (line(14, question="?"), ("question_length",)),
    (line(15, sql="SELECT name FROM pupils; DROP TABLE pupils"), ("multiple_statements",)),
    (line(16, sql="DELETE FROM pupils WHERE id > 16"), ("statement_not_allowed",)),
    (line(17, schema="CREATE TABLE pupils (id INTEGER PRIMARY KEY, na"), ("broken_schema",)),
    (line(18).replace(b"pupils have", b"\xff\xfe"), ("bad_utf8",)),
    (line(19, question="Which \0 pupils?"), ("nul_byte",)),
    (line(20, id="g1"), ("duplicate_id",)),
    (line(21, question=good(2).question, sql="SELECT id FROM pupils"), ("conflicting_sql",)),
    (line(22, sql="SELECT nickname FROM pupils"), ("unknown_table_or_column",)),
    (line(23, sql="The pupils with the highest ids."), ("not_sql",)),
    (line(24, sql="SELECT name FROM pupils WHERE (id > 24"), ("syntax_error",)),
    (line(25, sql=""), ("empty_sql",)),
    (line(26, schema=""), ("empty_schema",)),
    (line(27)[:-30], ("bad_json",)),
    (line(28, question="SELECT name FROM pupils WHERE id > 28 please"), ("sql_in_question",)),
    (line(29, schema=SCHEMA + "INSERT INTO pupils VALUES (1, 2, 3);"), ("broken_setup",)),
    (line(30, schema="CREATE VIEW pupils AS SELECT 1 AS id, 2 AS name"), ("unreadable_schema",)),
    (line(31, sql="SELECT abs(-9223372036854775808) AS name"), ("does_not_run",)),
    (
        line(32, sql="WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"),
        ("too_expensive",),
    ),
    (line(33, schema="x" * 30_000), ("schema_length", "broken_schema")),
    (line(34, question="Why? " * 210_000), ("question_length",)),  # a megabyte
    (line(35, evidence="The answer is: select name FROM `pupils` where id>35"), ("sql_in_question",)),
    (line(36, question=...), ("missing_question",)),
    (line(37, schema=...), ("missing_schema",)),
    (line(38, sql=None), ("missing_sql",)),
    (line(39, sql="SELECT name FROM teachers"), ("unknown_table_or_column",)),
    (line(40, sql="WITH old AS (SELECT id FROM pupils) DELETE FROM pupils"), ("statement_not_allowed",)),
    (line(41, sql="SELECT name FROM pupils WHERE name = 'Ann"), ("syntax_error",)),
    (line(42, sql="PRAGMA table_info(pupils)"), ("not_sql",)),
    (line(43, sql="ATTACH 'other.db' AS other"), ("not_sql",)),
    (line(44, sql="```sql\nSELECT name FROM pupils\n```"), ("not_sql",)),
    (line(45, sql="-- to do"), ("empty_sql",)),
    (line(46, dialect="klingon"), ("unknown_dialect",)),
    (b'["a", "list"]', ("not_an_object",)),
    (line(48, schema=7), ("wrong_type_schema",)),
    (line(49, sql="SELECT count(name) FROM pupils HAVING nobody"), ("unknown_table_or_column",)),
    (line(50, schema=SCHEMA + " CREATE TABLE pupils (id INTEGER);"), ("broken_schema",)),
    (line(51, tags={"split": 3}), ("wrong_type_tags",)),
    (line(52, question="Which pupils \ud800?"), ("bad_utf8",)),
    (line(53, sql="SELECT name FROM pupils WHERE id > 53; SELECT 1"), ("multiple_statements",)),
]
KINDS = {defect for _, reasons in DEFECTS for defect in reasons}


@pytest.fixture(scope="module")
def planted_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("planted") / "data.jsonl"
    path.write_bytes(b"\n".join([*(line(n) for n in range(1, 11)), *(defect for defect, _ in DEFECTS)]))
    return path


@pytest.fixture(scope="module")
def planted(planted_file) -> tuple[list[Example], list[BadRecord]]:
    with contextlib.chdir(planted_file.parent):
        records = list(read_file(FileSource(path="data.jsonl")))
    assert len(records) == 10 + len(DEFECTS)
    return [r for r in records if isinstance(r, Example)], [r for r in records if isinstance(r, BadRecord)]


def test_planted_defects_are_all_caught_and_nothing_is_lost(planted):
    result = validate_examples(*planted, ValidationSpec())
    expected = [(row, reasons) for row, (_, reasons) in enumerate(DEFECTS, 11)]
    assert [(bad.row, bad.reasons) for bad in result.quarantined] == expected
    assert [example.id for example in result.kept] == [f"g{n}" for n in range(1, 11)]
    assert result.rows == len(result.kept) + len(result.quarantined) == 10 + len(DEFECTS)
    assert result.reasons == Counter(reason for _, reasons in DEFECTS for reason in reasons)
    assert {bad.file for bad in result.quarantined} == {"data.jsonl"}
    assert not result.success
    assert [o.reason for o in result.expectations if o.scope == "batch" and not o.success] == [
        "questions_missing",
        "unreadable_records",
        "quarantined_share",
    ]
    assert len(DEFECTS) > 40
    assert len(KINDS) >= 25


@pytest.mark.parametrize("reason", sorted({r for _, (r, *more) in DEFECTS if r in ROW_REASONS and not more}))
def test_without_its_expectation_a_row_is_kept(planted, reason):
    rows = {n for n, (_, why) in enumerate(DEFECTS, 11) if why == (reason,)}
    result = validate_examples(*planted, ValidationSpec(skip=[reason]))
    assert rows <= {example.row for example in result.kept}
    assert len(result.quarantined) == len(DEFECTS) - len(rows)
    assert reason not in result.reasons


def test_taking_an_expectation_out_of_the_suite_changes_what_is_quarantined(planted, monkeypatch):
    def without(spec):
        suite = original(spec)
        suite.delete_expectation(next(e for e in suite.expectations if e.meta["reason"] == "duplicate_id"))
        return suite

    original = run.build_suite
    monkeypatch.setattr(run, "build_suite", without)
    result = validate_examples(*planted, ValidationSpec())
    assert [example.id for example in result.kept].count("g1") == 2


def test_unreadable_records_are_never_kept(planted):
    examples, bad = planted
    every = ("unreadable_records", "questions_missing")
    result = validate_examples(examples, bad, ValidationSpec(skip=every, max_quarantined_share=1))
    assert {b.id for b in bad} <= {b.id for b in result.quarantined}
    assert result.success


def test_the_share_decides():
    examples = [good(n) for n in range(1, 20)] + [good(20, sql="SELECT nme FROM pupils")]
    assert validate_examples(examples, [], ValidationSpec(max_quarantined_share=0.05)).success
    strict = validate_examples(examples, [], ValidationSpec(max_quarantined_share=0.04))
    assert not strict.success
    assert [o.reason for o in strict.expectations if o.scope == "batch" and not o.success] == ["quarantined_share"]


def test_too_few_rows_and_no_rows_are_no_success():
    assert not validate_examples([good(1)], [], ValidationSpec(min_rows=2)).success
    nothing = validate_examples([], [], ValidationSpec())
    assert (nothing.success, nothing.rows, nothing.kept, nothing.reasons) == (False, 0, [], {})


def test_allowed_statements_are_kept():
    example = good(1, sql="INSERT INTO pupils VALUES (1, 'Ann')")
    assert validate_examples([example], [], ValidationSpec(statements=("select", "insert"))).kept == [example]


def test_several_reasons_stand_together():
    (bad,) = validate_examples([good(1, question="", sql="prose")], [], ValidationSpec()).quarantined
    assert bad.reasons == ("empty_question", "not_sql")
    assert json.loads(bad.original)["sql"] == "prose"


def test_an_expectation_that_cannot_be_evaluated_is_an_error(monkeypatch):
    import great_expectations.expectations as gxe

    def broken(spec):
        suite = original(spec)
        meta = {"reason": "invented", "scope": "row"}
        suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column="no_such_column", value_set=[1], meta=meta))
        return suite

    original = run.build_suite
    monkeypatch.setattr(run, "build_suite", broken)
    with pytest.raises(NightshiftError, match="invented"):
        validate_examples([good(1)], [], ValidationSpec())


def test_the_document(planted):
    document = validate_examples(*planted, ValidationSpec()).to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["schema_version"] == 1
    assert (document["rows"], document["kept"], document["quarantined"]) == (10 + len(DEFECTS), 10, len(DEFECTS))
    assert document["quarantine"][0] == {"file": "data.jsonl", "row": 11, "id": "g11", "reasons": ["missing_sql"]}
    assert {"name", "reason", "scope", "success", "unexpected", "observed"} == set(document["expectations"][0])
    observed = {e["reason"]: e["observed"] for e in document["expectations"]}
    assert observed["quarantined_share"] == round(len(DEFECTS) / (10 + len(DEFECTS)), 4)
    assert observed["does_not_run"] is None
    assert document["docs"] is None


def test_data_docs_tell_what_failed(planted, tmp_path, capfd, caplog):
    result = validate_examples(*planted, ValidationSpec(), tmp_path / "docs")
    assert capfd.readouterr() == ("", "")  # no progress bars
    assert not caplog.records
    index = tmp_path / "docs" / "index.html"
    assert result.docs == str(index)
    assert index.is_file()
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "docs").rglob("*.html")}
    linked = [page for path, page in pages.items() if path.relative_to(tmp_path / "docs").as_posix() in pages[index]]
    assert any("unknown_table_or_column: gold names only" in page and "g22" in page for page in linked)
    assert any("quarantined_share" in page for page in linked)
    assert not any(str(tmp_path) in page or "nightshift-gx-" in page for page in pages.values())
    assert not (tmp_path / "gx").exists()


def test_quarantine_file_and_table(planted, tmp_path):
    result = validate_examples(*planted, ValidationSpec())
    write_quarantine(tmp_path / "quarantine.jsonl", result.quarantined)
    rows = [json.loads(text) for text in (tmp_path / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["row"] for row in rows] == [bad.row for bad in result.quarantined]
    assert all(set(row) == {"file", "row", "id", "reasons", "original"} and row["original"] for row in rows)
    table = quarantine_table(result)
    assert f"10 of {10 + len(DEFECTS)} rows kept, {len(DEFECTS)} quarantined" in table
    assert all(f"| {reason} |" in table for reason in result.reasons)
    assert all(text.count("|") - text.count("\\|") == 5 for text in table.splitlines() if text.startswith("|"))
    assert "quarantined_share" in table


def test_a_clean_batch_has_no_table():
    table = quarantine_table(validate_examples([good(1)], [], ValidationSpec()))
    assert table == "**1 of 1 rows kept, 0 quarantined.**\n"


def test_an_unknown_name_in_quotes_stays_what_sqlite_takes_it_for():
    example = good(1, sql='SELECT name FROM pupils WHERE name = "Ann"')
    assert validate_examples([example], [], ValidationSpec()).kept == [example]


def test_limits_in_tokens_are_those_of_the_given_tokenizer():
    def words(texts):
        return [len(text.split()) for text in texts]

    spec = ValidationSpec(question_tokens=(4, 8), schema_tokens=(1, 20), max_quarantined_share=1)
    examples = [good(1), good(2, question="Too short"), good(3, schema=SCHEMA + "CREATE TABLE t (a INT);" * 9)]
    result = validate_examples(examples, [], spec, count_tokens=words)
    assert result.reasons == {"question_tokens": 1, "schema_tokens": 1, "broken_schema": 1}
    with pytest.raises(NightshiftError, match="need the tokenizer"):
        validate_examples(examples, [], spec)


def test_vocabularies_of_dialect_domain_and_difficulty():
    spec = ValidationSpec(dialects=["sqlite"], domains=["school"], max_quarantined_share=1)
    school = {"domain": "school", "difficulty": "easy"}
    examples = [
        good(1, **school),
        good(2, **school | {"domain": "cars"}),
        good(3, **school, dialect="duckdb"),
        good(4, **school | {"difficulty": "so so"}),
    ]
    result = validate_examples(examples, [], spec)
    assert [bad.reasons for bad in result.quarantined] == [
        ("domain_not_allowed",), ("dialect_not_allowed",), ("unknown_difficulty",),
    ]  # fmt: skip


def test_shares_of_duplicates_and_conflicts_are_limited():
    examples = [good(1), *(replace(good(1), id=f"d{n}", row=n) for n in range(2, 6))]
    spec = ValidationSpec(max_duplicate_share=0.7, max_quarantined_share=1)
    result = validate_examples(examples, [], spec)
    assert [o.reason for o in result.expectations if o.scope == "batch" and not o.success] == ["duplicate_share"]
    assert len(result.kept) == 5
    conflicting = [good(1), good(1, id="c", sql="SELECT id FROM pupils")]
    result = validate_examples(conflicting, [], spec)
    assert [o.reason for o in result.expectations if o.scope == "batch" and not o.success] == ["conflict_share"]


def test_features_in_chunks_are_judged_as_one_batch(monkeypatch):
    examples = [
        good(1), good(2), good(3), good(1, id="again", row=4), good(2, row=5),
        good(3, id="other", row=6, sql="SELECT id FROM pupils"), good(7, sql="SELECT nme FROM pupils"),
    ]  # fmt: skip
    spec = ValidationSpec(max_quarantined_share=1, max_duplicate_share=0.2, max_conflict_share=0.1)
    whole = validate_examples(examples, [], spec)
    monkeypatch.setattr(run, "_CHUNK", 2)
    assert validate_examples(examples, [], spec) == whole
    assert [(bad.id, bad.reasons) for bad in whole.quarantined] == [
        ("g2", ("duplicate_id",)), ("other", ("conflicting_sql",)), ("g7", ("unknown_table_or_column",)),
    ]  # fmt: skip
    broken = {o.reason for o in whole.expectations if o.scope == "batch" and not o.success}
    assert broken == {"duplicate_share", "conflict_share"}


def test_the_command_names_every_planted_defect_and_keeps_the_original_rows(planted_file, tmp_path):
    from typer.testing import CliRunner

    from flows.cli.main import app

    lines = planted_file.read_bytes().split(b"\n")
    out = tmp_path / "bad.jsonl"
    done = CliRunner().invoke(app, ["validate", str(planted_file), "--quarantine", str(out), "--json"])
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert (document["rows"], document["kept"], document["quarantined"]) == (len(lines), 10, len(DEFECTS))
    assert [(bad["row"], tuple(bad["reasons"])) for bad in document["quarantine"]] == [
        (row, reasons) for row, (_, reasons) in enumerate(DEFECTS, 11)
    ]
    rows = [json.loads(text) for text in out.read_text(encoding="utf-8").splitlines()]
    assert [row["row"] for row in rows] == [bad["row"] for bad in document["quarantine"]]
    for row in rows:
        text = lines[row["row"] - 1].decode("utf-8", "replace")
        assert row["original"][:1000] == text[:1000] or not text.isascii() or "\0" in text


@pytest.mark.parametrize(
    ("path", "rows", "reasons"),
    [
        ("spider/train_spider.jsonl", 3000, {"does_not_run": 2, "unknown_table_or_column": 1}),
        ("bird/dev_minus_minidev_500.jsonl", 500, {}),
        ("synsql/synsql_complex_300.jsonl", 300, {}),
        (
            "gretel/synthetic_text_to_sql.recovered21.jsonl",
            21,
            {"statement_not_allowed": 3, "unknown_table_or_column": 2},
        ),
    ],
)
def test_every_row_of_the_real_files_is_accounted_for_by_its_id(real_data, path, rows, reasons):
    records = list(read_file(FileSource(path=str(real_data / path))))
    examples = [r for r in records if isinstance(r, Example)]
    result = validate_examples(examples, [], ValidationSpec())
    assert len(records) == result.rows == rows
    assert sorted([r.id for r in result.kept] + [r.id for r in result.quarantined]) == sorted(r.id for r in records)
    assert result.reasons == reasons
    assert all(r.reasons and json.loads(r.original) for r in result.quarantined)


def test_sql_create_context_rows_that_do_not_run_are_quarantined(real_data):
    examples = list(read_file(FileSource(path=str(real_data / "sql_create_context/*.jsonl"), difficulty="easy")))
    result = validate_examples(examples, [], ValidationSpec(max_quarantined_share=0.1))
    assert (result.rows, len(result.quarantined)) == (3957, 304)
    assert set(result.reasons) == {"unknown_table_or_column", "broken_schema", "does_not_run"}
    assert result.success
