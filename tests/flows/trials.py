"""A prepared dataset for trials of the tiny model, without Prefect: what `prepare` would leave in the store."""

from __future__ import annotations

from pathlib import Path

from flows.recipe import Recipe, load_recipe
from flows.trial import Bench
from infra.refs import Ref
from infra.settings import Settings
from infra.store import Store
from tasks.data.build import divide
from tasks.data.dataset import write_dataset
from tasks.data.ingest import read_sources

FAST = (
    "data.sources=[{kind: generated, seed: 7, train_per_database: 2, validation_per_database: 4}]",
    "training.stages=[{name: all, global_batch: 8, max_steps: 4, learning_rate: 2.0e-3}]",
)


def tiny(*overrides: str) -> Recipe:
    """The tiny recipe with one short stage."""
    return load_recipe("tiny", [*FAST, *overrides])


def dataset_of(recipe: Recipe, store: Store, folder: Path) -> Ref:
    """The recipe's dataset in the store."""
    examples = read_sources(recipe.data.sources).examples
    divided = divide(examples, recipe.data, {})
    accounting = divided.accounting(len(examples), 0, {})
    manifest = write_dataset(folder, divided.splits, divided.assignment, accounting, divided.dropped, divided.mixed)
    ref = Ref(kind="dataset", fingerprint=manifest.fingerprint, key=f"datasets/{manifest.fingerprint}")
    store.put_tree(ref.key, folder)
    return ref


def bench_in(folder: Path, models: Path, **more: object) -> Bench:
    """A bench whose store and work lie in `folder`, without MLflow."""
    settings = Settings(home=folder, models=models)
    return Bench(settings, settings.open_store(), settings.work / "trials", "code", **more)
