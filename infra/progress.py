"""Progress of long work, from wherever it happens to whoever shows it.

Steps emit; the command line listens and draws bars. Without a listener nothing happens. One listener a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One sign of life: the activity, how far it is (`total` None: unknown) and a short text."""

    activity: str
    text: str = ""
    done: int = 0
    total: int | None = None


_listener: Callable[[Event], None] | None = None


def emit(activity: str, text: str = "", done: int = 0, total: int | None = None) -> None:
    """Tell the listener, if there is one."""
    if _listener is not None:
        _listener(Event(activity, text, done, total))


@contextmanager
def listening(listener: Callable[[Event], None]) -> Iterator[None]:
    """Send events to `listener` while inside."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
