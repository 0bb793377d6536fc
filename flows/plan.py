"""What `nightshift plan` says: for each step of a recipe's night the class it runs on and why, hours and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from flows.recipe import Recipe
from infra.gpu import CLASSES, GpuClass, class_of_device, gpu_class
from infra.settings import Settings
from infra.store import Store
from tasks.models.shape import fetch_shape
from tasks.training.planning import Placement, Speed, place_evaluation, place_training


def plan_recipe(recipe: Recipe, settings: Settings) -> dict[str, Any]:
    """The plan as plain JSON: the model, and for each step the chosen pool, why, and what every class would need."""
    shape = fetch_shape(recipe.model, settings.models_path)
    speeds = list(recorded_speeds(settings.open_store(), recipe))
    prices = settings.prices
    answers = recipe.evaluation.max_new_tokens

    def train(gpu: GpuClass) -> Placement:
        price = prices.get(gpu.pool, recipe.release.price_per_hour or 0)
        return place_training(recipe.training, shape, gpu, answers, speeds, price)

    def evaluate(gpu: GpuClass) -> Placement:
        return place_evaluation(recipe.evaluation, recipe.training, shape, gpu)

    steps = {
        "prepare": _no_model("prepare", recipe),
        "train": _with_model("train", recipe, train),
        "evaluate": _with_model("evaluate", recipe, evaluate),
        "promote": _no_model("promote", recipe),
    }
    return {
        "schema_version": 1,
        "recipe": recipe.name,
        "model": recipe.model.partition("#")[0],
        "parameters": shape.parameters,
        "shape": asdict(shape),
        "steps": steps,
    }


def recorded_speeds(store: Store, recipe: Recipe) -> Iterable[Speed]:
    """What earlier nights with this model and the same kind of training on as many GPUs recorded, a stage each."""
    kind = _kind(recipe.training.model_dump())
    for key in store.list("nights/"):
        if not key.endswith("/train.json"):
            continue
        frozen = store.read_json(key.replace("/train.json", "/night.json"))["recipe"]
        same = frozen["model"] == recipe.model and _kind(frozen["training"]) == kind
        batches = {stage["name"]: stage["global_batch"] for stage in frozen["training"]["stages"]}
        for stage in store.read_json(key)["stages"] if same else ():
            gpu = class_of_device(stage.get("device", ""))
            if gpu is None or stage["reused"] or stage["resumed_from"] or not stage["rows"]:
                continue
            per_row = stage["tokens"] / stage["rows"]
            # Sequences that share a schema may hold fewer rows than the batch; old nights did not record how many.
            each = stage.get("metrics", {}).get("rows_per_step", batches[stage["name"]])
            tokens = per_row * stage["steps"] * each
            yield Speed(gpu.pool, tokens, stage["seconds"], per_row)


def _kind(training: dict[str, Any]) -> tuple[str, int, str]:
    """What a speed holds for that a night with this `training` recorded; it may be older than some of the keys."""
    return training.get("tune", "lora"), training.get("processes", 1), training.get("sharding", "none")


def _no_model(step: str, recipe: Recipe) -> dict[str, Any]:
    pools = recipe.infra.pools(step)
    return {"pool": pools[0], "why": "no model is loaded", "pools": list(pools), "classes": []}


def _with_model(step: str, recipe: Recipe, place: Callable[[GpuClass], Placement]) -> dict[str, Any]:
    """The first of the recipe's pools on which the step fits as it is, else with levers; and every class beside it."""
    pools = recipe.infra.pools(step)
    wanted = [place(gpu_class(pool)) for pool in pools]
    chosen = next((p for p in wanted if p.fits), None) or next((p for p in wanted if p.levers), None)
    found = {placement.pool: placement for placement in wanted}
    every = [found.get(gpu.pool) or place(gpu) for gpu in CLASSES]
    cheapest = min((p for p in every if p.fits and gpu_class(p.pool).is_gpu), key=lambda p: p.room_gib, default=None)
    return {
        "pool": chosen.pool if chosen else None,
        "why": _why(wanted, chosen, cheapest),
        "pools": list(pools),
        "classes": [p.to_json() for p in every],
    }


def _why(wanted: list[Placement], chosen: Placement | None, cheapest: Placement | None) -> str:
    if chosen is None:
        told = ", ".join(f"{p.pool} has {p.room_gib:.0f} GiB" for p in wanted)
        elsewhere = f"; {cheapest.pool} would do" if cheapest else ""
        return f"it needs {wanted[0].need_gib:.1f} GiB and {told}, with every lever pulled{elsewhere}"
    passed = wanted[: wanted.index(chosen)]
    before = "".join(f"{p.pool} is too small ({p.need_gib:.1f} of {p.room_gib:.0f} GiB); " for p in passed)
    if chosen.fits:
        also = f"; {cheapest.pool} would do, too" if cheapest and cheapest.room_gib < chosen.room_gib else ""
        fits = f"{chosen.need_gib:.1f} of {chosen.room_gib:.0f} GiB, in {chosen.precision}"
        return f"{before}{fits}{_together(chosen)}{also}"
    return f"{before}fits {chosen.pool} only with {', '.join(chosen.levers)}{_together(chosen)}"


def _together(placement: Placement) -> str:
    """What a pool's machines must have that one of `nightshift deploy` does not give."""
    if placement.gpus == 1:
        return ""
    return f"; on each of {placement.gpus} GPUs in one machine, where `deploy` gives a job one"
