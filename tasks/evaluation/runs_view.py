"""The page of many runs: what `runs.html.j2` lays out, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from tasks.data.page import render_page
from tasks.evaluation.charts import Curve, interval_bar
from tasks.evaluation.metrics import METRICS
from tasks.evaluation.report_tables import percent, range_text
from tasks.evaluation.runs import Run
from tasks.evaluation.runs_charts import COLOURS, Point, curves_chart, line_class, quality_chart
from tasks.evaluation.runs_report import RunsReport, group_sentences
from tasks.evaluation.runs_tables import METRIC_IDS, figure, in_order, seconds_text

_METHODS = {"sft": "SFT", "dpo": "DPO", "grpo": "GRPO", "reward": "reward model"}
_FOLDED = ("Every metric", "Every trial")  # tables for whoever looks for one figure
_TONES = {"better": "pass", "worse": "fail", "not told apart": "calm", "not measured": "wait"}


def render_runs(report: RunsReport) -> str:
    """The report as one HTML document that needs nothing else."""
    return render_page("tasks.evaluation", "runs.html.j2", runs_view(report))


def runs_view(report: RunsReport) -> dict[str, Any]:
    """Everything the template needs."""
    ordered = in_order(report.runs)
    return {
        "title": report.title,
        "description": report.description,
        "created": report.created,
        "facts": report.facts,
        "findings": [finding.model_dump() | {"tone": _TONES[finding.verdict]} for finding in report.findings],
        "groups": group_sentences(report),
        "bars": _bars(report, ordered),
        "failed": [{"title": run.title, "error": run.error or ""} for run in ordered if not run.finished],
        "charts": _charts(ordered),
        "curves": _curves(ordered),
        "metrics": _metric_bars(ordered),
        "tables": [table.model_dump() | {"folded": table.title in _FOLDED} for table in report.tables],
        "left_out": report.left_out,
    }


def _bars(report: RunsReport, ordered: Sequence[Run]) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "title": run.title,
            "value": percent(run.execution_accuracy.value),
            "range": range_text(run.execution_accuracy),
            "letters": " ".join(report.apart.letters.get(run.name, "")),
            "confounded": bool(report.differs.get(run.name)),
            "bar": _bar(run, "" if run.candidates else "base"),
        }
        for number, run in enumerate(ordered, start=1)
        if run.finished and run.execution_accuracy is not None
    ]


def _bar(run: Run, kind: str) -> Markup:
    assert run.execution_accuracy is not None
    return interval_bar(run.execution_accuracy.value, run.execution_accuracy.low, run.execution_accuracy.high, kind)


def _charts(ordered: Sequence[Run]) -> list[dict[str, Any]]:
    """Quality against memory, trained weights and cost, each over the runs that have both."""
    axes: list[tuple[str, str, Callable[[Run], float | None], Callable[[float], str], bool]] = [
        ("Quality and memory", "peak memory", _gigabytes, lambda size: f"{size:.3g} GB", False),
        ("Quality and trained weights", "trained weights", lambda run: run.trainable, _count_text, True),
        ("Quality and time", "time", lambda run: run.seconds, seconds_text, False),
    ]
    if any(run.price is not None for run in ordered):
        axes[2] = ("Quality and cost", "cost", lambda run: run.price, figure, False)
    found = []
    for title, axis, cost, show, log in axes:
        points = [
            Point(number, run.title, run.execution_accuracy, float(value))
            for number, run in enumerate(ordered, start=1)
            if run.finished and run.execution_accuracy is not None and (value := cost(run))
        ]
        if chart := quality_chart(points, axis, show, log):
            found.append({"title": title, "chart": chart, "legend": [(p.number, p.title) for p in points]})
    return found


def _gigabytes(run: Run) -> float | None:
    return None if run.peak_memory_mb is None else run.peak_memory_mb / 1024


def _method_title(methods: str) -> str:
    """`sft + dpo` as `SFT + DPO`."""
    return " + ".join(_METHODS.get(name, name.replace("_", " ")) for name in methods.split(" + "))


def _count_text(count: float) -> str:
    """A count of weights, short."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:g}"


def _curves(ordered: Sequence[Run]) -> list[dict[str, Any]]:
    """Learning curves, one chart for each chain of methods: losses of different methods share no axis."""
    kinds: dict[str, list[Run]] = {}
    for run in ordered:
        if len(run.curve) > 1:
            kinds.setdefault(run.method or "training", []).append(run)
    found = []
    for kind, runs in kinds.items():
        for start in range(0, len(runs), COLOURS):
            some = runs[start : start + COLOURS]
            chart = curves_chart([Curve(run.title, run.curve) for run in some])
            found.append(
                {
                    "title": _method_title(kind),
                    "chart": chart,
                    "legend": [(line_class(n), run.title) for n, run in enumerate(some)],
                }
            )
    return found


def _metric_bars(ordered: Sequence[Run]) -> list[dict[str, Any]]:
    """Bars of every metric beyond execution accuracy, one group a metric, one bar a run."""
    judged = [run for run in ordered if run.metrics]
    return [
        {
            "title": METRICS[id].label,
            "bars": [
                {"title": run.title, "value": percent(i.value), "bar": interval_bar(i.value, i.low, i.high, "")}
                for run in judged
                if (i := run.metrics.get(id)) is not None and i.n
            ],
        }
        for id in METRIC_IDS[1:]
        if any(id in run.metrics and run.metrics[id].n for run in judged)
    ]
