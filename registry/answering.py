"""From a question and a schema to SQL, with one release's adapter: the only place where serving calls the model.

`ask`, `serve` and the pyfunc model all answer through `Answerer`, so that they answer alike. A missing or misfitting
adapter is an error: the base model never answers in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from infra.errors import UserError
from registry.manifest import FILE, Manifest, check_manifest, read_manifest, read_prompt
from tasks.data.prompts import Prompter
from tasks.data.rendering import render_ddl
from tasks.data.schema import parse_schema
from tasks.data.values import VALUE_LIMITS, schema_with_values
from tasks.models.decoding import continuation
from tasks.models.generation import Generation, generate
from tasks.models.loading import load_adapter, load_base, load_tokenizer
from tasks.models.resolve import resolve_model
from tasks.sql.databases import Database
from tasks.sql.executor import Limits, open_database, run_query
from tasks.sql.extraction import extract_sql

ADAPTER = "adapter"
_CHECK = Limits(seconds=1.0, rows=1000, memory_mb=512)
_VALUES_SECONDS = 30.0  # after so long `look` reads sample values again


@dataclass(frozen=True, slots=True)
class Ask:
    """A question over a schema given as CREATE TABLE statements.

    `database` is where sample values are read from, for an adapter whose prompts show some; without it they show none.
    """

    question: str
    schema: str
    evidence: str = ""
    database: Database | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The SQL that answers one question. `valid`: SQLite runs it, as a query, on the schema without rows."""

    sql: str
    valid: bool
    reason: str = ""
    tokens: int = 0
    seconds: float = 0.0


class Answerer:
    """A loaded release: base model, adapter and prompt format. For one thread at a time."""

    def __init__(self, base: Path, adapter: Path, manifest: Manifest) -> None:
        tokenizer = load_tokenizer(base)
        check_manifest(manifest, adapter, tokenizer)
        self.manifest = manifest
        self._prompter = Prompter(read_prompt(adapter), tokenizer)
        self._tokenizer: Any = tokenizer
        self._model: Any = load_adapter(load_base(base), adapter)
        self._sampled: WeakKeyDictionary[Database, tuple[float, str, str]] = WeakKeyDictionary()

    def prompt(self, ask: Ask) -> str:
        """The text the model is given; raises UserError when the schema is unreadable or does not fit."""
        return self._prompter.render(self._shown(ask), ask.question, ask.evidence)

    def look(self, ask: Ask) -> None:
        """Read the sample values that `ask` is shown with, again when they are old; for any thread.

        Ahead of `answer`, so that a slow database does not keep others waiting; what is wrong with it, `answer` says.
        """
        with suppress(UserError):
            self._shown(ask, _VALUES_SECONDS)

    def _shown(self, ask: Ask, oldest: float = math.inf) -> str:
        """The schema as the adapter was taught to see it: with sample values of the database where it was so."""
        most, database = self._prompter.spec.sample_values, ask.database
        if not most or database is None:
            return ask.schema
        read, schema, shown = self._sampled.get(database, (0.0, "", ""))
        if schema != ask.schema or monotonic() - read > oldest:
            shown = schema_with_values(ask.schema, lambda sql: database.run(sql, VALUE_LIMITS), most)
            self._sampled[database] = (monotonic(), ask.schema, shown)
        return shown

    def answer(self, asks: Sequence[Ask], batch_size: int = 32) -> list[Written]:
        """The SQL for each question, in order; one that cannot be asked is invalid with its reason, never an error."""
        prompts: dict[int, str] = {}
        answers: dict[int, Written] = {}
        for number, ask in enumerate(asks):
            try:
                prompts[number] = self.prompt(ask)
            except UserError as error:
                answers[number] = Written("", False, str(error))
        made_for = self._generate([asks[number] for number in prompts], list(prompts.values()), batch_size)
        for number, made in zip(prompts, made_for, strict=True):
            sql = extract_sql(made.text)
            reason = why_invalid(sql, asks[number].schema)
            answers[number] = Written(sql, not reason, reason, made.tokens, made.seconds)
        return [answers[number] for number in range(len(asks))]

    def _generate(self, asks: list[Ask], prompts: list[str], batch_size: int) -> list[Generation]:
        if not prompts:
            return []
        rules = [continuation(self._prompter.spec, ask.schema, ask.question) for ask in asks]
        most, ends = self.manifest.max_new_tokens, self._prompter.end_ids
        return generate(self._model, self._tokenizer, prompts, most, batch_size, ends=ends, rules=rules)


def why_invalid(sql: str, schema: str) -> str:
    """Why SQLite cannot run `sql` as a query on the empty tables of `schema`; empty when it can."""
    if not sql:
        return "the model wrote no SQL"
    try:
        connection = open_database(schema, limits=_CHECK)
    except UserError:
        try:  # a schema of another dialect, as SQLite would write it
            connection = open_database(render_ddl(parse_schema(schema)), limits=_CHECK)
        except UserError as error:
            return str(error)
    with closing(connection):
        found = run_query(connection, sql, _CHECK)
    return "" if found.status == "ok" else f"{found.status}: {found.message}"


def load_release(folder: Path, models: Path, say: Callable[[str], None] = lambda _: None) -> Answerer:
    """Load a release from its folder (`manifest.json` and `adapter/`), its base model fetched into `models` if need be.

    Raises Incompatible when the release does not fit what is here.
    """
    manifest = read_manifest(folder / FILE)
    base = resolve_model(manifest.base_model, models, say)
    return Answerer(base.path, folder / ADAPTER, manifest)
