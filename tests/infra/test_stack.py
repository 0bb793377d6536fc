"""What `up` would run: addresses, environments and secrets, decided before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import UserError
from infra.settings import Settings
from infra.stack import Ports, Stack, plan_stack

AUTH = "ada:correct horse battery"


def plan(folder: Path, environ: dict[str, str] | None = None, host: str = "127.0.0.1", **settings: str) -> Stack:
    return plan_stack(Settings(home=folder, **settings), Ports(host), environ or {})


def environment(stack: Stack, name: str) -> dict[str, str]:
    return next(s for s in (*stack.servers, *stack.workers) if s.name == name).environment


def test_everything_is_on_this_machine_and_dispatches_to_the_pools(tmp_path: Path) -> None:
    stack = plan(tmp_path)
    assert [service.name for service in stack.servers] == ["prefect", "mlflow"]
    assert (stack.prefect_url, stack.mlflow_url) == ("http://127.0.0.1:4200", "http://127.0.0.1:5000")
    pages = environment(plan_stack(Settings(home=tmp_path), Ports(prefect=4444), {}), "prefect")
    assert pages["PREFECT_UI_API_URL"] == "http://127.0.0.1:4444/api"
    for service in stack.workers:
        assert service.environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
        assert service.environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
        assert service.environment["NIGHTSHIFT_DISPATCH"] == "pools"
    queues = {s.name: (s.command[s.command.index("--pool") + 1], s.command[s.command.index("--work-queue") + 1])
              for s in stack.workers if s.name != "webhook"}  # fmt: skip
    assert queues == {
        "worker-nights": ("cpu", "nights"),
        "worker-cpu": ("cpu", "default"),
        "worker-gpu-t4": ("gpu-t4", "default"),
        "worker-gpu-l4": ("gpu-l4", "default"),
        "worker-gpu-h100": ("gpu-h100", "default"),
    }


def test_servers_that_are_there_are_used_and_databases_become_the_servers_own(tmp_path: Path) -> None:
    given = {"PREFECT_API_URL": "https://prefect.example/api", "MLFLOW_TRACKING_URI": "https://mlflow.example"}
    stack = plan(tmp_path, given)
    assert (stack.servers, stack.prefect_url, stack.mlflow_url) == (
        (),
        "https://prefect.example",
        "https://mlflow.example",
    )
    own = {"PREFECT_API_URL": "http://127.0.0.1:4200/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}
    command = plan(tmp_path, own).servers[1].command  # what `up` tells people to export
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"
    database = "postgresql+psycopg2://db/mlflow"
    stack = plan(tmp_path, {"MLFLOW_TRACKING_URI": database}, artifacts="s3://nights/artifacts")
    command = stack.servers[1].command
    assert command[command.index("--backend-store-uri") + 1] == database
    assert command[command.index("--default-artifact-root") + 1] == "s3://nights/artifacts"
    assert stack.environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"


def test_one_setting_is_the_password_of_servers_and_clients_and_lies_in_no_file_or_command(tmp_path: Path) -> None:
    stack = plan(tmp_path, auth=AUTH, host="0.0.0.0")
    assert environment(stack, "prefect")["PREFECT_SERVER_API_AUTH_STRING"] == AUTH
    mlflow = environment(stack, "mlflow")
    assert (mlflow["MLFLOW_AUTH_ADMIN_USERNAME"], mlflow["MLFLOW_AUTH_ADMIN_PASSWORD"]) == tuple(AUTH.split(":"))
    assert "basic-auth" in stack.servers[1].command
    for service in stack.workers:
        assert service.environment["PREFECT_API_AUTH_STRING"] == AUTH
        assert service.environment["MLFLOW_TRACKING_PASSWORD"] == AUTH.split(":")[1]
        assert "PREFECT_SERVER_API_AUTH_STRING" not in service.environment
    password = AUTH.split(":")[1]
    assert not any(password in word for s in (*stack.servers, *stack.workers) for word in s.command)
    assert not any(password in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert password not in repr(Settings(home=tmp_path, auth=AUTH))


@pytest.mark.parametrize(
    ("host", "auth", "told"),
    [
        ("0.0.0.0", "", "NIGHTSHIFT_AUTH"),
        ("192.0.2.1", "", "NIGHTSHIFT_AUTH"),
        ("127.0.0.1", "ada", "user:password"),
        ("127.0.0.1", "ada:short", "12 characters"),
        ("127.0.0.1", ":correct horse battery", "user:password"),
    ],
)
def test_no_server_beyond_loopback_without_a_password_and_no_weak_one(
    tmp_path: Path, host: str, auth: str, told: str
) -> None:
    with pytest.raises(UserError, match=told) as error:
        plan(tmp_path, host=host, auth=auth)
    assert "short" not in str(error.value)


def test_a_webhook_secret_needs_a_lasting_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"):
        plan(tmp_path, {"NIGHTSHIFT_WEBHOOK_SECRET": "s"})
    plan(tmp_path, {"NIGHTSHIFT_WEBHOOK_SECRET": "s", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "k"})
