"""How many processors there are to use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """The processors this process may use, which are fewer than the machine's where it is pinned or in a cpuset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
