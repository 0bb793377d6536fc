"""sweep: search values of a recipe, stage by stage; the winner is a change to the recipe, or tonight's challenger.

sweep(recipe, overrides, workers, dry_run, force, promote, reason)
 |- prepare   the night's data, once
 |- trial     fresh model, rows of the stage, objective on validation rows      here, or a deployment run on a pool
 |   ...      until the stages are done or the budget is spent
 |- winner    the recipe with its values, as a diff for a person
 `- retrain   with --promote: the winner as an ordinary challenger, through the same gates
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed, State

from flows.dispatch import PrefectRuns, dispatch
from flows.library import chosen_recipe, chosen_text
from flows.recipe import parse_override
from flows.runtime import locally
from flows.searching import Sweep, dataset_for, freeze_sweep, open_sweep, plan_sweep, prepared
from flows.trial import forget_work, run_trial
from flows.winner import as_overrides, keep_winner, summarise, with_winner
from flows.workers import in_turn, side_by_side, work_through
from infra import tracking
from infra.errors import Busy, NightshiftError, UserError
from infra.lease import Lease
from infra.progress import emit
from infra.settings import load_settings
from tasks.models.resolve import resolve_model
from tasks.training.search.mirror import mirror
from tasks.training.search.space import Values
from tasks.training.search.stages import Course
from tasks.training.trials import Trial, TrialResult, read_trial


def _run_name() -> str:
    return f"sweep {flow_run.parameters['recipe']}{' (dry run)' if flow_run.parameters.get('dry_run') else ''}"


@flow(name="sweep", flow_run_name=_run_name, log_prints=True)
def sweep(
    recipe: str = "quickstart",
    overrides: tuple[str, ...] = (),
    workers: int = 1,
    deployed: bool = False,
    dry_run: bool = False,
    force: bool = False,
    promote: bool = False,
    reason: str = "",
) -> State:
    """Search the values that the recipe's `sweep:` names, and tell the best.

    Args:
        recipe: name of a built-in recipe, or of one in the workers' recipe folder or the store.
        overrides: values to change, one an item, such as sweep.stages.0.trials=20.
        workers: trials that run side by side.
        deployed: run each trial as a deployment run on the pool that the recipe names for training.
        dry_run: say what would happen and change nothing.
        force: search again although the same search ended before.
        promote: retrain with the winner's values afterwards; its gates decide about Production as on any night.
        reason: why this search was started, kept with it.
    """
    settings = load_settings()
    if deployment.id and any(_sets_space(parse_override(override)[0]) for override in overrides):
        raise UserError("a run of the deployment takes what is searched from the recipe alone")
    now = plan_sweep(chosen_recipe(settings, recipe, overrides), force, settings)
    text, name = chosen_text(settings, recipe)
    if dry_run:
        return _end(summarise(now, now.stands()))
    if first := now.stands().trials:
        with_winner(text, overrides, first[0].values)  # a text that cannot be changed is better found now than later
    # Several processes may share a search. Each says that it is at it, so that nobody cleans up under it.
    with Lease(now.store, f"sweeps/{now.id}/by-{uuid.uuid4().hex[:12]}"), locally(now.night):
        freeze_sweep(now, reason)
        emit("sweep", "preparing the data")
        prepared(now.night)
        # A model that cannot be had is no result of a trial; and threads may not be the first to import transformers.
        resolve_model(now.recipe.model, now.settings.models_path, lambda text: emit("model", text))
        run = sweep_run(now)
        with tracking.ended_by_errors(run):
            course = search(now, run, workers, deployed or now.settings.dispatch == "pools")
            outcome = conclude(now, course, run, lambda values: keep_winner(now, text, name, overrides, values))
    if promote and course.winner is not None:
        outcome |= {"retrain": challenge(now, recipe, overrides, course.winner)}
    now.store.write_json(f"sweeps/{now.id}/outcome.json", outcome)
    return _end(outcome)


def _sets_space(path: str) -> bool:
    """Whether an override says what is searched: that may be a place to read from, which no form may set."""
    return path == "sweep" or path.startswith("sweep.space")


@flow(name="trial", flow_run_name="trial {trial}", validate_parameters=False)
def trial(trial: str) -> None:
    """Run one trial of a search, `<key of the search>/<number>`; started by the search."""
    key, _, number = trial.rpartition("/")
    now = open_sweep(key)
    with locally(now.night):
        wanted = next((t for t in now.stands().chosen if t.number == int(number)), None)
        if wanted is None:
            raise NightshiftError(f"search {key} has no trial {number} at this point")
        run_here(now, sweep_run(now), (wanted,), 1)


def sweep_run(now: Sweep) -> str:
    """The MLflow run above the trials'. Finding or making it is not atomic in MLflow: the lease makes it so."""
    with in_turn(now.store, f"sweeps/{now.id}/run"):
        tags = {"nightshift.sweep": now.id, "nightshift.objective": now.spec.objective}
        return tracking.search_run(now.recipe.name, now.id, f"sweep {now.id}", tags)


def search(now: Sweep, run: str, workers: int, deployed: bool) -> Course:
    """Run trials until the search is over; each look at where it stands is made from what is recorded."""
    draw_study(now)  # a database that cannot be used is better found before the first trial than after it
    while (course := now.stands()).trials:
        show(now, course)
        if deployed:
            dispatch_trials(now, course.trials, workers)
        else:
            run_here(now, run, course.trials, workers)
        draw_study(now)
    show(now, course)
    return course


def draw_study(now: Sweep) -> None:
    """Bring Optuna's database up to what is recorded; where another process of this search does, that suffices."""
    with suppress(Busy), Lease(now.store, f"sweeps/{now.id}/optuna"):
        mirror(now.settings.optuna_uri, now.id, now.spec, now.results())


def show(now: Sweep, course: Course) -> None:
    """Where the search stands, for whoever looks at the terminal."""
    stage, results = now.spec.stages[course.stage], now.results()
    done = sum(result.stage == course.stage for result in results)
    best = "" if course.winner is None else f", best {course.winner.objective:.4f} of {course.winner.name}"
    failed = sum(result.status == "failed" for result in results)
    text = f"stage {course.stage + 1} of {len(now.spec.stages)}{best}{f', {failed} failed' if failed else ''}"
    emit("sweep", text, done, stage.trials or done + len(course.trials))


def run_here(now: Sweep, run: str, trials: tuple[Trial, ...], workers: int) -> None:
    """Have trials recorded, each run in processes of this machine or by somebody else who has it already."""
    work_through(now.store, now.id, trials, workers, lambda wanted, check: run_one(now, run, wanted, check))
    for done in trials:
        forget_work(done.number, now.bench(run))


@task(task_run_name="{wanted.name}", cache_policy=NO_CACHE)
def run_one(now: Sweep, run: str, wanted: Trial, check: Callable[[], None]) -> TrialResult:
    """One trial, here."""
    recipe = now.with_values(wanted.values)
    dataset = dataset_for(now, recipe)
    result = run_trial(wanted, recipe, dataset, replace(now.bench(run), check=check))
    told = f"{now.spec.objective} {result.objective:.4f}" if result.objective is not None else str(result.error)
    emit(wanted.name, told, 1, 1)
    return result


def dispatch_trials(now: Sweep, trials: tuple[Trial, ...], workers: int) -> None:
    """Have trials run on the recipe's pools for training, so many at once; a trial that was started is not again."""
    infra, stop = now.recipe.infra, threading.Event()
    waiting = list(reversed(trials))

    def work() -> None:
        while waiting and not stop.is_set():
            wanted = waiting.pop()
            if read_trial(now.store, now.id, wanted.number) is None:
                name = f"{now.id}/{wanted.number}"
                dispatch(PrefectRuns("trial"), "trial", infra.pools("train"), name, infra.patience_minutes * 60)
                if read_trial(now.store, now.id, wanted.number) is None:
                    raise NightshiftError(f"{wanted.name} ended on its pool and recorded nothing")

    side_by_side(work, min(workers, len(trials)), stop)


def conclude(now: Sweep, course: Course, run: str, keep: Callable[[Values], dict[str, str]]) -> dict[str, Any]:
    """The outcome, shown in MLflow and in the Prefect UI; `keep` writes the winner as a recipe and a diff."""
    outcome = summarise(now, course)
    told = ("number", "stage", "status", "objective")
    rows = [{key: found[key] for key in told} | found["values"] for found in outcome["trials"]]
    create_table_artifact(rows, key="trials", description=f"{now.recipe.name}: trials of sweep {now.id}")
    if course.winner is None:
        tracking.finish(run, "FAILED")
        return outcome
    outcome |= {"files": keep(course.winner.values)}
    tracking.log_metrics(run, {"objective": course.winner.objective or 0.0, "trials": len(outcome["trials"])})
    tracking.set_tags(run, {"nightshift.winner": course.winner.name})
    tracking.log_text(run, outcome["files"]["change"], "winner.diff")
    tracking.finish(run, "FINISHED")
    return outcome


def challenge(now: Sweep, recipe: str, overrides: tuple[str, ...], winner: TrialResult) -> dict[str, Any]:
    """A night with the winner's values: prepared, trained, evaluated and judged like any other."""
    from flows.retrain import retrain

    values = (*overrides, *as_overrides(winner.values))
    state = retrain(recipe, values, reason=f"winner of sweep {now.id}, {winner.name}", return_state=True)
    night = state.result() if state.is_completed() else {"outcome": "failed", "reason": state.message or state.name}
    shown = ("outcome", "reason", "night", "version", "champion", "metrics", "gates", "report")
    return {key: night.get(key) for key in shown}


def _end(outcome: dict[str, Any]) -> State:
    winner = outcome["winner"]
    lines = [f"**{outcome['outcome']}** - {outcome['reason']}", ""]
    if winner is not None:
        lines += [f"{winner['name']}: {outcome['objective']} {winner['objective']:.4f}", ""]
        lines += ["```diff", outcome.get("files", {}).get("change", ""), "```"]
    create_markdown_artifact("\n".join(lines), key="sweep", description=f"{outcome['recipe']}: {outcome['outcome']}")
    if outcome["outcome"] == "failed":
        return Failed(name="NoWinner", message=outcome["reason"])
    return Completed(name=outcome["outcome"].capitalize(), message=outcome["reason"], data=outcome)
