"""Progress where nothing can be drawn over: a log, a pipe."""

from __future__ import annotations

import pytest

from flows.cli import progress
from infra.progress import emit


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_an_activity_has_a_line_as_it_begins_each_half_minute_and_before_the_next(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.progress_bars():
        for step in range(1, 71):
            emit("train", f"loss {100 - step}", step, 70)
            clock[0] += 1
        emit("evaluate", "base")
    assert capsys.readouterr().err.splitlines() == [
        "0:00:00 train 1/70 loss 99",
        "0:00:30 train 31/70 loss 69",
        "0:01:00 train 61/70 loss 39",
        "0:01:10 train 70/70 loss 30",
        "0:01:10 evaluate base",
    ]


def test_two_activities_by_turns_do_not_flood(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_bars():
        for step in range(20):
            emit("study", f"row {step}")
            emit("train", f"step {step}")
            clock[0] += 1
    assert capsys.readouterr().err.splitlines() == [
        "0:00:00 study row 0",
        "0:00:00 train step 0",
        "0:00:20 study row 19",
        "0:00:20 train step 19",
    ]


def test_the_last_word_is_told_when_work_fails(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with progress.progress_bars():
            emit("train", "step 1")
            emit("train", "step 2")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert capsys.readouterr().err.splitlines() == ["0:00:00 train step 1", "0:00:00 train step 2"]


def test_nothing_is_shown_when_it_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_bars(enabled=False):
        emit("train", "step 1")
    assert capsys.readouterr().err == ""
