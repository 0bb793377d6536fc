"""Dispatching a step: never twice at once, again after a death, elsewhere when there is no place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.dispatch import CRASHES, POLL_SECONDS, Seen, dispatch
from infra.errors import NightshiftError


class Server:
    """Runs by idempotency key; each lives through the phases given for its key, one a look, and stays in the last."""

    def __init__(self, **lives: list[str]) -> None:
        self.lives = {key.replace("_", "-"): iter(phases) for key, phases in lives.items()}
        self.now: dict[str, str] = {}
        self.started: list[str] = []
        self.taken: list[str] = []
        self.seconds = 0.0

    def start(self, step: str, pool: str, night: str, key: str) -> str:
        assert key == f"{night}-{step}-{pool}-{key.rpartition('-')[2]}"
        if key not in self.started:
            self.started.append(key)
        return key

    def look(self, run: str) -> Seen:
        life: Iterator[str] = self.lives.get(run, iter(()))
        self.now[run] = next(life, self.now.get(run, "waiting"))
        return Seen(self.now[run], f"told by {run}")

    def take_back(self, run: str) -> bool:
        if self.now[run] != "waiting":
            return False
        self.taken.append(run)
        return True

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def run(self, *pools: str, patience: float = 60) -> None:
        dispatch(self, "train", pools, "n1", patience, self.sleep, lambda: self.seconds)


def test_a_step_is_started_once_and_waited_for() -> None:
    server = Server(n1_train_cpu_1=["waiting", "running", "running", "completed"])
    server.run("cpu")
    assert (server.started, server.seconds) == (["n1-train-cpu-1"], 3 * POLL_SECONDS)


def test_a_night_that_comes_back_waits_for_the_step_it_started() -> None:
    server = Server(n1_train_cpu_1=["running", "running", "completed"])
    server.started = ["n1-train-cpu-1"]
    server.run("cpu")
    assert server.started == ["n1-train-cpu-1"]


@pytest.mark.parametrize("ended", ["completed", "failed", "crashed"])
def test_what_ended_in_an_earlier_life_gets_another_attempt(ended: str) -> None:
    server = Server(n1_train_cpu_1=[ended], n1_train_cpu_2=["running", "completed"])
    server.run("cpu")
    assert server.started == ["n1-train-cpu-1", "n1-train-cpu-2"]


def test_a_step_that_dies_is_started_again_but_not_for_ever() -> None:
    dying = ["running", "crashed"]
    server = Server(n1_train_cpu_1=dying, n1_train_cpu_2=["running", "completed"])
    server.run("cpu")
    assert len(server.started) == 2
    server = Server(**{f"n1_train_cpu_{n}": dying for n in range(1, CRASHES + 1)})
    with pytest.raises(
        NightshiftError, match=rf"train died {CRASHES} times, last on cpu: told by n1-train-cpu-{CRASHES}"
    ):
        server.run("cpu")
    assert len(server.started) == CRASHES


def test_a_step_that_fails_ends_the_night() -> None:
    server = Server(n1_train_cpu_1=["running", "failed"])
    with pytest.raises(NightshiftError, match="train failed on cpu: told by n1-train-cpu-1"):
        server.run("cpu")


def test_without_a_place_in_time_the_next_pool_is_tried_and_the_last_is_waited_for() -> None:
    server = Server(n1_train_gpu_l4_1=["waiting"], n1_train_gpu_h100_1=["waiting"] * 500 + ["completed"])
    server.run("gpu-l4", "gpu-h100", patience=60)
    assert server.started == ["n1-train-gpu-l4-1", "n1-train-gpu-h100-1"]
    assert server.taken == ["n1-train-gpu-l4-1"]


def test_a_step_that_began_late_is_not_taken_back() -> None:
    server = Server(n1_train_gpu_l4_1=["waiting"] * 20 + ["running"] * 100 + ["completed"])
    server.run("gpu-l4", "gpu-h100", patience=60)
    assert (server.started, server.taken) == (["n1-train-gpu-l4-1"], [])
