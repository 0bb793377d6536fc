"""The learning curve of a release: what each night's version scored, whether or not it was promoted.

One small key of the store a version, `curves/<release>/<00000003>.json`, written when its night's report is made.
Limits: it knows execution accuracy alone, and of the last nights alone.
"""

from __future__ import annotations

from infra.store import Store
from registry.ledger import Ledger, check_name
from tasks.evaluation.metrics import MAIN
from tasks.evaluation.report import NightPoint
from tasks.evaluation.scorecard import Scorecard

LAST = 40  # nights that are read back: more than a page can show, and few enough to read in a second


def keep_point(store: Store, name: str, version: str, created: str, card: Scorecard) -> None:
    """Note what the night's version scored, on which test split and by which rules; nothing where nothing counted."""
    check_name(name)
    main = card.metrics.get(MAIN)
    if main is None or main.n == 0:
        return
    measured = f"{card.test_fingerprint} {card.rules} {card.suite}"
    point = NightPoint(
        version=version, created=created, measured=measured, value=main.value, low=main.low, high=main.high, n=main.n
    )
    store.write_json(f"curves/{name}/{int(version):08d}.json", point.model_dump(exclude={"promoted"}))


def read_curve(store: Store, name: str) -> list[NightPoint]:
    """The last nights of a release, oldest first; those that ever reached Production say so."""
    promoted = {entry.version for entry in Ledger(store, name).entries()}
    keys = sorted(store.list(f"curves/{name}"))[-LAST:]
    points = [NightPoint.model_validate(store.read_json(key)) for key in keys]
    return [point.model_copy(update={"promoted": point.version in promoted}) for point in points]
