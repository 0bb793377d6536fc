"""Working through trials with several workers, here or on a pool, so that none is run twice.

A worker is a thread that waits for a trial's own processes. It takes the first trial that is neither recorded nor
held, holds its lease while it runs, and records what came of it. Other processes may work through the same trials at
the same time: they leave each other's alone. A trial whose process died is free again as soon as its lease is dead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from contextvars import copy_context

from infra.errors import Busy
from infra.lease import Lease
from infra.store import Store
from tasks.models.process import Interrupted
from tasks.training.trials import Trial, TrialResult, claimed, read_trial, record_trial

POLL_SECONDS = 1.0
RunOne = Callable[[Trial, Callable[[], None]], TrialResult]


def work_through(
    store: Store, key: str, trials: Sequence[Trial], workers: int, run: RunOne, poll: float = POLL_SECONDS
) -> None:
    """Have every one of `trials` recorded under `key`: by this process's `workers`, or by others.

    `run(trial, check)` runs one; it calls `check` now and then, which raises Interrupted when the others must stop.
    The first exception of a worker ends all of them and is raised.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Interrupted("the search was stopped")

    def take() -> bool:
        """Run one free trial; False when there is none."""
        for trial in trials:
            with ExitStack() as stack:
                try:
                    if read_trial(store, key, trial.number) is not None:
                        continue
                    stack.enter_context(claimed(store, key, trial.number))
                except Busy:
                    continue
                if read_trial(store, key, trial.number) is None:  # recorded between the look and the lease
                    record_trial(store, key, run(trial, check))
                return True
        return False

    def work() -> None:
        while any(read_trial(store, key, trial.number) is None for trial in trials):
            check()
            if not take():
                time.sleep(poll)

    side_by_side(work, min(workers, len(trials)), stop)


def side_by_side(work: Callable[[], None], workers: int, stop: threading.Event) -> None:
    """Run `work` in so many threads; the first exception sets `stop`, and is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="worker") as pool:
        futures = [pool.submit(copy_context().run, work) for _ in range(workers)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException:
            stop.set()
            raise


@contextmanager
def in_turn(store: Store, name: str, poll: float = POLL_SECONDS) -> Iterator[None]:
    """Hold the lease `name`, after waiting for whoever has it: for what takes moments, or has to be done once."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(Lease(store, name))
                break
            except Busy:
                time.sleep(poll)
        yield
