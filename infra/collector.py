"""Python's garbage collector, while a great many objects are made that stay.

Syntax trees are thousands of objects tied in circles. The collector, by default, goes through the young ones after
every 700 and through all of them again and again as they grow in number: a fifth of the time it takes to parse.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_OBJECTS = 20_000  # new ones before the collector looks
_OLDER, _ALL = 10, 5  # looks before it takes in older ones, and looks of that kind before it takes in all


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect after 20,000 new objects and not after 700, and all of them only after a million: some 100 MB.

    Holds for the whole process; what was set before is set again.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, _OLDER, _ALL)
    try:
        yield
    finally:
        gc.set_threshold(*before)
