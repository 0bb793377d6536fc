"""What the terminal shows at the end: the summary of a night, tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

STATUS = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "needs_approval": "[yellow]needs approval[/]"}
COLOUR = {
    "promoted": "green",
    "nothing_new": "cyan",
    "rejected": "red",
    "awaiting_approval": "yellow",
    "data_rejected": "red",
}
_WHOLE = 16  # characters: as many as a time to the minute has


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; cells are shown as they are, no markup.

    A column of short cells keeps them whole, be the terminal 80 columns wide or more; the others share what is left.
    """
    drawn = _table(title)
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        cells = [column, *(row[number] for row in texts)]
        short = all(len(text) <= _WHOLE for text in cells)
        word = max((len(word) for text in cells for word in text.split()), default=1)
        drawn.add_column(column, overflow="fold", no_wrap=short, min_width=min(word, _WHOLE))
    for row in texts:
        drawn.add_row(*map(escape, row))
    Console().print(drawn)


def _table(title: str) -> Table:
    # No lines between columns: each would cost three of the terminal's 80.
    return Table(title=title or None, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def people(*names: str | None) -> list[str]:
    """Who did something, each once: whoever approves a version mostly promotes it, too."""
    return list(dict.fromkeys(name for name in names if name))


def minute(moment: str) -> str:
    """An ISO 8601 time to the minute, in UTC; anything else as it is."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{found.astimezone(UTC) if found.tzinfo else found:%Y-%m-%d %H:%M}"


def show_night(outcome: dict[str, Any]) -> None:
    """The summary of a night."""
    console = Console()
    colour = COLOUR.get(outcome["outcome"], "white")
    title = f"[bold {colour}]{outcome['outcome'].replace('_', ' ')}[/]"
    console.print(
        Panel(
            escape(outcome["reason"]),
            title=title,
            subtitle=f"{outcome['recipe']} · night {outcome['night']}",
            border_style=colour,
        )
    )
    if outcome.get("stages"):
        show_stages(outcome, console)
    if outcome.get("base_metrics"):
        _models(console, outcome)
    if outcome["gates"]:
        drawn = _table("Gates")
        for column in ("gate", "value", "asked", "", "evidence"):
            drawn.add_column(column)
        for gate in outcome["gates"]:
            value = "" if gate["value"] is None else f"{gate['value']:.3f}"
            drawn.add_row(
                escape(gate["id"]), value, f"{gate['threshold']:.3f}", STATUS[gate["status"]], escape(gate["evidence"])
            )
        console.print(drawn)
    _footer(console, outcome)


def show_stages(outcome: dict[str, Any], console: Console | None = None) -> None:
    """The curriculum of an outcome: its stages with their losses."""
    from tasks.evaluation.charts import spark

    drawn = _table("Stages")
    for column in ("stage", "rows", "steps", "loss", "", "validation loss", "seconds"):
        drawn.add_column(column, no_wrap=column == "loss")
    for stage in outcome["stages"]:
        losses = [loss for _, loss in outcome["curves"][stage["name"]]]
        name = stage["name"] + (" (reused)" if stage["reused"] else "")
        validation = "" if stage["eval_loss"] is None else f"{stage['eval_loss']:.3f}"
        drawn.add_row(
            name,
            str(stage["rows"]),
            str(stage["steps"]),
            f"{losses[0]:.3f} → {losses[-1]:.3f}",
            spark(losses),
            validation,
            f"{stage['seconds']:.0f}",
        )
    (console or Console()).print(drawn)


def _models(console: Console, outcome: dict[str, Any]) -> None:
    drawn = _table("On the same test questions")
    for column in ("", "execution accuracy", "exact match", "runs"):
        drawn.add_column(column)
    named = (
        ("base", "base_metrics"),
        ("challenger", "metrics"),
        (f"champion (version {outcome['champion']})", "champion_metrics"),
    )
    for name, key in named:
        if values := outcome.get(key):
            drawn.add_row(name, *(f"{values[m]:.3f}" for m in ("execution_accuracy", "exact_match", "runs")))
    console.print(drawn)


def _footer(console: Console, outcome: dict[str, Any]) -> None:
    from flows.told import next_commands

    release = outcome["release"]
    if outcome["outcome"] == "promoted":
        console.print(f"[bold]In Production:[/] {release} version {outcome['version']}")
    elif outcome["outcome"] == "rejected":
        kept = f"version {outcome['champion']} stays" if outcome["champion"] else "nothing is there yet"
        console.print(
            f"[bold]Production is unmoved:[/] {release}, {kept}; version {outcome['version']} is kept as rejected"
        )
    if outcome["report"]:
        console.print(f"[bold]Report:[/] {outcome['report']}", soft_wrap=True)
    if outcome["seconds"]:
        parts = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in outcome["seconds"].items())
        console.print(f"[bold]Time:[/] {parts}")
    console.print("[bold]Next:[/]")
    for command in next_commands(outcome):
        console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)


def show_answer(answer: dict[str, Any]) -> None:
    """SQL, highlighted, what it does if that was asked for, and the rows it returned or why it did not run."""
    from rich.syntax import Syntax

    console = Console()
    sql = Syntax(answer["sql"], "sql", word_wrap=True, background_color="default")
    console.print(Panel(sql, title=f"{answer['release']} version {answer['version']}", title_align="left"))
    for title, lines in (("what it does", answer.get("explanation")), ("how it is run", answer.get("plan"))):
        if lines:
            console.print(f"[bold]{title}[/]")
            for line in lines:
                console.print(f"  {line}", markup=False, highlight=False)
    if answer["status"] == "ok":
        count = answer["row_count"]
        shown = answer["rows"][:50]
        table(f"{count} row(s)" + (", first 50" if count > 50 else ""), answer["columns"], shown)
    else:
        console.print(f"[red]{answer['status']}[/]: {escape(answer['message'])}")
    console.print(f"[dim]right or wrong? nightshift feedback {answer['answer_id']} --right[/]", highlight=False)
