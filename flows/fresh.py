"""fresh: has the data of a recipe changed since its last night? Then a Prefect event says so, once for each state.

The deployment `nightly` is triggered by it, so that new data need not wait for 04:00. What counts is what a night's key
is made of: the content of every source and the adapter it starts from. Limits: a recipe without a night has nothing to
compare with, its first one comes by schedule or by hand; an event is sent once, and a night that then fails is repeated
by the schedule.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.events import emit_event
from prefect.states import Completed, State

from flows.library import chosen_recipe
from flows.recipe import Recipe, check_recipe
from flows.runtime import connect
from flows.start import settle_start
from infra.errors import AlreadyExists
from infra.hashing import fingerprint
from infra.store import Store

EVENT = "nightshift.new-data"


@flow(name="fresh")
def fresh(recipe: str = "quickstart") -> State:
    """Look at the sources of a recipe and tell when they are not those of its last night.

    Args:
        recipe: name of a built-in recipe, or of one in the workers' recipe folder or the store.
    """
    settings = connect()
    store = settings.open_store()
    chosen = settle_start(chosen_recipe(settings, recipe), store)
    sources, _ = check_recipe(chosen)
    before = last_sources(store, chosen)
    if before is None:
        return Completed(name="NoNight", message=f"{chosen.name} had no night yet: nothing to compare with")
    if before == sources:
        return Completed(name="Unchanged", message=f"the data of {chosen.name} are those of its last night")
    changed = sum(source not in before for source in sources)
    told = f"{changed} of {len(sources)} sources of {chosen.name} changed since its last night"
    if not first_time(store, chosen, sources):
        return Completed(name="ToldBefore", message=f"{told}; this was told before")
    emit_event(
        EVENT,
        # The resource is named by what the form takes: that is what the triggered night is given.
        {"prefect.resource.id": f"nightshift.recipe.{recipe}", "prefect.resource.name": recipe},
        payload={"recipe": chosen.name, "sources": sources, "summary": told},
    )
    return Completed(name="NewData", message=told)


def last_sources(store: Store, recipe: Recipe) -> list[str] | None:
    """The fingerprints of the sources of the recipe's newest night; None when it had none."""
    found: list[dict[str, Any]] = []
    for key in store.list("nights"):
        if key.endswith("/night.json") and (night := store.read_json(key))["recipe"]["name"] == recipe.name:
            found.append(night)
    return max(found, key=lambda night: str(night["created"]))["sources"] if found else None


def first_time(store: Store, recipe: Recipe, sources: list[str]) -> bool:
    """Whether nobody told of this state of the sources before; from now on somebody has."""
    try:
        store.create_json(f"fresh/{recipe.name}/{fingerprint(sources)}.json", {"sources": sources})
    except AlreadyExists:
        return False
    return True
