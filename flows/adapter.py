"""adapter: the first half of a night, for whoever wants the adapter alone.

adapter(recipe, overrides)
 |- prepare   ingest, validate, quarantine, dedupe, split -> dataset       cpu
 `- train     stage after stage -> adapter                                 gpu

Nothing is judged, registered or promoted. `retrain` with the same recipe, data and code is the same night and goes on
behind it.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.dispatch import run_step
from flows.library import chosen_recipe
from flows.night import Night, freeze, plan_night
from flows.outcome import curriculum
from flows.prepare import prepare
from flows.retrain import LEASE_SECONDS
from flows.runtime import locally
from flows.train import train
from infra.lease import Lease
from infra.settings import load_settings


@flow(name="adapter", flow_run_name="adapter {recipe}", log_prints=True)
def adapter(recipe: str = "quickstart", overrides: tuple[str, ...] = ()) -> str:
    """Prepare and train; returns the night, whose outcomes say the rest. A night whose data broke their contract stops.

    Args:
        recipe: name of a built-in recipe, or of one in the workers' recipe folder or the store.
        overrides: values to change, one an item, such as training.stages.0.max_steps=20.
    """
    settings = load_settings()
    night = plan_night(chosen_recipe(settings, recipe, overrides), settings=settings)
    with Lease(night.store, night.id, patience=LEASE_SECONDS if settings.dispatch == "pools" else 0.0), locally(night):
        if night.outcome("night") is None:
            freeze(night, "its adapter alone")
        run_step(night, "prepare", prepare)
        if accepted(night):
            run_step(night, "train", train)
    return night.id


def accepted(night: Night) -> bool:
    """Whether the night's data were found good enough to train on."""
    return bool((night.outcome("prepare") or {}).get("accepted"))


def trained(night: Night) -> dict[str, Any]:
    """The outcome of `nightshift train` as a document, `adapter` being its place in the store."""
    prepared, found = night.outcome("prepare") or {}, night.outcome("train") or {}
    document: dict[str, Any] = {"schema_version": 1, "night": night.id, "recipe": night.recipe.name}
    if not found:
        return document | {"outcome": "data_rejected", "reasons": prepared["validation"]["reasons"]}
    seconds = {"prepare": prepared["seconds"], "train": found["seconds"]}
    document |= {"outcome": "trained", "adapter": found["adapter"], "seconds": seconds}
    return document | curriculum(found["stages"])
