"""The tables of many runs: how a search went on, every trial, the final figures, every metric.

A table is rows of text, so that the page, the Markdown file and the terminal show the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.evaluation.metrics import METRICS
from tasks.evaluation.report_tables import percent, range_text
from tasks.evaluation.runs import Run
from tasks.evaluation.telling_apart import Apart

MISSING = "–"
METRIC_IDS = ("execution_accuracy", "exact_match", "hybrid_score", "rouge1", "rougeL", "bleu", "runs")


class Table(BaseModel):
    """A title, what it is about, columns and rows of text; `right` are the numbers of columns that hold figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    about: str = ""
    columns: list[str]
    rows: list[list[str]]
    right: list[int] = Field(default_factory=list)

    def markdown(self) -> str:
        """The table as GitHub's Markdown shows one."""
        lines = [f"## {self.title}", ""]
        lines += [self.about, ""] if self.about else []
        lines += [_line(self.columns), _line(["--:" if n in self.right else "---" for n in range(len(self.columns))])]
        return "\n".join([*lines, *map(_line, self.rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Best first; then those that were not judged, then those that failed, as they came."""

    def place(run: Run) -> tuple[int, float]:
        if not run.finished:
            return (2, 0.0)
        return (0, -run.execution_accuracy.value) if run.execution_accuracy else (1, run.eval_loss or 0.0)

    return sorted(runs, key=place)


def final_table(runs: Sequence[Run], apart: Apart, differs: Mapping[str, Sequence[str]]) -> Table:
    """One row a run: what it trains, what that cost, how good it is, and what else is different about it."""
    rows = []
    for number, run in enumerate(in_order(runs), start=1):
        score = run.execution_accuracy
        notes, apart_in = [run.note] if run.note else [], differs.get(run.name, ())
        notes += [f"differs: {'; '.join(apart_in)}"] if apart_in else []
        if not run.finished:
            notes = [f"{run.status}: {run.error or 'no reason given'}", *notes]
        rows.append(
            [
                str(number),
                run.title,
                trainable_text(run),
                figure(run.samples_per_second),
                memory_text(run.peak_memory_mb),
                seconds_text(run.seconds),
                MISSING if run.eval_loss is None else f"{run.eval_loss:.3f}",
                percent(score.value) if score else MISSING,
                range_text(score) if score else MISSING,
                " ".join(apart.letters.get(run.name, "")) or MISSING,
                "; ".join(notes),
            ]
        )
    priced = any(run.price is not None for run in runs)
    columns = ["#", "run", "trained weights", "samples/s", "peak memory", "time", "validation loss"]
    columns += ["score", "95% interval", "group", "notes"]
    if priced:
        columns.insert(6, "cost")
        for row, run in zip(rows, in_order(runs), strict=True):
            row.insert(6, MISSING if run.price is None else f"{run.price:.4g}")
    text = {1, len(columns) - 1, len(columns) - 2}
    return Table(
        title="Final figures",
        about="Score is execution accuracy on the test questions; runs that share a letter in group cannot be told "
        "apart. Samples a second come from the tokens that training saw, memory was measured, weights were counted. "
        "Validation losses of different methods cannot be compared.",
        columns=columns,
        rows=rows,
        right=[n for n in range(len(columns)) if n not in text],
    )


def progression_table(trials: Sequence[Run]) -> Table:
    """One row a method and stage of a search: its sizes, how many candidates it tried, the best validation loss."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for trial in trials:
        if trial.candidates > 0:
            groups.setdefault((trial.method, trial.peft, trial.stage), []).append(trial)
    rows = []
    for (method, peft, stage), found in groups.items():
        losses = [(run.eval_loss, run) for run in found if run.finished and run.eval_loss is not None]
        loss, best = min(losses, key=lambda pair: pair[0]) if losses else (None, None)
        broken = sum(run.status == "failed" for run in found)
        notes = [f"best: {values_text(best.values)}"] if best is not None and best.values else []
        notes += [f"{broken} failed"] if broken else []
        rows.append(
            [
                method or MISSING,
                peft or MISSING,
                stage or MISSING,
                _sizes([run.train_rows for run in found]),
                _sizes([run.validation_rows for run in found]),
                str(len(found)),
                MISSING if loss is None else f"{loss:.4f}",
                "; ".join(notes),
            ]
        )
    return Table(
        title="Progression",
        about="Each method, stage by stage of its search. Losses of different methods are not to be compared.",
        columns=["method", "trains", "stage", "train", "validation", "candidates", "best validation loss", "notes"],
        rows=rows,
        right=[3, 4, 5, 6],
    )


def trials_table(trials: Sequence[Run]) -> Table:
    """One row a trial, failed ones too."""
    rows = [
        [
            trial.title,
            trial.stage or MISSING,
            values_text(trial.values) or MISSING,
            trial.status,
            MISSING if trial.initial_loss is None else f"{trial.initial_loss:.4f}",
            MISSING if trial.final_loss is None else f"{trial.final_loss:.4f}",
            MISSING if trial.eval_loss is None else f"{trial.eval_loss:.4f}",
            MISSING if trial.execution_accuracy is None else percent(trial.execution_accuracy.value),
            MISSING if trial.tokens is None else f"{trial.tokens:,}",
            seconds_text(trial.seconds),
            trial.error or "",
        ]
        for trial in trials
    ]
    columns = ["trial", "stage", "values", "status", "first loss", "last loss", "validation loss", "score"]
    return Table(
        title="Every trial", columns=[*columns, "tokens", "time", "error"], rows=rows, right=[4, 5, 6, 7, 8, 9]
    )


def metrics_table(runs: Sequence[Run]) -> Table:
    """One row a run that was judged, with the metrics that any of them has."""
    judged = [run for run in in_order(runs) if run.metrics]
    shown = [id for id in METRIC_IDS if any(_has(run, id) for run in judged)]
    return Table(
        title="Every metric",
        about="Means over the test questions; only execution accuracy says whether an answer is right.",
        columns=["run", *(METRICS[id].label for id in shown)],
        rows=[
            [run.title, *(percent(run.metrics[id].value) if _has(run, id) else MISSING for id in shown)]
            for run in judged
        ],
        right=list(range(1, len(shown) + 1)),
    )


def _has(run: Run, metric: str) -> bool:
    return metric in run.metrics and run.metrics[metric].n > 0


def trainable_text(run: Run) -> str:
    """Trained weights and their share of all."""
    if run.trainable is None:
        return MISSING
    if not run.trainable:
        return "none"
    share = f" ({run.trainable / run.total_parameters:.2%})" if run.total_parameters else ""
    return f"{run.trainable:,}{share}"


def memory_text(megabytes: float | None) -> str:
    """Memory as people write it."""
    if megabytes is None:
        return MISSING
    return f"{megabytes / 1024:.2f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def seconds_text(seconds: float | None) -> str:
    """Seconds up to ten minutes, minutes up to two hours, then hours."""
    if seconds is None:
        return MISSING
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def figure(value: float | None) -> str:
    """Three figures."""
    return MISSING if value is None else f"{value:.3g}"


def values_text(values: Mapping[str, Any]) -> str:
    """`learning_rate 0.001, r 16`: the last part of each path is enough for people."""
    return ", ".join(
        f"{path.rpartition('.')[2]} {value:g}" if isinstance(value, float) else f"{path.rpartition('.')[2]} {value}"
        for path, value in values.items()
    )


def _sizes(counts: Sequence[int | None]) -> str:
    known = sorted({count for count in counts if count is not None})
    if not known:
        return MISSING
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
