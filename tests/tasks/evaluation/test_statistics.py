"""Intervals against published values, and the paired bootstrap on planted outcomes."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from tasks.evaluation.metrics import METRICS, SLICED, summarise, summarise_all
from tasks.evaluation.statistics import (
    SEED,
    bootstrap_interval,
    bootstrap_intervals,
    clustered_interval,
    holm,
    mcnemar_midp,
    paired_bootstrap,
    sign_flip_p,
    smallest_detectable_gain,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (5, 10, 0.2366, 0.7634),
        (8, 10, 0.4902, 0.9433),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_at_the_ends_has_a_width_and_stays_inside():
    assert wilson_interval(0, 15)[1] == pytest.approx(0.2039, abs=1e-4)
    assert wilson_interval(15, 15)[1] == 1.0
    assert wilson_interval(15, 15)[0] < 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson_interval(3, 2)


def test_bootstrap_interval_agrees_with_the_normal_one_and_is_seeded():
    rng = random.Random(7)
    values = [rng.gauss(0.5, 0.2) for _ in range(400)]
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5 / len(values) ** 0.5
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx((mean - 1.96 * spread, mean + 1.96 * spread), abs=0.005)
    assert bootstrap_interval(values) == (low, high)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


def test_bootstrap_blocks_do_not_change_how_many_samples_are_drawn():
    low, high = bootstrap_interval([0.0, 1.0] * 1500, resamples=2000)  # needs several blocks
    assert 0.47 < low < 0.5 < high < 0.53


def test_columns_that_share_their_samples_have_the_intervals_of_each_alone():
    rng = random.Random(3)
    columns = [[rng.random() for _ in range(1500)] for _ in range(3)]
    assert bootstrap_intervals(columns) == [bootstrap_interval(column) for column in columns]
    # By one draw of all samples, as the percentile bootstrap is defined.
    drawn = np.random.default_rng(SEED).integers(0, 1500, size=(2_000, 1500))
    low, high = np.quantile(np.array(columns[1])[drawn].mean(axis=1), [0.025, 0.975])
    assert bootstrap_intervals(columns)[1] == pytest.approx((low, high), abs=1e-12)


def test_a_planted_gain_is_seen_and_no_gain_is_not():
    champion = [1.0] * 500 + [0.0] * 500
    better = [1.0] * 480 + [0.0] * 20 + [1.0] * 70 + [0.0] * 430
    found = paired_bootstrap(better, champion)
    assert (found.wins, found.losses, found.n) == (70, 20, 1000)
    assert found.difference == pytest.approx(0.05)
    assert 0 < found.low < found.lower_bound < found.difference < found.high
    assert found.probability > 0.999
    swapped = [1.0] * 460 + [0.0] * 40 + [1.0] * 42 + [0.0] * 458
    found = paired_bootstrap(swapped, champion)
    assert found.difference == pytest.approx(0.002)
    assert found.low < 0 < found.high
    assert 0.4 < found.probability < 0.8


def test_a_tie_is_never_ahead():
    found = paired_bootstrap([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert (found.difference, found.low, found.high, found.lower_bound, found.probability) == (0, 0, 0, 0, 0)


def test_the_fast_draw_for_0_1_outcomes_agrees_with_resampling_examples():
    rng = random.Random(3)
    ours = [float(rng.random() < 0.6) for _ in range(400)]
    theirs = [float(rng.random() < 0.5) for _ in range(400)]
    fast = paired_bootstrap(ours, theirs)
    slow = paired_bootstrap([x + 1e-9 * i for i, x in enumerate(ours)], theirs)
    assert (fast.low, fast.high, fast.probability) == pytest.approx((slow.low, slow.high, slow.probability), abs=0.006)


def test_pairing_refuses_what_cannot_be_paired():
    for ours, theirs in (([1.0], [1.0, 0.0]), ([], [])):
        with pytest.raises(ValueError, match="paired outcomes"):
            paired_bootstrap(ours, theirs)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (10, 0, 2 / 2**11),
        (1, 9, 0.01171875),  # twice (1 + 10) / 1024, less 10 / 1024
        (9, 1, 0.01171875),
    ],
)
def test_mcnemar_midp(wins, losses, p):
    assert mcnemar_midp(wins, losses) == pytest.approx(p)


def test_mcnemar_of_thousands_of_pairs_does_not_overflow():
    assert mcnemar_midp(1500, 1500) == pytest.approx(1.0)
    assert 0 <= mcnemar_midp(1900, 1100) < 1e-40


def test_smallest_detectable_gain_matches_the_worked_figures():
    assert smallest_detectable_gain(1034) == pytest.approx(0.034, abs=0.0005)
    assert smallest_detectable_gain(5000) == pytest.approx(0.015, abs=0.0005)


def test_the_table_of_metrics_is_sound():
    assert len(METRICS) == 28
    for name, metric in METRICS.items():
        assert metric.id == name
        assert metric.direction in ("higher", "lower")
        assert metric.low < metric.high
        assert metric.description
    assert METRICS["schema_hallucination"].direction == METRICS["latency_seconds"].direction == "lower"
    assert set(SLICED) <= set(METRICS)
    assert all(METRICS[name].binary for name in SLICED)


def test_summaries_use_the_interval_their_metric_asks_for():
    shares = summarise("execution_accuracy", [1.0] * 5 + [0.0] * 5)
    assert (shares.value, shares.n) == (0.5, 10)
    assert (shares.low, shares.high) == wilson_interval(5, 10)
    scores = summarise("rougeL", [0.2, 0.4, 0.9])
    assert (scores.low, scores.high) == bootstrap_interval([0.2, 0.4, 0.9])
    assert summarise("runs", []).n == 0
    columns = {"runs": [1.0, 0.0], "bleu": [0.2, 0.7], "rougeL": [0.1, 0.3], "ves": [1.0, 0.5, 0.0], "soft_f1": []}
    together = summarise_all(columns)
    assert together == {metric: summarise(metric, values) for metric, values in columns.items()}
    assert together["ves"].low < together["ves"].value < together["ves"].high


def test_holm_gives_the_worked_figures():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02]) == [0.02]


def test_holm_keeps_false_alarms_rare_where_nothing_differs():
    rng = random.Random(3)
    alarms = [
        sum(min(correct([rng.random() for _ in range(50)])) < 0.05 for _ in range(400)) for correct in (holm, list)
    ]
    assert alarms[0] / 400 < 0.09
    assert alarms[1] / 400 > 0.8


def test_the_sign_flip_test_agrees_with_the_exact_count():
    # All 2**5 sign patterns of these: only all plus and all minus are as far from 0.
    assert sign_flip_p([0.5, 0.4, 0.3, 0.2, 0.1]) == pytest.approx(2 / 32, abs=0.01)
    assert sign_flip_p([0.5, -0.5]) == 1.0
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([0.3] * 40) < 0.001
    assert sign_flip_p([0.5, 0.4, 0.3]) == sign_flip_p([0.5, 0.4, 0.3])


def test_a_gain_on_one_database_alone_is_less_sure_than_it_looks():
    differences = [1.0] * 20 + [0.0] * 80
    places = ["a"] * 20 + [name for name in "bcde" for _ in range(20)]
    low, high = clustered_interval(differences, places)
    assert (low, high) == clustered_interval(differences, places)
    assert low == 0.0
    assert high > bootstrap_interval(differences)[1]
    with pytest.raises(ValueError, match="needs one each"):
        clustered_interval([1.0], [])


def test_drawing_thousands_of_databases_takes_bounded_memory():
    names = [f"d{number}" for number in range(20_000)]
    tracemalloc.start()
    low, high = clustered_interval([float(number % 2) for number in range(20_000)], names, resamples=1_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.48 < low < 0.5 < high < 0.52
    assert peak < 100e6, "all at once it would be 160 MB for the numbers drawn alone, and twice that for their sums"
