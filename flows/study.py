"""study: every row of an experiment on one dataset, with one prompt and one evaluation, and the report of them all.

study(name, scale, overrides)
 |- prepare   one dataset for all rows                                      cpu
 |- row       its candidates, or its staged search, then the row itself      gpu, row after row
 `- report    tables, charts and findings: page, Markdown, JSON, MLflow     cpu

A finished row is kept: a study that broke off goes on with the next one, inside a row with the last checkpoint. A row
that fails is shown as failed, one that this machine cannot run as not run, and why. Limits: rows run one after another,
on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.night import Night, plan_night
from flows.recipe import check_recipe
from flows.runtime import locally
from flows.searching import prepared, trained_rows
from flows.start import settle_start
from flows.studies import Plan, Row, load_study, plan_study
from flows.study_report import open_run, publish
from flows.study_rows import Ground, row_of_candidate, settle_row
from flows.study_spec import Scale
from flows.trial import Bench
from infra import tracking
from infra.errors import UserError
from infra.hashing import fingerprint
from infra.lease import Lease
from infra.progress import emit
from infra.settings import Settings, load_settings
from tasks.models.process import Interrupted
from tasks.training.trials import read_trials, trials_prefix


@dataclass(frozen=True)
class Study:
    """A planned study and the night whose dataset it takes."""

    plan: Plan
    night: Night
    key: str


def find_study(plan: Plan, settings: Settings | None = None) -> Study:
    """The study that a plan stands for now: known by its rows, the data and the code; `Production` is settled.

    Nothing is written. Raises UserError when something that a row names is missing.
    """
    settings = settings or load_settings()
    store = settings.open_store()
    rows = (replace(row, recipes=tuple(settle_start(recipe, store) for recipe in row.recipes)) for row in plan.rows)
    plan = replace(plan, rows=tuple(rows))
    recipes = [recipe for row in plan.rows for recipe in row.recipes]
    # One dataset for all: with its databases where any row runs queries.
    prepares = next((recipe for recipe in recipes if recipe.training.runs_queries), recipes[0])
    night = plan_night(prepares, settings=settings)
    models = sorted({check_recipe(recipe)[1] for recipe in recipes})
    return Study(plan, night, fingerprint([plan.identity(), list(night.sources), models, night.code]))


@flow(name="study", flow_run_name="study {name} ({scale})", log_prints=True)
def study(
    name: str,
    scale: Scale = "quickstart",
    overrides: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
    train: int | None = None,
    test_questions: int | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """Run what is missing of a study and write its report.

    Args:
        name: name of a built-in study, or the path of a study file on the worker.
        scale: quickstart, or full: as it was published.
        overrides: values to change in every row, one an item, such as training.seed=7.
        rows: names of the rows to run; all when empty. Rows run before are in the report in any case.
        train: training rows of every run; as the study says when empty.
        test_questions: test questions of every run; as the study says when empty.
        retry: run rows again that failed.
    """
    found = find_study(plan_study(load_study(name), scale, overrides, train, test_questions))
    plan, night = found.plan, found.night
    chosen = plan.chosen(rows)
    if all(row.unmet_needs for row in chosen):
        raise UserError(f"{chosen[0].title}: {chosen[0].unmet_needs}")
    with Lease(night.store, f"studies/{found.key}"), locally(night):
        run = open_run(plan, found.key)
        with tracking.ended_by_errors(run, Interrupted):
            dataset = prepared(night)
            ground = Ground(found.key, dataset, _bench(found, run), plan.train, plan.validation, trained_rows(night))
            if retry:
                _forget_failed(found, chosen)
            for place, row in enumerate(chosen):
                emit("study", row.title, place, len(chosen))
                if not row.unmet_needs:
                    run_row(row, ground)
            emit("study", "writing the report", len(chosen), len(chosen))
            return publish(plan, night, found.key, ground.dataset, run)


@task(task_run_name="row {row.spec.name}", cache_policy=NO_CACHE)
def run_row(row: Row, ground: Ground) -> str:
    """One row; returns how it ended."""
    return settle_row(row, ground).status


def _bench(found: Study, run: str) -> Bench:
    night = found.night
    return Bench(
        settings=night.settings,
        store=night.store,
        work=night.settings.work / f"study-{found.key}",
        code=night.code,
        run=run,
        objective="execution_accuracy",
        questions=found.plan.test_questions,
        split="test",
    )


def _forget_failed(found: Study, rows: Sequence[Row]) -> None:
    """Drop the records of those of `rows` that failed, and of their candidates that did, so that they are run again."""
    results = [result for result in read_trials(found.night.store, found.key) if result.status == "failed"]
    again = {row.number for row in rows} & {result.number for result in results}
    for result in results:
        row, _ = row_of_candidate(result.number) or (result.number, 0)
        if row in again:
            found.night.store.delete(f"{trials_prefix(found.key)}/{result.number}.json")
