"""Commands that run servers and workers on this machine: up, down, webhook."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from infra.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(up)
    app.command()(down)
    app.command()(webhook)


def up(
    host: Annotated[str, typer.Option(help="Address of the servers; beyond loopback NIGHTSHIFT_AUTH is needed.")] = (
        "127.0.0.1"
    ),
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow server.")] = 5000,
    webhook_port: Annotated[int, typer.Option(min=1, max=65535, help="Port that hears MLflow, on loopback.")] = 4300,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that servers and workers have to come up.")] = 180,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Start Prefect, MLflow, a worker for each pool and the deployments on this machine; what runs already is kept.

    A server that PREFECT_API_URL or MLFLOW_TRACKING_URI (http) names is used instead of a new one. With
    NIGHTSHIFT_AUTH=user:password both servers ask for it, and every command here signs in with it.

    Example: nightshift up && open http://127.0.0.1:4200
    """
    from flows.stack import bring_up
    from infra.settings import load_settings
    from infra.stack import Ports

    told = bring_up(load_settings(), Ports(host, prefect_port, mlflow_port, webhook_port), timeout)
    if as_json:
        print(json.dumps(told, indent=2))
        return
    from flows.cli.show import table

    table("Running here", ("process", "pid", "since"), [(p["name"], p["pid"], p["since"]) for p in told["processes"]])
    print(f"Prefect  {told['prefect']}\nMLflow   {told['mlflow']}")
    print("Commands of this shell use them after:")
    print(f"  export PREFECT_API_URL={told['prefect']}/api MLFLOW_TRACKING_URI={told['mlflow']}")


def down(
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that each process has to end by itself.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Stop what `up` started on this machine, and nothing else.

    A night that runs then is broken off; the next run of it goes on behind its last finished stage.

    Example: nightshift down
    """
    from flows.stack import take_down
    from infra.settings import load_settings

    stopped = take_down(load_settings(), timeout)
    if as_json:
        print(json.dumps({"stopped": stopped}))
    else:
        print(f"stopped {', '.join(stopped)}" if stopped else "nothing of `nightshift up` runs here")


def webhook(
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback a secret is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 4300,
    url: Annotated[str, typer.Option(help="How the MLflow server reaches this; default http://HOST:PORT/mlflow.")] = "",
) -> None:
    """Have MLflow tell when somebody moves Production there, and start the check flow at once. Runs until stopped.

    Needs an MLflow server and the `check` deployment on a Prefect server; `up` starts it by itself. With
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
