"""A comparison as rows of text, for its page and for the terminal."""

from __future__ import annotations

from typing import Any

from tasks.data.page import render_page
from tasks.evaluation.charts import difference_bar, interval_bar
from tasks.evaluation.classes import ERROR_CLASSES
from tasks.evaluation.compare import FEWEST, Comparison, Difference, Pair
from tasks.evaluation.metrics import MAIN, METRICS
from tasks.evaluation.report_tables import TITLES, by_importance, p_sign, p_text, percent, points, range_text, shorten

_TONES = {"better": "up", "worse": "down", "no_difference": "even"}
_CHANGES = 12


def render_comparison(comparison: Comparison) -> str:
    """The comparison as one HTML document."""
    return render_page("tasks.evaluation", "compare.html.j2", comparison_view(comparison))


def comparison_view(comparison: Comparison) -> dict[str, Any]:
    """Everything `compare.html.j2` needs, by name."""
    pairs = [_pair(pair) for pair in comparison.pairs]
    subjects = [
        {
            "name": name,
            "value": percent(interval.value),
            "range": range_text(interval),
            "bar": interval_bar(interval.value, interval.low, interval.high, "challenger" if number else "base"),
        }
        for number, (name, metrics) in enumerate(comparison.subjects.items())
        if (interval := metrics.get(MAIN)) is not None
    ]
    names = " and ".join(comparison.subjects) if len(pairs) == 1 else f"{len(comparison.subjects)} models"
    title = f"Comparison of {names}"
    return {"title": title, "judged_by": comparison.judged_by, "subjects": subjects, "pairs": pairs}


def sentence(pair: Pair) -> str:
    """What a pair comes to, in one sentence."""
    main = pair.metrics.get(MAIN)
    if main is None:
        return f"{pair.other} and {pair.reference} share no example whose gold runs."
    change = f"{points(main.difference)} points of execution accuracy"
    if main.verdict == "no_difference":
        return f"{pair.other} against {pair.reference}: {change}, which chance may explain."
    return f"{pair.other} is {main.verdict} than {pair.reference}: {change}."


def notes(pair: Pair) -> list[str]:
    """The figures behind the sentence."""
    main = pair.metrics.get(MAIN)
    if main is None:
        return []
    found = [
        f"{main.n:,} examples that both were asked: {main.wins:,} won, {main.losses:,} lost; "
        f"95% interval {points(main.low)} to {points(main.high)}, p {p_sign(main.p)} (McNemar, exact mid-p)."
    ]
    if main.n >= FEWEST and main.p_adjusted != main.p:
        found.append(f"Corrected for all models compared: p {p_sign(main.p_adjusted)}.")
    if pair.clustered is not None:
        low, high = pair.clustered
        found.append(f"Drawing databases instead of examples: {points(low)} to {points(high)}.")
    found.append(f"A true gain below {100 * pair.detectable:.1f} points would mostly go unseen here.")
    return found


def metric_cells(pair: Pair) -> list[dict[str, Any]]:
    """One row a metric."""
    return [{"label": METRICS[name].label, **cells(name, found)} for name, found in pair.metrics.items()]


def cells(metric: str, found: Difference) -> dict[str, Any]:
    """A difference as text: shares in percent and points, anything else in its own unit."""
    share = METRICS[metric].high == 1.0
    show = percent if share else lambda value: f"{value:.3g}"
    change = points if share else lambda value: f"{value:+.3g}".replace("-", "−")
    return {
        "reference": show(found.reference),
        "other": show(found.other),
        "difference": change(found.difference),
        "range": f"{change(found.low)} to {change(found.high)}",
        "n": f"{found.n:,}",
        "sides": f"{found.wins:,} / {found.losses:,}",
        "p": p_text(found.p_adjusted) if found.n >= FEWEST else "–",
        "sure": "" if found.verdict == "no_difference" else found.verdict,
        "tone": _TONES[found.verdict],
    }


def slice_rows(pair: Pair) -> list[dict[str, Any]]:
    """One table a dimension, of execution accuracy; dimensions that do not divide are left out."""
    shown = []
    for dimension in by_importance(pair.slices):
        found = [(value, metrics[MAIN]) for value, metrics in pair.slices[dimension].items() if MAIN in metrics]
        if len(found) < 2 or max(difference.n for _, difference in found) < 2:
            continue
        most = max(max(abs(d.low), abs(d.high)) for _, d in found)
        rows = [
            {
                "value": value.replace("_", " "),
                "size": difference.n,
                "net": difference.wins - difference.losses,
                "fallen": difference.difference,
                "bar": difference_bar(
                    difference.difference, difference.low, difference.high, most, _TONES[difference.verdict]
                ),
                **cells(MAIN, difference),
            }
            for value, difference in found
        ]
        title = TITLES.get(dimension, dimension.replace("_", " "))
        shown.append({"title": title, **shorten(rows)})
    return shown


def _pair(pair: Pair) -> dict[str, Any]:
    main = pair.metrics.get(MAIN)
    groups = (
        ("Lost", f"{pair.reference} was right, {pair.other} is wrong", pair.lost),
        ("Won", f"{pair.reference} was wrong, {pair.other} is right", pair.won),
    )
    return {
        "reference": pair.reference,
        "other": pair.other,
        "sentence": sentence(pair),
        "points": points(main.difference) if main is not None else "–",
        "tone": _TONES[main.verdict] if main is not None else "even",
        "notes": notes(pair),
        "metrics": metric_cells(pair),
        "slices": slice_rows(pair),
        "errors": [
            {
                "name": kind.replace("_", " "),
                "about": ERROR_CLASSES.get(kind, ""),
                "cells": [f"{counts[side]:,}" for side in ("reference", "other")],
            }
            for kind, counts in pair.errors.items()
        ],
        "groups": [
            {
                "title": title,
                "about": about,
                "total": f"{len(changes):,}",
                "shown": [
                    {
                        "question": change.question or change.id,
                        "error": (change.error_class or "").replace("_", " "),
                        "answers": [
                            ("Gold", change.gold),
                            (pair.reference, change.reference),
                            (pair.other, change.other),
                        ],
                    }
                    for change in changes[:_CHANGES]
                ],
            }
            for title, about, changes in groups
            if changes
        ],
    }
