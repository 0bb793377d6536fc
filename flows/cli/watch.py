"""Commands that look at releases: status, diff."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(status)
    app.command()(diff)


def status(
    release: Annotated[str | None, typer.Argument(help="Registered model; all when absent.")] = None,
    take_back: Annotated[
        bool,
        typer.Option("--take-back", help="Give Production back where somebody set it without a passed verdict."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what is in Production, since when, why and by whom; whether a newer version was rejected, and why; who waits
    for approval; and where reality differs.

    Repairs what MLflow shows. Exit code 1 when something is wrong with Production itself.

    Example: nightshift status --json
    """
    from flows.cli.connect import connected
    from flows.watching import look

    settings = connected()
    seen = look(settings, [release] if release else None, take_back or settings.unsanctioned == "revert")
    if as_json:
        print(json.dumps({"schema_version": 1, "releases": seen}, indent=2))
    else:
        _show_status(seen)
    if any(finding["level"] == "error" for one in seen for finding in one["findings"]):
        raise typer.Exit(1)


def _show_status(seen: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape

    from flows.cli.show import minute, people, table

    console = Console()
    if not seen:
        console.print("nothing is registered yet: run `nightshift retrain` first", highlight=False)
    for one in seen:
        now, name = one["production"], f"[bold]{escape(one['release'])}[/]"
        if any(finding["code"] == "unreadable" for finding in one["findings"]):
            continue  # what is in Production is not known; the finding below says why
        if now is None:
            console.print(f"{name}: nothing is in Production", highlight=False)
        else:
            before = f"; before it version {one['previous']}" if one["previous"] else ""
            by = " and ".join(people(now["actor"], now["approver"]))
            since = f"since {minute(now['time'])} UTC, by {escape(by)}: {escape(now['reason'])}"
            console.print(f"{name}: version {now['version']} is in Production{before}", highlight=False)
            console.print(f"  {since}", highlight=False)
        if no := one["rejected"]:
            console.print(f"  version {no['version']} was rejected: {escape(no['reason'])}", highlight=False)
    waiting = [r for one in seen for r in one["awaiting_approval"]]
    if waiting:
        shown = [(r["release"], r["version"], minute(r["deadline"]), r["reason"]) for r in waiting]
        table("Awaiting approval", ("release", "version", "until (UTC)", "reason"), shown)
    for one in seen:
        if one["adopted"]:
            console.print(
                f"[cyan]adopted[/] {escape(one['release'])}: Production was set in MLflow; it is in the ledger"
            )
        for finding in one["findings"]:
            colour = "red" if finding["level"] == "error" else "yellow"
            console.print(f"[{colour}]{finding['level']}[/] {escape(finding['release'])}: {escape(finding['summary'])}")
            console.print(f"  {escape(finding['resolution'])}")
    if not any(one["findings"] for one in seen):
        console.print("no drift")


def diff(
    a: Annotated[str, typer.Argument(help="Version before.")],
    b: Annotated[str, typer.Argument(help="Version after.")],
    release: Annotated[str | None, typer.Option(help="Registered model; needed when there are several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare two versions: data, recipe, metrics, slices, and the examples that changed sides.

    Example: nightshift diff 3 4
    """
    from flows.cli.connect import connected
    from registry.diff import diff_versions
    from registry.releases import list_releases

    store = connected().open_store()
    rows = list_releases(release)
    names = sorted({r.name for r in rows if r.version == a} & {r.name for r in rows if r.version == b})
    if len(names) != 1:
        found = ", ".join(names) or "none has both"
        raise UserError(f"versions {a} and {b} of which release? choose with --release: {found}")
    found = diff_versions(store, names[0], a, b)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show_diff(found)


def _show_diff(found: dict[str, Any]) -> None:
    from flows.cli.show import table

    a, b = f"version {found['a']['version']}", f"version {found['b']['version']}"
    splits, same = found["data"]["splits"], "the same" if found["data"]["same"] else "changed"
    if splits is None:
        gone = "" if found["data"]["same"] else "; which rows is not known: a manifest is no longer in the store"
        print(f"Data: {same}{gone}\n")
    else:
        rows = [(name, s["a"], s["b"], s["added"], s["removed"]) for name, s in splits.items()]
        table(f"Data: {same}", ("split", a, b, "added", "removed"), rows)
    changed = [(c["key"], json.dumps(c["a"]), json.dumps(c["b"])) for c in found["recipe"]]
    _listed("Recipe", "the same", ("key", a, b), changed)
    common = found["examples"]["common"]
    rows = [
        (id, f"{m['a']:.3f}", f"{m['b']:.3f}", f"{m['delta']:+.3f}", f"{m['low']:+.3f} to {m['high']:+.3f}")
        for id, m in found["metrics"].items()
    ]
    columns = ("metric", a, b, "difference", "95% interval")
    _listed(f"Metrics on {common} common examples", "none", columns, rows)
    moved = [
        (f"{dimension}={value}", f"{s['a']:.3f}", f"{s['b']:.3f}", f"{s['delta']:+.3f}", s["n"])
        for dimension, values in found["slices"].items()
        for value, s in values.items()
        if s["delta"]
    ]
    _listed("Slices that moved", "none", ("slice", a, b, "difference", "examples"), moved)
    for side in ("fixed", "broken"):
        examples = found["examples"][side]
        shown = [(e["question"], e["a_sql"], e["b_sql"]) for e in examples[:10]]
        more = f", first {len(shown)}" if len(examples) > len(shown) else ""
        title = f"{side.capitalize()}: {len(examples)} examples{more}" if examples else side.capitalize()
        _listed(title, "no example", ("question", a, b), shown)


def _listed(title: str, nothing: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table, or a line where it would be empty."""
    from flows.cli.show import table

    if rows:
        table(title, columns, rows)
    else:
        print(f"{title}: {nothing}\n")
