"""Starting and stopping the service: engine, its note in the store, and the HTTP server."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime

import uvicorn

from infra.lease import place_of_processes
from infra.settings import Settings
from infra.store import Store
from registry.ledger import Ledger, LedgerEntry
from registry.service.access import Access
from registry.service.app import Databases, create_app
from registry.service.engine import Engine
from registry.serving import Served, load_entry
from tasks.sql.databases import Database

log = logging.getLogger("nightshift.serve")


def newest_entry(store: Store, name: str, known: LedgerEntry | None) -> LedgerEntry | None:
    """The ledger's head. While its newest number is that of `known` nothing is read: one listing a look."""
    ledger = Ledger(store, name)
    if known is not None:
        keys = store.list(ledger.prefix)
        if keys and keys[-1] == ledger.key(known.number):
            return known
    return ledger.head()


def note_key(name: str) -> str:
    """Where this process notes which version it serves, for `status` and the `check` flow."""
    return f"serving/{name}/{socket.gethostname()}-{os.getpid()}.json"


def build_engine(settings: Settings, name: str, poll: float = 2.0, batch_size: int = 16) -> Engine:
    """An engine that serves Production of release `name` and notes each switch in the store."""
    store = settings.open_store()

    def switched(served: Served) -> None:
        log.info("serving %s version %s", served.release, served.version)
        store.write_json(
            note_key(name),
            {
                "release": name,
                "version": served.version,
                "pid": os.getpid(),
                "place": place_of_processes(),
                "entry": served.entry.number,
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    return Engine(
        head=lambda known: newest_entry(store, name, known),
        load=lambda entry: load_entry(settings, name, entry, log.info),
        switched=switched,
        poll_seconds=poll,
        batch_size=batch_size,
    )


def run_service(
    settings: Settings,
    name: str,
    databases: Mapping[str, Database],
    access: Access,
    *,
    host: str,
    port: int,
    poll: float,
    batch_size: int,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are being answered then are finished first."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    engine = build_engine(settings, name, poll, batch_size)
    engine.start()
    try:
        app = create_app(engine, Databases(databases), settings.open_feedback(), access)
        # The listening socket is made here, so that port 0 is told as the port it became.
        config = uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=30)
        listener = config.bind_socket()
        shown, bound = listener.getsockname()[:2]
        log.info("listening on http://%s:%d", f"[{shown}]" if ":" in shown else shown, bound)
        uvicorn.Server(config).run([listener])
    finally:
        engine.stop()
        settings.open_store().delete(note_key(name))
