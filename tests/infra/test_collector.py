"""The collector looks less often while many objects are made, and as before afterwards."""

from __future__ import annotations

import gc

import pytest

from infra.collector import seldom_collected


def _collections() -> int:
    """How often the collector looks while 200,000 objects are made that stay."""
    looked = []

    def note(phase: str, _: dict[str, int]) -> None:
        looked.append(phase == "start")

    gc.callbacks.append(note)
    try:
        kept = [[number] for number in range(200_000)]
    finally:
        gc.callbacks.remove(note)
    assert len(kept) == 200_000
    return sum(looked)


def test_the_collector_looks_seldom_and_still_looks():
    often = _collections()
    with seldom_collected():
        seldom = _collections()
    assert 5 <= seldom <= 10 < often / 10


def test_what_was_set_is_set_again_whatever_happens():
    before = gc.get_threshold()
    gc.set_threshold(701, 11, 12)
    try:
        with pytest.raises(RuntimeError), seldom_collected():
            raise RuntimeError
        assert gc.get_threshold() == (701, 11, 12)
    finally:
        gc.set_threshold(*before)
