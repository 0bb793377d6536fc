"""What a person is told when a night has ended, or was only planned: where its report is, and what to type next.

Without Prefect and MLflow, so that a dry run is quick and leaves nothing behind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flows.recipe import builtin_recipes


def report_file(root: Path, recipe: str, night: str) -> Path:
    """The report in this machine's home folder."""
    return root / "reports" / f"{recipe}-{night}.html"


def local_report(root: Path, outcome: dict[str, Any]) -> str | None:
    """Where a person finds the report: the file here, as they would type it, else its key in the store."""
    path = report_file(root, outcome["recipe"], outcome["night"])
    if not outcome.get("report") or not path.is_file():
        return outcome.get("report")
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def next_commands(outcome: dict[str, Any]) -> list[str]:
    """Commands worth typing after this outcome."""
    # The outcome has the recipe's name; of one that is not built in nobody but its owner knows the file.
    again = f"nightshift retrain {outcome['recipe'] if outcome['recipe'] in builtin_recipes() else 'RECIPE.yaml'}"
    if outcome["outcome"] == "planned":
        return [again]
    if outcome["outcome"] == "data_rejected":
        return ["nightshift validate DATA --docs docs", again, "nightshift releases"]
    if outcome["outcome"] == "awaiting_approval":
        approve = f'nightshift promote {outcome["version"]} --approve --by YOU --reason "looks right"'
        return [approve, "nightshift status"]
    if outcome["outcome"] == "rejected":
        apart = [f"nightshift diff {outcome['champion']} {outcome['version']}"] if outcome["champion"] else []
        return [*apart, "nightshift releases", again]
    return ['nightshift ask "QUESTION" --database YOUR.sqlite', "nightshift releases", again]
