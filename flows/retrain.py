"""retrain: one night, prepare -> train -> evaluate -> promote.

retrain(recipe, overrides, dry_run, force, reason)
 |- prepare   ingest, validate, quarantine, dedupe, split -> dataset       cpu
 |- train     stage after stage -> adapter                                 gpu
 |- evaluate  base, challenger and champion on the same examples           gpu
 `- promote   register, gates, verdict, ledger -> Production or rejected   cpu
"""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from flows.deployed import OUTCOME, as_artifact
from flows.dispatch import run_step
from flows.evaluate import evaluate
from flows.library import chosen_recipe
from flows.night import FINAL, Night, begun_by, freeze, is_final, plan_night
from flows.outcome import failed, nothing_new, planned, summarise
from flows.prepare import prepare
from flows.promote import promote
from flows.publish import publish
from flows.runtime import locally, night_run
from flows.train import train
from infra import tracking
from infra.errors import NightshiftError
from infra.lease import Lease
from infra.settings import load_settings
from registry.promotion import project

log = logging.getLogger("nightshift")
LEASE_SECONDS = 90.0
LIVES = 10  # of one run, whose process is started again when it dies; then something is wrong that this does not mend
STEPS = (("prepare", prepare), ("train", train), ("evaluate", evaluate), ("promote", promote))


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"retrain {parameters['recipe']}{' (dry run)' if parameters.get('dry_run') else ''}"


@flow(name="retrain", flow_run_name=_run_name, log_prints=True)
def retrain(
    recipe: str = "quickstart",
    overrides: tuple[str, ...] = (),
    dry_run: bool = False,
    force: bool = False,
    reason: str = "",
) -> State:
    """Retrain an adapter and promote it if it is proven better.

    Args:
        recipe: name of a built-in recipe, or of one in the workers' recipe folder or the store.
        overrides: values to change, one an item, such as training.stages.0.max_steps=20.
        dry_run: say what would happen and change nothing.
        force: run again although the same data, recipe and code were run before.
        reason: why this run was started, kept with the night.
    """
    settings, life = load_settings(), flow_run.run_count or 1
    if life > LIVES:
        raise NightshiftError(f"this night's process died {LIVES} times; see the runbook, then start the night again")
    night = begun_by(str(flow_run.id), settings) if life > 1 else None
    if night is None:
        night = plan_night(chosen_recipe(settings, recipe, overrides), force, settings)
    if dry_run:
        return _end(night, planned(night), keep=False)
    # A night started again on another machine waits until its old process is known to be gone.
    patience = LEASE_SECONDS if night.settings.dispatch == "pools" else 0.0
    with Lease(night.store, night.id, patience=patience), locally(night):
        if is_final(night):
            # A crash between the ledger and its projection is repaired by whoever comes next.
            project(night.store, night.recipe.release.name)
            return _end(night, nothing_new(night))
        freeze(night, reason, str(flow_run.id))
        run = night_run(night)
        tracking.log_params(run, _parameters(night))
        try:
            outcome = run_steps(night)
        except BaseException as error:
            _note_failure(night, run, error)
            raise
        outcome["report"] = publish(night, outcome, run)
        tracking.finish(run, "FINISHED" if outcome["outcome"] in FINAL else "FAILED")
        night.finish("retrain", outcome)
        return _end(night, outcome)


def run_steps(night: Night) -> dict[str, Any]:
    """Every step in turn; data that break their contract end the night before any training."""
    for name, step in STEPS:
        run_step(night, name, step)
        if name == "prepare" and not (night.outcome("prepare") or {})["accepted"]:
            break
    return summarise(night)


def _note_failure(night: Night, run: str, error: BaseException) -> None:
    """Leave word of what ended the night. That may be the store or MLflow itself: then the log alone has it."""
    try:
        night.finish("latest", failed(night, error))
        tracking.finish(run, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
    except Exception:
        log.exception("night %s failed, and this could not be noted", night.id)


def _parameters(night: Night) -> dict[str, Any]:
    content = night.recipe.content()
    return {
        "model": content["model"],
        "prompt": content["prompt"],
        "lora": content["training"]["lora"],
        "seed": content["training"]["seed"],
    }


def _end(night: Night, outcome: dict[str, Any], keep: bool = True) -> State:
    """Leave the outcome for whoever asks, and end the flow run in a state named after it."""
    if keep:
        night.finish("latest", outcome)
    name = "".join(word.capitalize() for word in outcome["outcome"].split("_"))
    create_markdown_artifact(outcome["summary"], key="night", description=f"{night.recipe.name}: {outcome['outcome']}")
    create_markdown_artifact(
        as_artifact(outcome), key=OUTCOME, description="the outcome as JSON, for nightshift retrain --deployed"
    )
    if outcome["outcome"] == "data_rejected":
        return Failed(name=name, message=outcome["reason"])
    return Completed(name=name, message=outcome["reason"], data=outcome)
