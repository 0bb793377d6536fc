"""Tables in the terminal: short cells stay whole at 80 columns, long ones get the room there is."""

from __future__ import annotations

import pytest

from flows.cli.show import minute, people, table
from flows.cli.watch import _show_diff, _show_status

HISTORY = ("entry", "when (UTC)", "action", "version", "by", "reason")
ENTRY = (
    3,
    "2026-03-04 03:12",
    "rollback",
    "12",
    "Bob",
    "wrong dates since Tuesday, and names that nobody has heard of",
)


@pytest.fixture(params=[80, 160])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def test_short_cells_are_never_broken_and_no_line_is_too_long(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    table("ledger", HISTORY, [ENTRY])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "rollback" in line)
    assert row.split()[:6] == ["3", "2026-03-04", "03:12", "rollback", "12", "Bob"]
    assert sum(any(word in line for word in ENTRY[-1].split()) for line in lines) == (1 if width == 160 else 3)


def test_words_stay_whole_where_every_column_is_wide(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("metric", "champion", "challenger", "change", "95% interval", "p (Holm)", "")
    row = ("Execution accuracy, telling examples", "51.2%", "55.0%", "+3.8", "+1.0 to +6.6", "0.012", "better")
    table("", columns, [row])
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("Execution", "accuracy,", "telling", "+1.0 to +6.6", "0.012"))
    assert max(map(len, shown.splitlines())) <= width


def test_times_are_told_to_the_minute_in_utc() -> None:
    assert minute("2026-03-04T03:12:59+00:00") == minute("2026-03-04T03:12:59Z") == "2026-03-04 03:12"
    assert minute("2026-03-04T03:12:59+02:00") == "2026-03-04 01:12"
    assert minute("never") == "never"


def test_who_approved_and_promoted_is_named_once() -> None:
    assert people("Ada", "Ada") == ["Ada"]
    assert people("nightshift", "Ada") == ["nightshift", "Ada"]
    assert people("nightshift", None) == ["nightshift"]


def test_a_diff_has_no_empty_tables(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    side = {"night": "n", "dataset": "d"}
    found = {
        "a": {"version": "1", **side},
        "b": {"version": "2", **side},
        "data": {"same": False, "splits": None},
        "recipe": [],
        "metrics": {},
        "slices": {"difficulty": {"easy": {"a": 0.5, "b": 0.5, "delta": 0.0, "n": 9}}},
        "examples": {
            "common": 9,
            "fixed": [],
            "broken": [{"question": "How many?", "a_sql": "SELECT 1", "b_sql": "SELECT 2"}],
        },
    }
    _show_diff(found)
    shown = capsys.readouterr().out
    assert "Data: changed; which rows is not known" in shown
    for line in ("Recipe: the same", "Slices that moved: none", "Fixed: no example", "Broken: 1 examples"):
        assert line in shown
    assert "How many?" in shown


def test_status_says_what_is_in_production_in_sentences(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    now = {"version": "4", "time": "2026-03-04T03:12:59+00:00", "actor": "nightshift", "approver": "Ada",
           "reason": "read the report"}  # fmt: skip
    request = {"release": "b", "version": "9", "deadline": "2026-03-05T03:12:59+00:00", "reason": "a new base model"}
    nothing = {"awaiting_approval": [], "findings": [], "adopted": False, "rejected": None}
    no = {"version": "5", "reason": "latency_seconds max: 9 measured, at most 2 asked"}
    _show_status(
        [
            {"release": "a", "production": now, "previous": "3", **nothing, "rejected": no},
            {"release": "b", "production": None, "previous": None, **nothing, "awaiting_approval": [request]},
        ]
    )
    shown = capsys.readouterr().out
    assert "a: version 4 is in Production; before it version 3\n" in shown
    assert "since 2026-03-04 03:12 UTC, by nightshift and Ada: read the report" in shown
    assert "version 5 was rejected: latency_seconds max: 9 measured, at most 2 asked" in " ".join(shown.split())
    assert "b: nothing is in Production" in shown
    assert "9        2026-03-05 03:12  a new base model" in shown
    assert max(map(len, shown.splitlines())) <= width
