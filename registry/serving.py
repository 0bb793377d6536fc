"""Asking the adapter in Production: the schema is read from the database, the SQL is shown, then run read-only.

The ledger says which version serves; its files are fetched once, checked against their hash, and kept by it. A missing
adapter is an error: the base model never answers in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.settings import Settings
from infra.store import Store
from registry.ledger import Ledger
from registry.releases import download_adapter, get_release
from tasks.data.prompts import Prompter, PromptSpec
from tasks.models.generation import generate
from tasks.models.loading import load_adapter, load_base, load_tokenizer
from tasks.models.resolve import resolve_model
from tasks.sql.executor import Execution, Limits, run_readonly
from tasks.sql.extraction import extract_sql
from tasks.sql.introspection import database_schema


@dataclass(frozen=True)
class Answer:
    """What one question came to: the SQL, and its rows after running it."""

    release: str
    version: str
    sql: str
    execution: Execution


def release_in_production(store: Store, name: str | None) -> str:
    """The release to ask: `name`, or the only one with something in Production; raises UserError otherwise."""
    known = sorted({key.split("/")[1] for key in store.list("ledger")})
    if not known:
        raise UserError("nothing is in Production yet: run `nightshift retrain` first")
    if name is None and len(known) > 1:
        raise UserError(f"several releases are in Production; choose one with --release: {', '.join(known)}")
    if name is not None and name not in known:
        raise UserError(f"release {name!r} has nothing in Production; these have: {', '.join(known)}")
    return name or known[0]


class Production:
    """The model that serves a release: base, adapter and prompt format of the ledger's head, loaded once."""

    def __init__(self, settings: Settings, name: str) -> None:
        store = settings.open_store()
        head = Ledger(store, name).head()
        if head is None:
            raise UserError(f"release {name!r} has nothing in Production yet: run `nightshift retrain` first")
        self.name, self.version = name, head.version
        folder = settings.root / "serving" / head.adapter_hash
        if not folder.is_dir():
            download_adapter(name, head.version, folder)
        base = resolve_model(get_release(name, head.version).tags["nightshift.base_model"], settings.models_path)
        tokenizer = load_tokenizer(base.path)
        self._prompter = Prompter(PromptSpec.model_validate_json((folder / "prompt.json").read_text()), tokenizer)
        self._tokenizer: Any = tokenizer
        self._model: Any = load_adapter(load_base(base.path), folder)

    def sql(self, question: str, schema: str, max_new_tokens: int = 128) -> str:
        """The SQL for a question over a schema given as DDL."""
        prompt = self._prompter.render(schema, question)
        return extract_sql(generate(self._model, self._tokenizer, [prompt], max_new_tokens)[0].text)

    def ask(self, question: str, database: Path, limits: Limits) -> Answer:
        """The SQL for a question over a SQLite file, and its rows; the file is never written.

        Raises UserError when the file is no SQLite database or has no tables.
        """
        sql = self.sql(question, database_schema(database))
        return Answer(self.name, self.version, sql, run_readonly(database, sql, limits))
