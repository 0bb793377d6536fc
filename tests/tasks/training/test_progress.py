"""Progress in the Prefect UI is news: a server that is away or late never costs a training."""

from __future__ import annotations

import logging

import httpx
import pytest

from tasks.training import steps


def test_a_server_that_is_away_is_told_again_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away, told = [True], []

    def create(percent: float, **about: str) -> str:
        if away[0]:
            raise httpx.ReadTimeout("timed out")
        told.append((percent, about["key"]))
        return "id"

    def update(artifact: str, percent: float) -> None:
        if away[0]:
            raise httpx.ConnectError("refused")
        told.append((percent, artifact))

    monkeypatch.setattr(steps, "create_progress_artifact", create)
    monkeypatch.setattr(steps, "update_progress_artifact", update)
    page = steps.StageProgress("1 easy", "stage-easy")
    with caplog.at_level(logging.WARNING):
        page.show(0.0)
        away[0] = False
        page.show(50.0)
        away[0] = True
        page.show(75.0)
        away[0] = False
        page.show(100.0)
    assert told == [(50.0, "stage-easy"), (100.0, "id")]
    assert [record.message for record in caplog.records] == [
        "progress of 1 easy is not shown: timed out",
        "progress of 1 easy is not shown: refused",
    ]


def test_any_other_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a key that Prefect does not take")

    monkeypatch.setattr(steps, "create_progress_artifact", broken)
    with pytest.raises(ValueError, match="does not take"):
        steps.StageProgress("1 easy", "Stage easy").show(0.0)
