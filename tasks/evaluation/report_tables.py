"""The report's numbers as rows of text: slices with their change, metrics and error classes of several subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.evaluation.charts import interval_bar
from tasks.evaluation.classes import ERROR_CLASSES
from tasks.evaluation.health import HEALTH
from tasks.evaluation.metrics import MAIN, METRICS
from tasks.evaluation.scorecard import Interval, Role, Scorecard
from tasks.evaluation.statistics import PairedDifference, mcnemar_midp, paired_bootstrap

# Dimensions in the order people ask about them; others follow by name.
_DIMENSIONS = ("difficulty", "hardness", "clause", "tables", "phrasing", "domain", "source", "database")
TITLES = {"hardness": "Spider's hardness", "tables": "tables in the query", "phrasing": "phrasing of the question"}
# Other evaluators and counts, beside which published figures may be put.
OTHERS = {
    "bird_ex": "BIRD's execution accuracy: results as sets",
    "bird_soft_f1": "BIRD's soft F1: cells of rows at the same position, duplicates dropped",
    "spider_ts": "Spider's test-suite script on one database, which removes every DISTINCT",
    "spider_ts_keep_distinct": "the same script, told to keep DISTINCT",
    "flat_exact_match": "the same text, lower-cased and without spaces, literals too",
}
_LONG = 8  # more rows than this are sorted by change
SLICE_ROWS = 40  # rows of one dimension; the rest is in the scorecard's JSON

Cards = Mapping[Role, Scorecard]


def by_importance(dimensions: Iterable[str]) -> list[str]:
    """Slice dimensions in the order people ask about them."""
    order = {name: number for number, name in enumerate(_DIMENSIONS)}
    return sorted(dimensions, key=lambda name: (order.get(name, len(order)), name))


def percent(share: float) -> str:
    """A share as per cent with one decimal."""
    return f"{100 * share:.1f}%"


def p_text(p: float) -> str:
    """A p value as people write it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_sign(p: float) -> str:
    """A p value with its sign, to follow a `p`: `= 0.020` or `< 0.001`."""
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, always signed."""
    return f"{100 * difference:+.1f}".replace("-", "−") if round(100 * difference, 1) else "±0.0"


def compare(
    main: Scorecard | None, other: Scorecard | None, slice: dict[str, str] | None = None
) -> PairedDifference | None:
    """The paired difference in execution accuracy on the examples both scorecards judged; None when there is none."""
    if main is None or other is None:
        return None
    ours, theirs = main.values(MAIN, slice), other.values(MAIN, slice)
    shared = [id for id in ours if id in theirs]
    if not shared:
        return None
    return paired_bootstrap([ours[id] for id in shared], [theirs[id] for id in shared], resamples=4_000)


def difference_text(found: PairedDifference) -> dict[str, str]:
    """A paired difference as text; `sure` is up or down only where both interval and McNemar's test rule chance out."""
    telling = mcnemar_midp(found.wins, found.losses) < 1 - found.confidence
    sure = "up" if telling and found.low > 0 else "down" if telling and found.high < 0 else "even"
    return {
        "points": points(found.difference),
        "range": f"{points(found.low)} to {points(found.high)}",
        "sure": sure,
        "wins": f"{found.wins:,}",
        "losses": f"{found.losses:,}",
    }


def slice_tables(cards: Cards, main: Scorecard | None, reference: Scorecard | None) -> list[dict[str, Any]]:
    """One table a dimension; left out are dimensions that do not divide, or divide down to single examples.

    A long table begins with what fell most against `reference`: that is what its reader is looking for. One that is
    too long keeps what changed most.
    """
    if main is None:
        return []
    tables = []
    for name in by_importance(main.slices):
        values = main.slices[name]
        counts = [metrics[MAIN].n for metrics in values.values() if MAIN in metrics]
        if len(counts) < 2 or max(counts) < 2:
            continue
        rows = [_slice_row(name, value, cards, main, reference) for value in values]
        title = TITLES.get(name, name.replace("_", " "))
        tables.append({"title": title, **shorten(rows, compared=reference is not None)})
    return tables


def shorten(rows: Sequence[dict[str, Any]], compared: bool = True) -> dict[str, Any]:
    """A table of slices that people can read: `rows` that are shown, whether it is `long`, how many are `left_out`.

    Rows have `size` (examples), `net` (won less lost) and `fallen` (the change). Kept are those where most examples
    changed sides, then the largest; a long table that compares two begins with what fell most.
    """
    kept = sorted(range(len(rows)), key=lambda n: (-abs(rows[n]["net"]), -rows[n]["size"], n))[:SLICE_ROWS]
    shown = [rows[n] for n in sorted(kept)]
    long = compared and len(rows) > _LONG
    if long:
        shown.sort(key=lambda row: row["fallen"])
    return {"rows": shown, "long": long, "left_out": len(rows) - len(shown)}


def _slice_row(name: str, value: str, cards: Cards, main: Scorecard, reference: Scorecard | None) -> dict[str, Any]:
    intervals = {role: card.slices.get(name, {}).get(value, {}).get(MAIN) for role, card in cards.items()}
    found = next((intervals[role] for role, card in cards.items() if card is main), None)
    others = [
        (interval.value, role, f"{role} {percent(interval.value)}")
        for role, interval in intervals.items()
        if interval is not None and cards[role] is not main
    ]
    difference = compare(main, reference, {name: value})
    return {
        "value": value.replace("_", " ") if name in ("clause", "phrasing") else value,
        "n": f"{found.n:,}" if found else "0",
        "cells": [percent(interval.value) if interval is not None else "–" for interval in intervals.values()],
        "bar": interval_bar(found.value, found.low, found.high, "challenger", others) if found else "",
        "difference": difference_text(difference) if difference is not None else None,
        "fallen": difference.difference if difference is not None else 0.0,
        "net": difference.wins - difference.losses if difference is not None else 0,
        "size": found.n if found else 0,
    }


def metric_rows(cards: Cards) -> list[dict[str, Any]]:
    """One row a metric that any subject has, with a cell for each subject; None where it has nothing to count."""
    rows = []
    for metric in METRICS.values():
        found = [card.metrics.get(metric.id) for card in cards.values()]
        if any(interval is not None and interval.n > 0 for interval in found):
            show = percent if metric.high == 1.0 else lambda value: f"{value:.3g}"
            cells = [
                None if i is None or i.n == 0 else {"value": show(i.value), "range": f"{show(i.low)} to {show(i.high)}"}
                for i in found
            ]
            better = "lower is better" if metric.direction == "lower" else ""
            rows.append({"label": metric.label, "about": metric.description, "better": better, "cells": cells})
    return rows


def error_rows(cards: Cards) -> list[dict[str, Any]]:
    """One row an error class, the last subject's most frequent first."""
    names = {name for card in cards.values() for name in card.errors}
    last = list(cards.values())[-1] if cards else None
    ordered = sorted(names, key=lambda name: (-last.errors.get(name, 0), name)) if last else []
    return [
        {
            "name": name.replace("_", " "),
            "about": ERROR_CLASSES.get(name, ""),
            "cells": [f"{card.errors.get(name, 0):,}" for card in cards.values()],
        }
        for name in ordered
    ]


def judged_by(card: Scorecard) -> str:
    """By which rules and where a scorecard's queries were judged, in one line; empty where it does not say."""
    if not card.rules:
        return ""
    suite = f", and on {card.suite} fuzzed copies of each database" if card.suite else ""
    ran = ", ".join(f"{name} ({count:,})" for name, count in card.engines.items())
    return f"rules: {card.rules}{suite}" + (f"; run by {ran}" if ran else "")


def other_rows(cards: Cards) -> list[dict[str, Any]]:
    """One row for each other way of judging that any subject was judged by, too; for published numbers only."""
    names = list(dict.fromkeys(name for card in cards.values() for name in card.compatibility))
    found = {name: [card.compatibility.get(name) for card in cards.values()] for name in names}
    return [
        {
            "label": name.replace("_", " "),
            "about": OTHERS.get(name, ""),
            "cells": [
                None if one is None else {"value": percent(one.value), "range": range_text(one)} for one in found[name]
            ],
        }
        for name in names
    ]


def health_rows(cards: Cards) -> list[dict[str, Any]]:
    """One row a flag of output health that any subject's answers have."""
    return [
        {
            "label": flag.replace("_", " "),
            "about": about,
            "cells": [percent(card.health[flag].value) if flag in card.health else "–" for card in cards.values()],
        }
        for flag, about in HEALTH.items()
        if any(flag in card.health and card.health[flag].value > 0 for card in cards.values())
    ]


def range_text(interval: Interval) -> str:
    """An interval of shares as per cent."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}%"
