"""A search in the store: its key, its frozen recipe, the data of its trials, and where it stands.

    sweeps/<key>/sweep.json          the recipe with its `sweep:`, frozen
    sweeps/<key>/data/<mark>.json    the night whose `prepare` made the data of trials with these data settings
    sweeps/<key>/trials/<n>.json     what became of trial n

The key is made of everything that can change a trial: the night that the recipe stands for, the search, and the code
of trials. The data are those of that night: whoever runs the night later finds them prepared.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from flows.night import Night, freeze, open_night, plan_night
from flows.recipe import Recipe, parse_recipe, with_values
from flows.trial import Bench
from flows.workers import POLL_SECONDS, in_turn
from infra.errors import Busy, NightshiftError, NotFound, UserError
from infra.hashing import code_version, fingerprint
from infra.lease import Lease
from infra.refs import Ref
from infra.settings import Settings, load_settings
from infra.store import Store
from tasks.training.search.space import Choices, Values
from tasks.training.search.spec import SweepSpec
from tasks.training.search.stages import Course, course
from tasks.training.trials import TrialResult, read_trials

CODE = ("flows.trial", "flows.answers")
# What a search may change: the rest of a recipe decides what its trials are compared by, or what happens afterwards.
SEARCHED = ("model", "data", "prompt", "training")
LEARNS_BY_LOSS = ("sft", "seq2seq", "prompt_tuning")
COMPARED = ("data.splits", "data.decontaminate")
EXAMPLE = (
    "sweep: {space: {training.lora.r: {choices: [4, 8, 16]}}, stages: [{train: 512, trials: 6, keep: 2}, {keep: 1}]}"
)


@dataclass(frozen=True)
class Sweep:
    """One search, under `sweeps/<id>/` of the store."""

    id: str
    recipe: Recipe
    spec: SweepSpec
    night: Night

    @property
    def settings(self) -> Settings:
        """The settings of this process."""
        return self.night.settings

    @property
    def store(self) -> Store:
        """Where everything of the search is kept."""
        return self.night.store

    def bench(self, run: str) -> Bench:
        """Where its trials run; `run` is its MLflow run."""
        answers = self.spec.objective == "execution_accuracy"
        return Bench(
            self.settings,
            self.store,
            self.settings.work / "sweeps" / self.id,
            self.night.code,
            run,
            self.spec.objective,
            self.spec.questions if answers else 0,
        )

    def results(self) -> list[TrialResult]:
        """The recorded trials."""
        return read_trials(self.store, self.id)

    def stands(self) -> Course:
        """Where the search stands; raises UserError when no values make a recipe."""
        return course(self.spec, self.results(), self.rows, self.fits)

    def fits(self, values: Values) -> bool:
        """Whether `values` make a recipe."""
        try:
            self.with_values(values)
        except UserError:
            return False
        return True

    def with_values(self, values: Values) -> Recipe:
        """The recipe of a trial with `values`."""
        return with_values(self.recipe, values)

    @property
    def rows(self) -> int:
        """Training rows of the recipe's dataset; 0 before it is prepared."""
        return trained_rows(self.night)

    def outcome(self) -> dict[str, Any] | None:
        """What the search left at its end, or None."""
        try:
            return self.store.read_json(f"sweeps/{self.id}/outcome.json")
        except NotFound:
            return None


def trained_rows(night: Night) -> int:
    """Training rows of the night's dataset; 0 before it is prepared."""
    prepared = night.outcome("prepare") or {}
    return int(prepared["manifest"]["splits"]["train"]) if prepared.get("accepted") else 0


def plan_sweep(recipe: Recipe, force: bool = False, settings: Settings | None = None) -> Sweep:
    """The search that `recipe` stands for now; `force` gives one that ended another attempt. Nothing is written.

    Raises UserError for a recipe without a search, or a space that does not fit it.
    """
    if recipe.sweep is None:
        raise UserError(f"recipe {recipe.name} has no search; add one, for example: {EXAMPLE}")
    night = plan_night(recipe, settings=settings)
    if night.settings.optuna_uri == os.environ.get("MLFLOW_TRACKING_URI", night.settings.default_tracking_uri):
        raise UserError("NIGHTSHIFT_OPTUNA names MLflow's database; Optuna needs one of its own")
    code = code_version(CODE, ("optuna",))
    key = fingerprint([night.id, recipe.sweep.model_dump(mode="json"), code])
    attempt = 1

    def found() -> Sweep:
        name = key if attempt == 1 else f"{key}-{attempt}"
        return Sweep(name, night.recipe, recipe.sweep, night)  # the night's recipe names the release it starts from

    while force and found().outcome() is not None:
        attempt += 1
    check_space(found())
    return found()


def check_space(sweep: Sweep) -> None:
    """Raise UserError for a path that the search may not change, or whose values never fit the recipe."""
    method = sweep.recipe.training.stages[-1].method
    if sweep.spec.halving is not None and method not in LEARNS_BY_LOSS:
        raise UserError(f"sweep.halving compares training losses, and those of {method} do not say how good a model is")
    for path, parameter in sweep.spec.space.items():
        if path.partition(".")[0] not in SEARCHED:
            raise UserError(f"sweep.space: {path} cannot be searched; paths begin with {', '.join(SEARCHED)}")
        if path == "data" or path.startswith(COMPARED):
            raise UserError(f"sweep.space: {path} decides on which rows trials are compared; it cannot be searched")
        values = parameter.choices if isinstance(parameter, Choices) else (parameter.low, parameter.high)
        if not any(sweep.fits({path: value}) for value in values):
            sweep.with_values({path: values[0]})  # raises in its own words


def freeze_sweep(sweep: Sweep, reason: str) -> None:
    """Keep the search's recipe in the store, for whoever runs its trials, wherever that is."""
    sweep.store.write_json(
        f"sweeps/{sweep.id}/sweep.json",
        {
            "recipe": sweep.recipe.content(),
            "night": sweep.night.id,
            "reason": reason,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )


def open_sweep(identifier: str, settings: Settings | None = None) -> Sweep:
    """The search that was frozen under `identifier`; raises NotFound when there is none."""
    settings = settings or load_settings()
    frozen = settings.open_store().read_json(f"sweeps/{identifier}/sweep.json")
    recipe = parse_recipe(frozen["recipe"], f"of sweep {identifier}")
    assert recipe.sweep is not None, "only a recipe with a search is frozen as one"
    return Sweep(identifier, recipe, recipe.sweep, open_night(frozen["night"], settings))


def dataset_for(sweep: Sweep, recipe: Recipe) -> Ref:
    """The dataset of a trial's recipe: the night's own, or another one where the trial changes the data."""
    if _data_mark(recipe) == _data_mark(sweep.recipe):
        return prepared(sweep.night)
    key = f"sweeps/{sweep.id}/data/{_data_mark(recipe)}.json"
    with in_turn(sweep.store, f"sweeps/{sweep.id}/data"):
        try:
            night = open_night(sweep.store.read_json(key)["night"], sweep.settings)
        except NotFound:
            night = plan_night(recipe, settings=sweep.settings)
            sweep.store.write_json(key, {"night": night.id})
        return prepared(night, yardstick=False)


def _data_mark(recipe: Recipe) -> str:
    """What of a recipe decides its dataset."""
    counted = recipe.model if recipe.validation.counts_tokens else ""
    shown = [recipe.prompt.sample_values, recipe.training.runs_queries, counted]
    return fingerprint([recipe.data.model_dump(mode="json"), recipe.validation.model_dump(mode="json"), *shown])


def prepared(night: Night, yardstick: bool = True) -> Ref:
    """The dataset of `night`, prepared if it is not yet, here or by whoever is at it.

    Without `yardstick` the shape of these data is not what the next night's are compared with. Raises NightshiftError
    when the data break their contract.
    """
    while night.outcome("prepare") is None:
        try:
            with Lease(night.store, night.id):
                _prepare(night, yardstick)
        except Busy:
            time.sleep(POLL_SECONDS)
    outcome = night.outcome("prepare") or {}
    if not outcome["accepted"]:
        reasons = ", ".join((outcome.get("validation") or {}).get("reasons", {})) or "see its Data Docs"
        raise NightshiftError(f"night {night.id}: the data of {night.recipe.name} break their contract: {reasons}")
    return Ref.model_validate(outcome["dataset"])


def _prepare(night: Night, yardstick: bool) -> None:
    from flows.dispatch import run_step
    from flows.prepare import prepare

    if night.outcome("prepare") is not None:  # between the look and the lease
        return
    freeze(night, "data of a search")
    kept = None if yardstick else _accepted(night)
    run_step(night, "prepare", prepare)
    if kept is not None:
        night.store.write(f"accepted/{night.recipe.name}.json", kept)


def _accepted(night: Night) -> bytes | None:
    try:
        return night.store.read(f"accepted/{night.recipe.name}.json")
    except NotFound:
        return None
