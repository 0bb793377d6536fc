"""The HTTP service: ask, batch, feedback, health, release, metrics, and the web page at `/`.

Databases are those it was started with, by name: a request never names a path or a URL. A pasted schema is built in
memory. Every answer says which version gave it.

Limits: pasted scripts and SQL run in this process under the executor's limits, one request one thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from infra.errors import UserError
from infra.store import Store
from registry.answering import Ask
from registry.answers import Answers, judged
from registry.service.access import Access, Gate, token_of
from registry.service.engine import Engine, Overloaded
from registry.service.messages import (
    AskRequest,
    AskResponse,
    BatchRequest,
    BatchResponse,
    FeedbackRequest,
    FeedbackResponse,
)
from registry.service.metrics import Metrics
from registry.serving import Answer, finish_answer
from tasks.data.feedback import sign, write_feedback
from tasks.data.page import render_page
from tasks.data.scripts import pasted_database
from tasks.sql.databases import Database
from tasks.sql.executor import Limits

LIMITS = Limits(rows=10_000, seconds=5.0)
SHOWN_ROWS = 200
REVIEWER_HEADER = "x-reviewer-token"
_SCHEMA_SECONDS = 30.0


class Databases:
    """The databases a service answers about, by name; their schemas are read again every half minute."""

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self._databases, self._schemas = dict(databases), {}
        self._locks = {name: threading.Lock() for name in databases}  # one each: a slow database keeps none waiting

    @property
    def names(self) -> list[str]:
        """The names, as they were given."""
        return list(self._databases)

    def open(self, name: str) -> tuple[Database, str]:
        """A database and its schema; raises KeyError for an unknown name, UserError when it cannot be read."""
        database = self._databases[name]
        with self._locks[name]:
            read, schema = self._schemas.get(name, (0.0, ""))
            if not schema or time.monotonic() - read > _SCHEMA_SECONDS:
                schema = database.schema()
                self._schemas[name] = (time.monotonic(), schema)
        return database, schema


def create_app(engine: Engine, databases: Databases, feedback: Store, access: Access) -> FastAPI:
    """The application; `engine` must be started. Documentation pages are off: they would load code from elsewhere."""
    app = FastAPI(title="nightshift", docs_url=None, redoc_url=None, summary="Text to SQL by the release in Production")
    app.add_middleware(Gate, access=access)
    answers, metrics = Answers(), Metrics(engine)
    page = render_page("registry.service", "page.html.j2", {})

    @app.exception_handler(UserError)
    async def bad_input(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> JSONResponse:
        metrics.refused.inc()
        return JSONResponse({"detail": str(error)}, 503, {"retry-after": "5"})

    async def answer_all(requests: Sequence[AskRequest]) -> list[dict[str, Any]]:
        began = time.monotonic()
        opened = await asyncio.to_thread(lambda: [_open(databases, request) for request in requests])
        asks = [
            Ask(request.question.strip(), schema, request.evidence, database)
            for request, (database, schema) in zip(requests, opened, strict=True)
        ]
        # Here, not on the engine's one thread: a slow database keeps no other waiting.
        await asyncio.to_thread(lambda: [engine.served.answerer.look(ask) for ask in asks])
        given = await asyncio.wrap_future(engine.submit(asks))

        def finish() -> list[Answer]:
            return [
                finish_answer(given.served, ask, written, database, LIMITS, run=request.run, explained=request.explain)
                for request, ask, written, (database, _) in zip(requests, asks, given.written, opened, strict=True)
            ]

        documents = []
        for request, answer in zip(requests, await asyncio.to_thread(finish), strict=True):
            answers.keep(answer)
            documents.append(answer.document(SHOWN_ROWS, request.explain))
            metrics.count(documents[-1])
            metrics.seconds.observe(time.monotonic() - began)
        return documents

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> str:
        return page

    @app.post("/ask", response_model=AskResponse, response_model_exclude_none=False)
    async def ask(request: AskRequest) -> dict[str, Any]:
        """Answer one question: the SQL, and its rows."""
        return (await answer_all([request]))[0]

    @app.post("/batch", response_model=BatchResponse)
    async def batch(request: BatchRequest) -> dict[str, Any]:
        """Answer several questions together, all by the same version."""
        return {"answers": await answer_all(request.questions)}

    @app.post("/feedback", response_model=FeedbackResponse, status_code=201)
    async def give_feedback(request: FeedbackRequest, http: Request) -> dict[str, Any]:
        """Say whether an answer was right. Only what a reviewer's token signs can become training data."""
        draft = answers.draft(request.answer_id)
        if draft is None:
            raise HTTPException(404, "this answer is not kept any more; ask again")
        own, token = http.headers.get(REVIEWER_HEADER, ""), token_of(http.headers.get("authorization", ""))
        reviewer = access.reviewer(own or token)
        if own and reviewer is None:
            raise HTTPException(401, "no reviewer has this token; leave it out to send an opinion")

        def write() -> dict[str, Any]:
            record = judged(draft, request.verdict, request.corrected_sql)
            if reviewer is not None:
                record = sign(record, reviewer, own or token)
            return {"id": record.id, "new": write_feedback(feedback, record), "reviewer": record.reviewer}

        written = await asyncio.to_thread(write)
        if written["new"]:
            metrics.feedback.labels(request.verdict, "yes" if reviewer else "no").inc()
        return written

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """`ok`, or `behind` while a newer release cannot be loaded; it answers either way."""
        served = engine.served
        return {
            "status": "behind" if engine.trouble else "ok",
            "release": served.release,
            "version": served.version,
            "trouble": engine.trouble,
            "waiting": engine.waiting,
        }

    @app.get("/release")
    async def release() -> dict[str, Any]:
        """The release that answers: the ledger's entry, and what it is loaded on."""
        served = engine.served
        return {
            "release": served.release,
            "version": served.version,
            "entry": served.entry.model_dump(mode="json"),
            "manifest": served.answerer.manifest.model_dump(mode="json"),
        }

    @app.get("/databases")
    async def known() -> list[dict[str, Any]]:
        """The databases that can be asked, with their schemas."""
        return await asyncio.to_thread(lambda: [_shown(databases, name) for name in databases.names])

    @app.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Counters in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _open(databases: Databases, request: AskRequest) -> tuple[Database, str]:
    """The database of a request and its schema."""
    if request.database:
        try:
            return databases.open(request.database)
        except KeyError:
            known = ", ".join(databases.names) or "none: send a schema"
            raise UserError(f"no database {request.database!r} here; these are: {known}") from None
    pasted = pasted_database(request.script)
    return pasted, pasted.schema()


def _shown(databases: Databases, name: str) -> dict[str, Any]:
    try:
        return {"name": name, "schema": databases.open(name)[1], "trouble": ""}
    except UserError as error:
        return {"name": name, "schema": "", "trouble": str(error)}
