"""MLflow's webhook: when somebody moves Production there, `check` starts at once, not up to a quarter of an hour later.

A small HTTP receiver beside the MLflow server. MLflow (with a database behind it) tells of every alias that is set or
deleted; if that is `Production` and not where the ledger's head put it, the `check` deployment is started, once a
delivery. What `check` then does is its own business: nothing here changes a release. Limits: MLflow sends no event when
a stage is set, so a move by stage alone is found by the schedule of `check`; so are deliveries that were lost.

Messages are signed when NIGHTSHIFT_WEBHOOK_SECRET is set (the form of standardwebhooks.com, as MLflow sends it:
https://mlflow.org/docs/latest/ml/webhooks); beyond the loopback it must be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from infra.errors import UserError, first_line
from infra.store import Store
from registry.ledger import Ledger, known_releases
from registry.releases import PRODUCTION_ALIAS

NAME = "nightshift-check"  # of the webhook in MLflow
PATH = "/mlflow"
DEPLOYMENT = "check/check"
EVENTS = ("model_version_alias.created", "model_version_alias.deleted")
FRESH_SECONDS = 300  # an older delivery is a replay
MAX_BYTES = 64 * 1024


def create_app(store: Store, start: Callable[[str, str], str], secret: str = "") -> FastAPI:
    """The receiver. `start(release, delivery)` begins a check of a release, or of all (empty), and names its run."""
    app = FastAPI(title="Nightshift: MLflow webhook", docs_url=None, redoc_url=None)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post(PATH)
    async def receive(request: Request) -> JSONResponse:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise HTTPException(415, "send JSON")  # no web page can do that across origins unasked
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BYTES:  # before a byte of it is read
            raise HTTPException(413, "too large for an alias event, or of unknown length")
        body = await request.body()
        if secret and not signed(request.headers, body, secret, time.time()):
            raise HTTPException(401, "the signature is missing, wrong or too old")
        try:
            release = moved_release(json.loads(body))
        except (ValueError, TypeError, KeyError):
            raise HTTPException(400, "not an event of MLflow") from None
        delivery = request.headers.get("X-MLflow-Delivery-Id", "")
        return await run_in_threadpool(answer, release, delivery)

    def answer(moved: tuple[str, str | None] | None, delivery: str) -> JSONResponse:
        if moved is None:
            return JSONResponse({"started": None, "why": "another alias"})
        release, version = moved
        # A model without a ledger is somebody else's, or never was in Production: then every release is looked at.
        ours = release in known_releases(store)
        head = Ledger(store, release).head() if ours else None
        if head is not None and head.version == version:
            return JSONResponse({"started": None, "why": "the ledger says so"})
        try:
            return JSONResponse({"started": start(release if ours else "", delivery)}, 202)
        except Exception as error:  # MLflow repeats what was answered with 503
            raise HTTPException(503, f"check could not be started: {type(error).__name__}") from error

    return app


def moved_release(event: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """(release, version that Production points at now, or None) of an event about Production; None for any other.

    Raises KeyError or TypeError for something else than an event.
    """
    kind, data = f"{event['entity']}.{event['action']}", event["data"]
    if kind not in EVENTS or data["alias"] != PRODUCTION_ALIAS:
        return None
    return str(data["name"]), None if kind == EVENTS[1] else str(data["version"])


def signed(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> bool:
    """Whether `body` carries MLflow's signature with `secret` and is fresh."""
    delivery, sent = headers.get("X-MLflow-Delivery-Id", ""), headers.get("X-MLflow-Timestamp", "")
    if not sent.isdigit() or abs(now - int(sent)) > FRESH_SECONDS:
        return False
    content = b".".join((delivery.encode(), sent.encode(), body))
    wanted = base64.b64encode(hmac.new(secret.encode(), content, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(f"v1,{wanted}".encode(), headers.get("X-MLflow-Signature", "").encode())


def start_check(release: str, delivery: str) -> str:
    """Start the `check` deployment for a release; the same delivery starts one run, however often it comes."""
    from prefect.deployments import run_deployment

    key = f"webhook-{delivery}" if delivery else None
    run = run_deployment(DEPLOYMENT, parameters={"release": release}, timeout=0, as_subflow=False, idempotency_key=key)
    return run.name


def subscribe(url: str, secret: str = "") -> None:
    """Have the MLflow server send alias events to `url`; repeating it leaves one webhook, with this url and secret.

    Raises UserError with what to set at the MLflow server when it refuses.
    """
    from mlflow.exceptions import MlflowException

    from infra import tracking

    client = tracking.client()
    try:
        known, token = [], None
        while True:
            page = client.list_webhooks(page_token=token)
            known += [hook for hook in page if hook.name == NAME]
            token = page.token
            if not token:
                break
        for hook in known:
            client.delete_webhook(hook.webhook_id)
        client.create_webhook(
            NAME, url, list(EVENTS), description="starts Nightshift's check flow", secret=secret or None
        )
    except MlflowException as error:
        raise UserError(
            f"MLflow does not take the webhook {url}: {first_line(error)}. An http:// or private address needs "
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true at the MLflow server; "
            "a secret needs MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY there, the same at every start"
        ) from None
