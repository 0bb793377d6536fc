"""The stated rate of false promotions holds: exact tests against enumeration, and years of nights with equal models."""

from __future__ import annotations

from math import comb, inf

import numpy as np
import pytest

from registry.judging import MINIMUM_PAIRS
from registry.proof import chance_of_as_many_wins, margin_score
from tasks.evaluation.statistics import paired_bootstrap
from tests.registry.test_gates import BETTER, NO_WORSE, card, judge

NIGHTS = 365


def test_the_sign_test_is_the_binomial_tail():
    assert chance_of_as_many_wins(0, 0) == 1.0
    assert chance_of_as_many_wins(5, 0) == 1 / 32
    assert chance_of_as_many_wins(3, 2) == 0.5
    assert chance_of_as_many_wins(700, 600) == pytest.approx(0.0030, abs=2e-4)


def test_the_margin_score_agrees_with_a_search_for_the_likeliest_border_case():
    for wins, losses, n, margin in [(5, 9, 80, 0.1), (0, 3, 60, 0.05), (2, 0, 40, 0.2), (20, 25, 200, 0.03)]:
        q = np.linspace(margin + 1e-9, (1 + margin) / 2 - 1e-9, 200_001)
        likelihood = (n - wins - losses) * np.log(1 - 2 * q + margin)
        likelihood += (wins * np.log(q - margin) if wins else 0) + (losses * np.log(q) if losses else 0)
        best = q[likelihood.argmax()]
        spread = (n * (2 * best - margin - margin**2)) ** 0.5
        assert margin_score(wins, losses, n, margin) == pytest.approx((wins - losses + n * margin) / spread, rel=1e-3)
    assert margin_score(0, 0, 10, 1.0) == inf


def test_three_wins_and_no_loss_convince_the_bootstrap_but_not_the_gate():
    ours, theirs = [1] * 3 + [0] * 297, [0] * 300
    assert paired_bootstrap(ours, theirs).lower_bound >= 0
    assert chance_of_as_many_wins(3, 0) == 1 / 8
    assert judge(BETTER | {"min_delta": 0.0}, card(ours), card(theirs)).status == "fail"
    ours[:5] = [1] * 5
    assert judge(BETTER | {"min_delta": 0.0}, card(ours), card(theirs)).status == "pass"


def test_no_difference_on_few_examples_proves_nothing():
    same = [1] * 20
    assert judge(NO_WORSE, card(same), card(same)).status == "fail"
    assert judge(NO_WORSE, card(same * 5), card(same * 5)).status == "pass"


def exact_rate(n, discordance, confidence):
    """The true probability that the gate's two conditions let an equal model through, summed over all outcomes."""
    total = 0.0
    for pairs in range(n + 1):
        mass = comb(n, pairs) * discordance**pairs * (1 - discordance) ** (n - pairs)
        if mass < 1e-12:
            continue
        for wins in range(pairs + 1):
            if chance_of_as_many_wins(wins, pairs - wins) <= 1 - confidence:
                total += mass * comb(pairs, wins) / 2**pairs
    return total


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("n", "discordance"), [(MINIMUM_PAIRS, 0.5), (100, 0.02), (100, 0.3)])
def test_no_size_of_test_set_lets_more_equal_models_through_than_stated(confidence, n, discordance):
    assert exact_rate(n, discordance, confidence) <= 1 - confidence


@pytest.mark.parametrize(("confidence", "most"), [(0.95, 1 - 0.95), (0.999, 1 - 0.999)])
def test_a_year_of_equal_models_promotes_no_more_often_than_stated(confidence, most):
    """365 nights, each a new model exactly as good as the champion on a test set of its own."""
    rng = np.random.default_rng(11)
    gate = BETTER | {"min_delta": 0.0, "confidence": confidence}
    promoted = 0
    for _ in range(NIGHTS):
        skill = rng.random(120) < 0.6
        ours, theirs = (np.where(rng.random(120) < 0.2, ~skill, skill) for _ in range(2))
        promoted += judge(gate, card(ours), card(theirs)).status == "pass"
    expected = NIGHTS * most
    assert promoted <= expected + 2.33 * (expected * (1 - most)) ** 0.5 + 0.5
    assert (promoted > 0) == (confidence < 0.99)  # the simulation can promote: the bound is not met by an idle gate
