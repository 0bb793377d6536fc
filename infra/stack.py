"""What `nightshift up` runs on this machine: a Prefect server, an MLflow server, a worker a pool, MLflow's webhook.

Everything is decided by settings and environment. A server that PREFECT_API_URL or MLFLOW_TRACKING_URI (http…) names is
used and not started; an MLFLOW_TRACKING_URI that is a database becomes the started server's own. Files stay where the
embedded default keeps them, so that commands with and without the servers see the same nights and releases.
"""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import UserError
from infra.network import answers, ask, is_loopback
from infra.settings import Settings

FOLDER = "stack"
SERVERS = ("prefect", "mlflow")
ANYWHERE = ("0.0.0.0", "::")


# A training takes every core of this machine, and the servers answer late meanwhile; late is not lost. Prefect's own
# limits (10 s for a statement, 60 s for a request) turned such answers into failed runs here.
PATIENT = {
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
    "PREFECT_API_REQUEST_TIMEOUT": "180",
    # A server whose database is away answers 500; its clients ask again, for two minutes in all.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    "PREFECT_CLIENT_MAX_RETRIES": "6",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen."""

    host: str = "127.0.0.1"
    prefect: int = 4200
    mlflow: int = 5000
    webhook: int = 4300


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack; `healthy` says whether it does its work."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    healthy: Callable[[], bool]
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker: the pool and queue it takes runs from, and how many at a time."""

    name: str
    pool: str
    queue: str = "default"
    limit: int = 1


# Nights wait for their own steps, so they have a queue and a worker to themselves; approvals, rollbacks and checks
# share the places of `cpu` with the short steps.
WORKERS = (
    Worker("nights", "cpu", "nights"),
    Worker("cpu", "cpu", limit=4),
    Worker("gpu-t4", "gpu-t4"),
    Worker("gpu-l4", "gpu-l4"),
    Worker("gpu-h100", "gpu-h100"),
)


@dataclass(frozen=True, slots=True)
class Stack:
    """The servers' addresses, what clients need to reach them, and the processes, servers first."""

    prefect_url: str
    mlflow_url: str
    environment: dict[str, str]
    servers: tuple[Service, ...]
    workers: tuple[Service, ...]


def plan_stack(settings: Settings, ports: Ports, environ: Mapping[str, str]) -> Stack:
    """What would run: servers, then the workers and the webhook's receiver.

    Raises UserError when a server would be open beyond this machine without NIGHTSHIFT_AUTH.
    """
    if not is_loopback(ports.host) and not settings.auth.get_secret_value():
        raise UserError(f"--host {ports.host} is not this machine alone: set NIGHTSHIFT_AUTH=user:password first")
    here = _in_url("127.0.0.1" if ports.host in ANYWHERE else ports.host)
    own_api, own_mlflow = f"http://{here}:{ports.prefect}/api", f"http://{here}:{ports.mlflow}"
    # `up` tells people to export its own addresses; those name no other server.
    api = environ.get("PREFECT_API_URL") or own_api
    given = environ.get("MLFLOW_TRACKING_URI", "")
    mlflow = given if given.startswith(("http://", "https://")) else own_mlflow
    base = PATIENT | dict(environ) | settings.client_environment() | {
        "NIGHTSHIFT_HOME": str(settings.root),
        "NIGHTSHIFT_DISPATCH": "pools",
        "PREFECT_API_URL": api,
        "PREFECT_HOME": environ.get("PREFECT_HOME", str(settings.root / "prefect")),
        "MLFLOW_TRACKING_URI": mlflow,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    servers = []
    if api == own_api:
        servers.append(_prefect_server(settings, ports, base, api))
    if mlflow == own_mlflow:
        backend = given if given not in {"", own_mlflow} else settings.default_tracking_uri
        servers.append(_mlflow_server(settings, ports, base, mlflow, backend))
    workers = [_worker(worker, base, api) for worker in WORKERS]
    receiver = f"http://127.0.0.1:{ports.webhook}"
    listen = ("-m", "flows.cli", "webhook", "--port", str(ports.webhook))
    workers.append(
        Service("webhook", (sys.executable, *listen), base, lambda: answers(f"{receiver}/health"), ports.webhook)
    )
    return Stack(api.removesuffix("/api"), mlflow, base, tuple(servers), tuple(workers))


def _prefect_server(settings: Settings, ports: Ports, base: dict[str, str], api: str) -> Service:
    auth = settings.auth.get_secret_value()
    environment = base | ({"PREFECT_SERVER_API_AUTH_STRING": auth} if auth else {})
    environment.pop("PREFECT_API_URL")  # the server itself is no client of another one
    # Its pages ask the port that they were made for, 4200, unless told where the API is from a browser's point of view.
    name = _in_url(socket.getfqdn() if ports.host in ANYWHERE else ports.host)
    environment.setdefault("PREFECT_UI_API_URL", f"http://{name}:{ports.prefect}/api")
    command = ("-m", "prefect", "server", "start", "--host", ports.host, "--port", str(ports.prefect))
    healthy = _authorised(f"{api}/flow_runs/count", auth, b"{}")
    return Service("prefect", (sys.executable, *command), environment, healthy, ports.prefect)


def _mlflow_server(settings: Settings, ports: Ports, base: dict[str, str], url: str, backend: str) -> Service:
    environment = base | {
        # Our receiver listens on the loopback without TLS; MLflow refuses both by default.
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": base.get("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https"),
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": base.get("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": base.get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false"),
    }
    if environment.get("NIGHTSHIFT_WEBHOOK_SECRET") and not environment.get("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"):
        raise UserError(
            "NIGHTSHIFT_WEBHOOK_SECRET needs MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY, the same at every start; make one: "
            'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        )
    artifacts = settings.artifacts or (settings.root / "mlartifacts").as_uri()
    command = [
        "-m", "mlflow", "server", "--host", ports.host, "--port", str(ports.mlflow), "--workers", "1",
        "--backend-store-uri", backend, "--default-artifact-root", artifacts, "--no-serve-artifacts",
    ]  # fmt: skip
    auth = settings.auth.get_secret_value()
    if auth:
        user, _, password = auth.partition(":")
        command += ["--app-name", "basic-auth"]
        environment |= {
            "MLFLOW_AUTH_CONFIG_PATH": str(_auth_file(settings)),
            "MLFLOW_AUTH_ADMIN_USERNAME": user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            # Signs the sessions of MLflow's web forms; a new one at each start ends those sessions only.
            "MLFLOW_FLASK_SERVER_SECRET_KEY": base.get("MLFLOW_FLASK_SERVER_SECRET_KEY", secrets.token_hex(32)),
        }
    healthy = _authorised(f"{url}/api/2.0/mlflow/registered-models/search?max_results=1", auth)
    return Service("mlflow", (sys.executable, *command), environment, healthy, ports.mlflow)


def _auth_file(settings: Settings) -> Path:
    """MLflow's file about its users' database; it names no password."""
    path = settings.root / FOLDER / "mlflow-auth.ini"
    path.parent.mkdir(parents=True, exist_ok=True)
    users = settings.root / "mlflow-users.db"
    path.write_text(f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{users}\n")
    return path


def _worker(worker: Worker, base: dict[str, str], api: str) -> Service:
    name, auth = f"{socket.gethostname()}-{worker.name}", base.get("PREFECT_API_AUTH_STRING", "")
    command = (
        "-m", "prefect", "worker", "start", "--name", name, "--type", "process", "--pool", worker.pool,
        "--work-queue", worker.queue, "--limit", str(worker.limit),
    )  # fmt: skip

    def healthy() -> bool:
        seen = ask(f"{api}/work_pools/{worker.pool}/workers/filter", auth, b"{}") or []
        return any(one["name"] == name and one["status"] == "ONLINE" for one in seen)

    return Service(f"worker-{worker.name}", (sys.executable, *command), base, healthy)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _authorised(url: str, auth: str, body: bytes | None = None) -> Callable[[], bool]:
    return lambda: ask(url, auth, body) is not None
