"""The one door to Production, against a real MLflow on SQLite: who is let through and who is not."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from infra.errors import UserError
from registry import releases
from registry.attached import attach_verdict, attached_verdict
from registry.ledger import Ledger, StalePromotion
from registry.promotion import PromotionRefused, reject
from registry.releases import PREVIOUS_ALIAS, PRODUCTION_ALIAS
from registry.verdict import VerdictAltered, decide
from tests.registry.shown import aliases_of, production_version


def test_two_nights(world):
    first, second = world.next("n1"), world.next("n2")
    assert (first.champion_at_decision, second.champion_at_decision, second.previous_version) == (None, "1", "1")
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "2", PREVIOUS_ALIAS: "1"}
    assert world.stages == {"1": "Archived", "2": "Production"}
    assert world.project().changed is False
    assert attached_verdict(world.name, "2").sealed == second.verdict_seal


def test_only_mlflows_warning_about_stages_is_silent(world):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        world.next("n1")


def test_a_repeated_promotion_is_the_same_entry(world):
    verdict = world.verdict(world.register("n1"))
    assert world.promote(verdict) == world.promote(verdict)
    assert world.ledger.verify() == 1


def test_a_verdict_serves_once(world):
    first = world.verdict(world.register("n1"))
    world.promote(first)
    world.next("n2")
    with pytest.raises(PromotionRefused, match="already served entry 1"):
        world.promote(first)


@pytest.mark.parametrize("status", ["fail", "needs_approval"])
def test_only_a_pass_or_a_named_approver(world, status):
    verdict = world.verdict(world.register("n1"), status)
    for approver in (None, " "):
        with pytest.raises(PromotionRefused):
            world.promote(verdict, approver=approver)
    assert world.nothing_promoted()
    if status == "fail":
        with pytest.raises(PromotionRefused, match="failed its gates"):
            world.promote(verdict, approver="ada")
        assert world.nothing_promoted()
    else:
        assert world.promote(verdict, approver="ada").approver == "ada"


def test_no_gates_promote_nothing(world):
    release = world.register("n1")
    verdict = decide(
        [], release=world.name, version="1", adapter_hash=release.adapter_hash, test_fingerprint="t",
        champion_version=None, champion_adapter_hash=None, night="n",
    )  # fmt: skip
    with pytest.raises(PromotionRefused, match="there are none"):
        world.promote(verdict)
    assert world.nothing_promoted()


@pytest.mark.parametrize("change", [{"status": "pass"}, {"version": "2"}, {"adapter_hash": "x"}, {"sealed": ""}])
def test_an_altered_verdict_is_refused(world, change):
    release = world.register("n1")
    world.register("n2")
    verdict = world.verdict(release, "fail").model_copy(update=change)
    with pytest.raises(VerdictAltered):
        world.promote(verdict)
    with pytest.raises(VerdictAltered):
        reject(world.name, "1", verdict, "no")
    assert world.nothing_promoted()


def test_a_verdict_about_another_adapter_release_or_later_verdict_is_refused(world):
    release = world.register("n1")
    with pytest.raises(PromotionRefused, match="judged was other"):
        world.promote(world.verdict(release, adapter_hash="other"))
    with pytest.raises(PromotionRefused, match="not sql-"):
        world.promote(world.verdict(release, release="another"))
    early, late = world.verdict(release), world.verdict(release, "fail")
    attach_verdict(world.name, "1", late)
    with pytest.raises(PromotionRefused, match="another verdict"):
        world.promote(early)
    with pytest.raises(UserError, match="cannot go on"):
        attach_verdict(world.name, "9", late)
    assert world.nothing_promoted()


def test_actor_and_reason_are_required(world):
    verdict = world.verdict(world.register("n1"))
    for missing in ({"actor": " "}, {"reason": ""}):
        with pytest.raises(PromotionRefused, match="actor and a reason"):
            world.promote(verdict, **missing)
    assert world.nothing_promoted()


@pytest.mark.parametrize("judged_against", ["nobody", "an older champion", "other weights"])
def test_a_stale_champion_is_refused(world, judged_against):
    first = world.next("n1")
    second = world.next("n2")
    champion = {
        "nobody": None,
        "an older champion": first,
        "other weights": second.model_copy(update={"adapter_hash": "x"}),
    }
    late = world.verdict(world.register("n3"), champion=champion[judged_against])
    with pytest.raises(StalePromotion, match="evaluate it again"):
        world.promote(late)
    assert world.ledger.head() == second
    assert production_version(world.name) == "2"


def test_a_champion_that_the_ledger_does_not_know_is_stale(world):
    release = world.register("n1")
    with pytest.raises(StalePromotion, match="champion is now none"):
        world.promote(world.verdict(release, champion_version="7", champion_adapter_hash="h"))
    assert world.nothing_promoted()


def test_of_rival_promotions_exactly_one_wins(world):
    world.next("n0")
    verdicts = [world.verdict(world.register(f"r{n}")) for n in range(4)]
    barrier = Barrier(4)

    def rival(verdict):
        barrier.wait(30)
        try:
            return world.promote(verdict).version
        except StalePromotion:
            return None

    with ThreadPoolExecutor(4) as pool:
        winners = [version for version in pool.map(rival, verdicts) if version]
    world.project()
    assert winners == [world.ledger.head().version]
    assert world.ledger.verify() == 2
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: winners[0], PREVIOUS_ALIAS: "1"}


def test_a_lost_answer_of_the_winning_create_is_not_a_defeat(world, monkeypatch):
    verdict = world.verdict(world.register("n1"))
    append = Ledger.append

    def lost(self, *args, **more):
        append(self, *args, **more)
        raise StalePromotion("412 for one's own entry")

    monkeypatch.setattr(Ledger, "append", lost)
    assert world.promote(verdict).version == "1"


def test_a_rejection_is_recorded(world):
    release = world.register("n1")
    reject(world.name, "1", world.verdict(release, "fail"), "too slow")
    tags = releases.get_release(world.name, "1").tags
    assert (tags[releases.VERDICT_TAG], tags[releases.REJECTED_TAG]) == ("fail", "too slow")
    with pytest.raises(PromotionRefused, match="reason"):
        reject(world.name, "1", world.verdict(release, "fail"), "")
    assert world.nothing_promoted()
