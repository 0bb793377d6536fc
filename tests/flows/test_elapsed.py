"""The time of a trial: all attempts together, those that were killed too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import elapsed
from flows.elapsed import NOTE_SECONDS, Elapsed


def test_attempts_add_up_and_a_killed_one_counts_to_its_last_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(elapsed, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    with Elapsed(tmp_path):
        now[0] += 3
    killed = Elapsed(tmp_path)
    now[0] += 2 * NOTE_SECONDS
    killed.note()
    now[0] += 0.5 * NOTE_SECONDS
    killed.note()  # not yet, and then comes SIGKILL
    now[0] += 1000
    with Elapsed(tmp_path) as last:
        now[0] += 4
        assert last.seconds == 3 + 2 * NOTE_SECONDS + 4
    assert Elapsed(tmp_path).seconds == 3 + 2 * NOTE_SECONDS + 4
