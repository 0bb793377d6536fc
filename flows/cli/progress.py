"""What the terminal shows while work runs: a bar an activity, or lines where nothing can be drawn over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from infra.progress import Event, listening

_SECONDS = 30.0  # between two lines about one activity


@contextmanager
def progress_bars(enabled: bool = True) -> Iterator[None]:
    """Show on stderr what is going on: bars on a terminal, else (a log, a pipe) lines."""
    if not enabled:
        yield
        return
    console = Console(stderr=True)
    with _bars(console) if console.is_terminal else _lines(console) as show, listening(show):
        yield


@contextmanager
def _bars(console: Console) -> Iterator[Callable[[Event], None]]:
    """One line an activity, with a bar where the total is known."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:18}"),
        BarColumn(24),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=2) as bars:
        lines: dict[str, TaskID] = {}

        def show(event: Event) -> None:
            group = event.activity.partition(":")[0]
            if event.activity not in lines:
                for name, line in lines.items():  # an activity ends where one of another kind begins
                    if name.partition(":")[0] != group:
                        bars.update(line, total=bars.tasks[line].total or 1, completed=bars.tasks[line].total or 1)
                lines[event.activity] = bars.add_task(event.activity, total=event.total, text="")
            bars.update(lines[event.activity], total=event.total, completed=event.done, text=escape(event.text))

        yield show
        for line in lines.values():
            bars.update(line, total=bars.tasks[line].total or 1, completed=bars.tasks[line].total or 1)


@contextmanager
def _lines(console: Console) -> Iterator[Callable[[Event], None]]:
    """A line when an activity begins and every half minute; before another one begins, what was last heard of each."""
    started = time.monotonic()
    told: dict[str, float] = {}  # activity -> when its last line was written
    untold: dict[str, Event] = {}  # activity -> what happened since then

    def write(event: Event) -> None:
        seconds = int(time.monotonic() - started)
        clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        done = f"{event.done}/{event.total}" if event.total else ""
        line = " ".join(part for part in (clock, event.activity, done, event.text) if part)
        console.file.write(line + "\n")  # flows send what is printed to Prefect's log
        console.file.flush()
        told[event.activity] = time.monotonic()

    def write_rest() -> None:
        for event in untold.values():
            write(event)
        untold.clear()

    def show(event: Event) -> None:
        if event.activity not in told:
            write_rest()
        if time.monotonic() - told.get(event.activity, -_SECONDS) >= _SECONDS:
            untold.pop(event.activity, None)
            write(event)
        else:
            untold[event.activity] = event

    try:
        yield show
    finally:
        write_rest()
