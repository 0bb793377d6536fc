"""Asking the adapter in Production: which release that is, its files on this machine, and one question's whole answer.

The ledger says which version serves. Its files are fetched once, checked against their hash, and kept by it. The
schema is read from the database, the SQL is written by `registry.answering` and then run read-only, within limits.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.errors import UserError
from infra.settings import Settings
from registry.answering import Answerer, Ask, Written, load_release
from registry.download import download_release
from registry.ledger import Ledger, LedgerEntry
from registry.package import ARTIFACTS
from tasks.sql.databases import Database, Script, plain_rows
from tasks.sql.executor import Execution, Limits
from tasks.sql.explain import explain
from tasks.sql.judgement import safe_text

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Served:
    """A release loaded for answering, with the ledger entry that put it into Production."""

    release: str
    entry: LedgerEntry
    answerer: Answerer

    @property
    def version(self) -> str:
        """The registered version."""
        return self.entry.version


def load_production(settings: Settings, name: str, say: Callable[[str], None] = lambda _: None) -> Served:
    """Load what the ledger's head names, fetching its files when they are not here yet.

    Raises UserError when nothing is in Production, AdapterChanged or Incompatible when it cannot be trusted.
    """
    entry = Ledger(settings.open_store(), name).head()
    if entry is None:
        raise UserError(f"release {name!r} has nothing in Production yet: run `nightshift retrain` first")
    return load_entry(settings, name, entry, say)


def load_entry(
    settings: Settings, name: str, entry: LedgerEntry, say: Callable[[str], None] = lambda _: None
) -> Served:
    """Load the version that a ledger entry put into Production."""
    folder = settings.root / "serving" / f"{name}-{entry.version}-{entry.adapter_hash}"
    if not folder.is_dir():
        say(f"fetching {name} version {entry.version}")
        download_release(name, entry.version, folder)
    return Served(name, entry, load_release(folder / ARTIFACTS, settings.models_path, say))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question came to. `named`: asked of a database, not of a pasted schema (`setup` holds its INSERTs)."""

    id: str
    release: str
    version: str
    question: str
    evidence: str
    database: str
    schema: str
    setup: str
    named: bool
    written: Written
    execution: Execution | None
    plan: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """The SQL as the model wrote it."""
        return self.written.sql

    def document(self, most_rows: int = 1000, explained: bool = False) -> dict[str, Any]:
        """The answer as JSON: `status` is None when the SQL was not run; at most `most_rows` rows are shown."""
        ran = self.execution
        rows = ran.rows if ran else []
        document = {
            "schema_version": SCHEMA_VERSION,
            "answer_id": self.id,
            "release": self.release,
            "version": self.version,
            "question": self.question,
            "database": self.database,
            "sql": safe_text(self.sql),
            "valid": self.written.valid,
            "reason": safe_text(self.written.reason),
            "status": ran.status if ran else None,
            "message": safe_text(ran.message) if ran else "",
            "columns": [safe_text(name) for name in ran.columns] if ran else [],
            "rows": plain_rows(rows[:most_rows]),
            "row_count": len(rows),
            "seconds": {"generate": round(self.written.seconds, 4), "run": round(ran.seconds, 4) if ran else 0.0},
        }
        if explained:
            document |= {"explanation": explain(self.sql), "plan": list(self.plan)}
        return document


def finish_answer(
    served: Served,
    ask: Ask,
    written: Written,
    database: Database,
    limits: Limits,
    *,
    run: bool = True,
    explained: bool = False,
) -> Answer:
    """Run what was written on the database, and ask it for its plan. Raises UserError when it cannot be reached."""
    execution = database.run(written.sql, limits) if run and written.sql else None
    if run and not written.sql:
        execution = Execution("syntax_error", message=written.reason)
    plan = tuple(database.plan(written.sql)) if explained and written.sql else ()
    return Answer(
        id=secrets.token_hex(8),
        release=served.release,
        version=served.version,
        question=ask.question,
        evidence=ask.evidence,
        database=database.name,
        schema=ask.schema,
        setup=database.setup,
        named=not isinstance(database, Script),
        written=written,
        execution=execution,
        plan=plan,
    )
