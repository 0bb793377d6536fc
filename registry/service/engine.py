"""The engine: one thread answers in batches, another watches the ledger and changes the release between two batches.

Requests wait in a queue; whatever waits is answered together, by one release. A new release is loaded beside the one
that answers and takes its place with one assignment, so that every answer comes whole from one of them and none is
dropped. A release that cannot be loaded changes nothing: the old one stays, and the trouble is told until it is gone.

Limits: both releases are in memory while the new one loads.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from infra.errors import NightshiftError
from registry.answering import Ask, Written
from registry.ledger import LedgerEntry
from registry.serving import Served

log = logging.getLogger("nightshift.serve")
LONGEST_PAUSE = 60.0  # seconds between two attempts to load a release that will not load


class Overloaded(NightshiftError):
    """More questions wait than the service takes on."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was written for some questions, and by which release."""

    served: Served
    written: tuple[Written, ...]


@dataclass(slots=True)
class _Job:
    asks: Sequence[Ask]
    future: Future[Given] = field(default_factory=Future)


class Engine:
    """Answers with the release in Production, whichever that is.

    `head(known)` is the ledger's newest entry, given the one that serves; `load(entry)` loads what it names;
    `switched(served)` is told about each release that begins to serve.
    """

    def __init__(
        self,
        head: Callable[[LedgerEntry | None], LedgerEntry | None],
        load: Callable[[LedgerEntry], Served],
        switched: Callable[[Served], None] = lambda _: None,
        *,
        batch_size: int = 16,
        most_waiting: int = 256,
        poll_seconds: float = 2.0,
    ) -> None:
        self._head, self._load, self._switched = head, load, switched
        self._batch_size, self._poll_seconds = batch_size, poll_seconds
        self._jobs: queue.Queue[_Job | None] = queue.Queue(most_waiting)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._served: Served | None = None
        self.trouble = ""
        self.switches = 0
        self.failed_switches = 0

    @property
    def served(self) -> Served:
        """The release that answers now."""
        if self._served is None:
            raise NightshiftError("the service has not started yet")
        return self._served

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._jobs.qsize()

    def start(self) -> None:
        """Load Production and begin; raises whatever keeps it from being loaded."""
        entry = self._head(None)
        if entry is None:
            raise NightshiftError("nothing is in Production yet: run `nightshift retrain` first")
        self._serve(self._load(entry))
        for target in (self._answer_all, self._watch):
            thread = threading.Thread(target=target, name=target.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Answer what waits, then end."""
        self._stopping.set()
        self._jobs.put(None)
        for thread in self._threads:
            thread.join(30)

    def submit(self, asks: Sequence[Ask]) -> Future[Given]:
        """Queue some questions that one release is to answer; raises Overloaded when too many wait."""
        job = _Job(asks)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Overloaded("too many questions are waiting; try again in a few seconds") from None
        return job.future

    def _serve(self, served: Served) -> None:
        self._served = served
        self._switched(served)

    def _answer_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            last = False
            while sum(len(j.asks) for j in jobs) < self._batch_size and not last:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                last = more is None
                jobs += [more] if more is not None else []
            self._answer([j for j in jobs if j.future.set_running_or_notify_cancel()])
            if last:
                return

    def _answer(self, jobs: list[_Job]) -> None:
        served = self.served  # from here on this release, whatever the ledger says
        try:
            written = iter(served.answerer.answer([ask for job in jobs for ask in job.asks], self._batch_size))
            for job in jobs:
                job.future.set_result(Given(served, tuple(next(written) for _ in job.asks)))
        except Exception as error:  # a request's failure is that request's answer; the thread must live on
            log.exception("questions could not be answered")
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)

    def _watch(self) -> None:
        pause = self._poll_seconds
        while not self._stopping.wait(pause):
            try:
                entry = self._head(self.served.entry)
                if entry is not None and entry != self.served.entry:
                    log.info("switching to version %s (ledger entry %d)", entry.version, entry.number)
                    self._serve(self._load(entry))
                    self.switches += 1
                self.trouble, pause = "", self._poll_seconds
            except Exception as error:  # whatever is wrong with the new release or the store, the old one goes on
                if str(error) != self.trouble:
                    log.warning("staying on version %s: %s", self.served.version, error)
                self.trouble = str(error) or type(error).__name__
                self.failed_switches += 1
                pause = min(pause * 2, LONGEST_PAUSE)
