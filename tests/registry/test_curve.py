"""The learning curve of a release: every night's version is on it, in order, the promoted ones marked."""

from __future__ import annotations

from registry.curve import LAST, keep_point, read_curve
from tests.registry.test_gates import card, right


def test_every_night_is_a_point_and_the_promoted_ones_say_so(world):
    for night, count in (("n1", 3), ("n2", 6)):
        release = world.register(night)
        verdict = world.verdict(release, night=night)
        keep_point(world.store, world.name, release.version, "2026-03-04T03:12:00Z", card(right(count, 10)))
        if night == "n2":
            world.promote(verdict)
    curve = read_curve(world.store, world.name)
    assert [(point.version, point.value, point.n, point.promoted) for point in curve] == [
        ("1", 0.3, 10, False),
        ("2", 0.6, 10, True),
    ]
    main = card(right(3, 10)).metrics["execution_accuracy"]
    assert (curve[0].low, curve[0].high, curve[0].created) == (main.low, main.high, "2026-03-04T03:12:00Z")


def test_nights_that_cannot_be_compared_are_told_apart(world):
    made = card(right(3, 10))
    for number, change in enumerate(({}, {}, {"test_fingerprint": "other"}, {"rules": "strict-bag 9"}, {"suite": 2})):
        keep_point(world.store, world.name, str(number + 1), "2026-03-04", made.model_copy(update=change))
    measured = [point.measured for point in read_curve(world.store, world.name)]
    assert measured[0] == measured[1]
    assert len(set(measured)) == 4


def test_a_night_that_is_published_again_stays_one_point_and_one_without_gold_is_none(world):
    for _ in range(2):
        keep_point(world.store, world.name, "9", "2026-03-04", card(right(3, 10)))
    keep_point(world.store, world.name, "10", "2026-03-05", card(right(4, 10)))
    keep_point(world.store, world.name, "11", "2026-03-06", card([]).model_copy(update={"metrics": {}}))
    assert [point.version for point in read_curve(world.store, world.name)] == ["9", "10"]


def test_only_the_last_nights_are_read(world):
    for version in range(1, LAST + 4):
        keep_point(world.store, world.name, str(version), "2026-03-04", card(right(3, 10)))
    assert [point.version for point in read_curve(world.store, world.name)][:1] == ["4"]
    assert len(read_curve(world.store, world.name)) == LAST
