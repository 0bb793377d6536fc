"""From recorded trials to the runs that `tasks.evaluation` compares: what recipes say and how answers were judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.recipe import Recipe
from infra.errors import NotFound
from infra.store import Store
from tasks.evaluation.metrics import MAIN
from tasks.evaluation.runs import Outcomes, Run
from tasks.evaluation.scorecard import Scorecard
from tasks.training.spec import TrainingSpec
from tasks.training.specs.prompt_tuning import PromptTuningStage
from tasks.training.trials import TrialResult


def as_run(result: TrialResult, recipe: Recipe | None, store: Store, **told: Any) -> Run:
    """A recorded trial as a run; `told` are the fields of `Run` that no trial knows (label, note, candidates, ...)."""
    known = result.model_dump(mode="json", exclude={"stage"}) | told
    if card := scorecard_of(store, result.scorecard_key):
        known["metrics"] = {name: interval.model_dump() for name, interval in card.metrics.items()}
    if recipe is not None:
        known |= {"settings": settings_of(recipe), "price": _price(recipe, result.seconds)}
        if known.get("candidates") != 0:
            known |= {"method": method_text(recipe.training), "peft": trained_text(recipe.training)}
    return Run.model_validate(known)


def scorecard_of(store: Store, key: str | None) -> Scorecard | None:
    """The scorecard under a key; None where there is none, or none any more."""
    if key is None:
        return None
    try:
        return Scorecard.model_validate_json(store.read(key))
    except NotFound:
        return None


def outcomes_of(runs: Sequence[Run], store: Store) -> Outcomes:
    """Which examples every run got right, of the runs whose scorecards are kept."""
    cards = {run.name: scorecard_of(store, run.scorecard_key) for run in runs}
    return {name: card.values(MAIN) for name, card in cards.items() if card is not None}


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The model and the training of a recipe by dotted path, places in lists counted from 0."""
    return dict(_leaves({"model": recipe.model, "training": recipe.training.model_dump(mode="json")}, ""))


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        parts = [(str(place), inner) for place, inner in enumerate(value)]
    else:
        return [(path, value)]
    return [leaf for key, inner in parts for leaf in _leaves(inner, f"{path}.{key}" if path else key)]


def method_text(training: TrainingSpec) -> str:
    """The methods of the stages, in order."""
    return " + ".join(dict.fromkeys(stage.method for stage in training.stages))


def trained_text(training: TrainingSpec) -> str:
    """What the stages change."""
    if training.soft_prompt:
        stage = next(stage for stage in training.stages if isinstance(stage, PromptTuningStage))
        begun = "from a text" if stage.init_text else f"{stage.virtual_tokens or 20}, from random rows"
        return f"soft prompt ({begun})"
    if training.tune == "full":
        return "all weights"
    lora = training.lora
    kinds = (lora.targets,) if isinstance(lora.targets, str) else lora.targets
    where = ", ".join(name.removesuffix("_proj") for name in kinds)
    kind = f"QLoRA {training.quantize}" if training.quantize else "LoRA"
    return f"{kind} r {lora.r} on {where}" + (f" from layer {lora.first_layer}" if lora.first_layer else "")


def _price(recipe: Recipe, seconds: float) -> float | None:
    hourly = recipe.release.price_per_hour
    return None if hourly is None else round(hourly * seconds / 3600, 6)
