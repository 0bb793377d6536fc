"""The command that hears MLflow: webhook."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(webhook)


def webhook(
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback a secret is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 4300,
    url: Annotated[str, typer.Option(help="How the MLflow server reaches this; default http://HOST:PORT/mlflow.")] = "",
) -> None:
    """Have MLflow tell when somebody moves Production there, and start the check flow at once. Runs until stopped.

    Needs an MLflow server and the `check` deployment on a Prefect server. With
    NIGHTSHIFT_WEBHOOK_SECRET set, MLflow signs its messages and unsigned ones are refused.

    Example: nightshift webhook --url https://hooks.example.org/mlflow
    """
    import os

    from infra.network import is_loopback

    secret = os.environ.get("NIGHTSHIFT_WEBHOOK_SECRET", "")
    if not secret and not is_loopback(host):
        raise UserError(f"--host {host} is not this machine alone: set NIGHTSHIFT_WEBHOOK_SECRET first")
    if "PREFECT_API_URL" not in os.environ:
        raise UserError("set PREFECT_API_URL: the check flow is started on a Prefect server")
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
        raise UserError("set MLFLOW_TRACKING_URI to an MLflow server (http…): a database alone sends no webhooks")
    import uvicorn

    from flows.cli.connect import connected
    from flows.webhook import PATH, create_app, start_check, subscribe

    store = connected().open_store()
    subscribe(url or f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}", secret)
    uvicorn.run(create_app(store, start_check, secret), host=host, port=port, log_level="warning")
