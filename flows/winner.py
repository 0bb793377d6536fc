"""The outcome of a search as one JSON document, and its winner as a change to the recipe that a person can accept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.recipe import parse_override
from flows.recipe_edit import diff, edit, in_flow
from flows.searching import Sweep
from tasks.training.search.budget import gpu_hours, wall_hours
from tasks.training.search.space import Values, size
from tasks.training.search.stages import Course, best
from tasks.training.trials import TrialResult

SCHEMA_VERSION = 1
SHOWN = (
    *("number", "name", "stage", "status", "error", "values", "objective", "low", "high", "initial_loss", "final_loss"),
    *("eval_loss", "samples_per_second", "peak_memory_mb", "trainable", "seconds", "steps", "run_id"),
)


def summarise(sweep: Sweep, now: Course) -> dict[str, Any]:
    """What a search has come to: its stages, its trials, its best values, what it spent."""
    results = sweep.results()
    outcome = "planned" if now.trials else "finished" if now.winner else "failed"
    winner = None if now.winner is None else _shown(now.winner)
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": sweep.id,
        "recipe": sweep.recipe.name,
        "night": sweep.night.id,
        "outcome": outcome,
        "reason": f"{len(now.trials)} trials are next" if now.trials else now.why,
        "objective": sweep.spec.objective,
        "points": size(sweep.spec.space),
        "stages": [_stage(sweep, place, results, now) for place in range(len(sweep.spec.stages))],
        "winner": winner,
        "overrides": [] if now.winner is None else as_overrides(now.winner.values),
        "trials": [_shown(result) | {"carried_from": now.carried.get(result.number)} for result in results],
        "next": [trial.model_dump(mode="json") for trial in now.trials],
        "hours": round(wall_hours(results), 4),
        "gpu_hours": round(gpu_hours(results), 4),
    }


def _shown(result: TrialResult) -> dict[str, Any]:
    told = result.model_dump(mode="json", include={*SHOWN, "execution_accuracy"})
    return {key: told[key] for key in (*SHOWN, "execution_accuracy")}


def _stage(sweep: Sweep, place: int, results: Sequence[TrialResult], now: Course) -> dict[str, Any]:
    own = [result for result in results if result.stage == place]
    ranked = best(sweep.spec, own)
    return {
        "stage": place + 1,
        "train": sweep.spec.stages[place].train,
        "validation": sweep.spec.stages[place].validation,
        "trials": len(own),
        "carried": sum(result.number in now.carried for result in own),
        **{status: sum(result.status == status for result in own) for status in ("finished", "failed", "pruned")},
        "best": ranked[0].objective if ranked else None,
        "best_trial": ranked[0].number if ranked else None,
    }


def as_overrides(values: Values) -> list[str]:
    """Values as `--set` takes them."""
    return [f"{path}={in_flow(value)}" for path, value in values.items()]


def keep_winner(sweep: Sweep, text: str, name: str, overrides: Sequence[str], values: Values) -> dict[str, str]:
    """Keep the recipe with the winner's values, and the change as a diff; returns the diff and both keys in the store.

    `text` is that of the recipe's file `name`; `overrides` were in force during the search and are part of the change.
    """
    after = with_winner(text, overrides, values)
    change = diff(text, after, name)
    stem = name.rpartition(".")[0]
    keys = {"recipe": f"sweeps/{sweep.id}/{stem}.yaml", "diff": f"sweeps/{sweep.id}/{stem}.diff"}
    sweep.store.write(keys["recipe"], after.encode())
    sweep.store.write(keys["diff"], change.encode())
    return {"change": change, **keys}


def with_winner(text: str, overrides: Sequence[str], values: Values) -> str:
    """A recipe's text with the overrides and values in it, its comments kept; raises where that cannot be."""
    return edit(text, [*(parse_override(override) for override in overrides), *values.items()])


def local_winner(sweep: Sweep, files: dict[str, str]) -> dict[str, str]:
    """The same with both files on this machine, below the home folder, for a person to look at and to use."""
    found = dict(files)
    for name in ("recipe", "diff"):
        file = sweep.settings.root / files[name]
        file.parent.mkdir(parents=True, exist_ok=True)
        sweep.store.fetch(files[name], file)
        here = Path.cwd()
        found[name] = str(file.relative_to(here) if file.is_relative_to(here) else file)
    return found
