"""A night: its key, its frozen recipe, and what each of its steps left in the store.

The key is made of everything that can change the outcome: the resolved recipe, the sources' content, the base model
and the code of the steps. The same key means the same night, so a finished one has nothing new to say.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.recipe import Recipe, check_recipe, parse_recipe
from flows.start import settle_start
from infra.errors import NotFound
from infra.hashing import code_version, fingerprint
from infra.settings import Settings, load_settings
from infra.store import Store

CODE = ("infra", "tasks", "validation", "registry", "flows.recipe")
LIBRARIES = ("torch", "transformers", "peft", "trl", "sqlglot", "great-expectations", "mlflow")
# Outcomes after which the same key is not run again.
FINAL = {"promoted", "rejected", "awaiting_approval"}


@dataclass(frozen=True)
class Night:
    """One night in the store, under `nights/<id>/`."""

    id: str
    recipe: Recipe
    sources: tuple[str, ...]
    model_fingerprint: str
    code: str
    attempt: int
    settings: Settings
    store: Store

    @property
    def work(self) -> Path:
        """Scratch folder of this night on this machine."""
        return self.settings.work / self.id

    @property
    def tracking_key(self) -> str:
        """What MLflow finds the night's runs by."""
        return self.id

    def outcome(self, step: str) -> dict[str, Any] | None:
        """What a finished step left, or None."""
        try:
            return self.store.read_json(f"nights/{self.id}/{step}.json")
        except NotFound:
            return None

    def finish(self, step: str, outcome: dict[str, Any]) -> dict[str, Any]:
        """Write a step's outcome: the marker of its completion."""
        self.store.write_json(f"nights/{self.id}/{step}.json", outcome)
        return outcome

    def lineage(self) -> dict[str, str]:
        """What the night's adapter descends from, as far as the night itself knows."""
        return {
            "night": self.id,
            "recipe": self.recipe.name,
            "base_model": self.recipe.model,
            "base_fingerprint": self.model_fingerprint,
            "prompt_format": f"{self.recipe.prompt.format}/{self.recipe.prompt.schema_style}",
            "code_version": self.code,
        }


def plan_night(recipe: Recipe, force: bool = False, settings: Settings | None = None) -> Night:
    """The night that `recipe` stands for now; `force` gives a finished one another attempt.

    Nothing is written. Raises UserError when something the recipe names is missing.
    """
    settings = settings or load_settings()
    store = settings.open_store()
    recipe = settle_start(recipe, store)
    sources, model = check_recipe(recipe)
    code = code_version(CODE, LIBRARIES)
    key = fingerprint([recipe.identity(), sources, model, code])
    attempt = 1

    def night() -> Night:
        name = key if attempt == 1 else f"{key}-{attempt}"
        return Night(name, recipe, tuple(sources), model, code, attempt, settings, store)

    while force and is_final(night()):
        attempt += 1
    return night()


def is_final(night: Night) -> bool:
    """Whether the night ended with a decision."""
    outcome = night.outcome("retrain")
    return outcome is not None and outcome["outcome"] in FINAL


def begun_by(run: str, settings: Settings) -> Night | None:
    """The night that flow run `run` froze in an earlier life of its process; None when it came to none.

    Planned anew it could be another one: a forced attempt that was decided, or a start from the Production of now,
    which this very night may have put there.
    """
    try:
        night = settings.open_store().read_json(f"runs/{run}.json")["night"]
    except NotFound:
        return None
    return open_night(night, settings)


def freeze(night: Night, reason: str, run: str = "") -> None:
    """Keep the resolved recipe in the store, so that every step reads the same one, wherever it runs.

    `run` is the flow run that goes on with this night in its next life.
    """
    night.finish(
        "night",
        {
            "recipe": night.recipe.content(),
            "sources": list(night.sources),
            "model_fingerprint": night.model_fingerprint,
            "code": night.code,
            "attempt": night.attempt,
            "reason": reason,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    if run:
        night.store.write_json(f"runs/{run}.json", {"night": night.id})


def open_night(identifier: str, settings: Settings | None = None) -> Night:
    """The night that was frozen under `identifier`; raises NotFound when there is none."""
    settings = settings or load_settings()
    store = settings.open_store()
    frozen = store.read_json(f"nights/{identifier}/night.json")
    return Night(
        identifier,
        parse_recipe(frozen["recipe"], f"of night {identifier}"),
        tuple(frozen["sources"]),
        frozen["model_fingerprint"],
        frozen["code"],
        frozen["attempt"],
        settings,
        store,
    )
