"""Looks at a running training: where they are, what they compare, and what they leave."""

from __future__ import annotations

import pytest

from tasks.training.rungs import Rung, Watch, loss_at


def test_a_look_averages_the_last_tenth_of_the_steps() -> None:
    curve = {step: float(step) for step in range(1, 41)}
    assert loss_at(curve, 40, 0.5) == pytest.approx((17 + 18 + 19 + 20) / 4)
    assert loss_at(curve, 5, 0.5) == 3.0
    assert loss_at(curve, 4, 0.01) == 1.0
    assert loss_at(dict.fromkeys(range(18, 41), 1.0), 40, 0.5) is None  # resumed at step 18


def test_a_training_ends_at_the_first_look_where_it_is_behind() -> None:
    watch = Watch((Rung(share=0.25, worst=3.0), Rung(share=0.5, worst=1.5), Rung(share=0.75, worst=0.1)))
    seen = [watch.see(step, 8, loss) for step, loss in enumerate([5.0, 2.9, 2.5, 1.6], start=1)]
    assert seen[:3] == [None] * 3
    assert seen[3] is not None
    assert (seen[3].share, seen[3].loss, seen[3].steps) == (0.5, 1.6, 8)
    assert seen[3].curve == [(1, 5.0), (2, 2.9), (3, 2.5), (4, 1.6)]
    assert "ended after 50% of its steps: its loss was 1.6000, and 1.5000 at most goes on" in seen[3].why


def test_a_look_without_a_limit_ends_nothing() -> None:
    watch = Watch((Rung(share=0.5),))
    assert [watch.see(step, 4, 100.0) for step in range(1, 5)] == [None] * 4
