"""The one door to Production, against a real MLflow on SQLite: refusals, crashes, outages, rivals and people."""

from __future__ import annotations

import itertools
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from mlflow.exceptions import MlflowException

from infra import tracking
from infra.errors import NightshiftError, UserError
from infra.store import LocalStore
from registry import promotion, releases
from registry.gates import GateOutcome
from registry.ledger import Ledger, LedgerBroken, StalePromotion
from registry.promotion import PromotionRefused, project, promote, reject
from registry.releases import (
    PREVIOUS_ALIAS,
    PRODUCTION_ALIAS,
    AdapterChanged,
    aliases_of,
    attach_verdict,
    attached_verdict,
    download_adapter,
    list_releases,
    production_version,
    register_candidate,
)
from registry.verdict import VerdictAltered, decide

NAMES = (f"sql-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """MLflow on SQLite, once: its start costs seconds."""
    root = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setattr(tracking, "_settings", None)
        tracking.configure(f"sqlite:///{root}/mlflow.db", root / "artifacts")
        yield tracking.client()


class World:
    """One release name with its own ledger, and short ways to make things happen."""

    def __init__(self, folder, client):
        self.folder, self.client, self.name = folder, client, next(NAMES)
        self.store = LocalStore(folder / "store")
        self.ledger = Ledger(self.store, self.name)

    def register(self, night, weights=None):
        adapter = self.folder / f"adapter-{night}"
        (adapter / "sub").mkdir(parents=True, exist_ok=True)
        (adapter / "weights.bin").write_text(weights or night)
        (adapter / "sub" / "prompt.json").write_text("{}")
        run = tracking.night_run("recipe", night, f"night {night}")
        return register_candidate(self.name, run, adapter, night, {"nightshift.base_model": "tiny"}, "a candidate")

    def verdict(self, candidate, status="pass", champion="now", **changes):
        head = self.ledger.head() if champion == "now" else champion
        gate = GateOutcome(
            id="g", metric="execution_accuracy", slice=None, rule="at least", value=0.8, threshold=0.5, status=status,
            evidence="0.8",
        )  # fmt: skip
        facts = {
            "release": self.name,
            "version": candidate.version,
            "adapter_hash": candidate.adapter_hash,
            "test_fingerprint": "t1",
            "champion_version": head.version if head else None,
            "champion_adapter_hash": head.adapter_hash if head else None,
            "night": "n",
        }
        return decide([gate], **(facts | changes))

    def promote(self, verdict, **more):
        return promote(self.store, self.name, verdict, **({"actor": "night", "reason": "gates passed"} | more))

    def project(self, **more):
        return project(self.store, self.name, **more)

    def next(self, night):
        """Register, judge and promote."""
        return self.promote(self.verdict(self.register(night)))

    @property
    def stages(self):
        return {row.version: row.stage for row in list_releases(self.name)}

    def nothing_promoted(self):
        assert self.ledger.entries() == []
        assert production_version(self.name) is None
        return True


@pytest.fixture
def world(tmp_path, mlflow, monkeypatch):
    monkeypatch.setattr(promotion, "SETTLE_SECONDS", 0.01)
    return World(tmp_path, mlflow)


# ---- registering


def test_the_same_night_and_adapter_is_the_same_version(world):
    first = world.register("n1")
    assert world.register("n1") == first
    assert world.register("n2").version == "2"
    assert first.tags["nightshift.base_model"] == "tiny"


def test_a_night_repeated_with_another_adapter_leaves_the_first_files_alone(world, tmp_path):
    first = world.register("n1", weights="old")
    second = world.register("n1", weights="new")
    assert (first.version, second.version) == ("1", "2")
    assert (download_adapter(world.name, "1", tmp_path / "a") / "weights.bin").read_text() == "old"
    assert (download_adapter(world.name, "2", tmp_path / "b") / "weights.bin").read_text() == "new"


def test_a_download_is_the_adapter_or_an_error(world, tmp_path):
    release = world.register("n1")
    files = download_adapter(world.name, "1", tmp_path / "out")
    assert sorted(p.name for p in files.rglob("*") if p.is_file()) == ["prompt.json", "weights.bin"]
    with pytest.raises(UserError, match="not empty"):
        download_adapter(world.name, "1", tmp_path / "out")
    tracking.client().log_text(release.run_id, "tampered", f"adapter/{release.adapter_hash}/weights.bin")
    with pytest.raises(AdapterChanged, match="do not use"):
        download_adapter(world.name, "1", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_empty_adapter_is_refused(world, tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="no adapter"):
            register_candidate(world.name, "run", folder / "x", "n1", {}, "")


def test_releases_have_the_contracts_form(world):
    release = world.register("n1")
    (row,) = list_releases(world.name)
    assert (row.verdict, row.aliases, row.stage, row.metrics) == (None, [], "None", {})
    verdict = world.verdict(release)
    attach_verdict(world.name, "1", verdict, {"execution_accuracy": 0.8})
    assert attached_verdict(world.name, "1") == verdict
    world.promote(verdict)
    (row,) = list_releases(world.name)
    document = json.loads(row.model_dump_json())
    assert document.pop("created").endswith("+00:00")
    assert document == {
        "name": world.name,
        "version": "1",
        "aliases": ["Production"],
        "stage": "Production",
        "verdict": "pass",
        "metrics": {"execution_accuracy": 0.8},
        "run_id": release.run_id,
    }
    assert world.name in {row.name for row in list_releases()}
    assert list_releases("unknown") == []


# ---- promoting


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


# ---- crashes and outages

WRITES = ["set_registered_model_alias", "transition_model_version_stage", "set_registered_model_tag"]


@pytest.mark.parametrize("step", [*WRITES, "second alias"])
def test_a_crash_between_the_ledger_and_mlflow_is_repaired(world, monkeypatch, step):
    world.next("n1")
    verdict = world.verdict(world.register("n2"))
    cls = type(world.client)
    original, calls = getattr(cls, step, cls.set_registered_model_alias), []

    def crash(self, *args, **more):
        calls.append(args)
        if step == "second alias" and len(calls) == 1:
            return original(self, *args, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cls, step if step in WRITES else WRITES[0], crash)
        with pytest.raises(KeyboardInterrupt):
            world.promote(verdict)
    assert world.ledger.head().version == "2"
    repaired = world.project()
    assert (repaired.changed, repaired.heard, repaired.unsanctioned) == (True, False, None)
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "2", PREVIOUS_ALIAS: "1"}
    assert world.stages == {"1": "Archived", "2": "Production"}
    assert world.project().changed is False
    assert world.promote(verdict).number == 2


def outage(*args, **more):
    raise MlflowException("connection refused")


@pytest.mark.parametrize("call", ["get_registered_model", "get_model_version", "set_model_version_tag", "log_text"])
def test_a_registry_outage_never_promotes(world, monkeypatch, call):
    verdict = world.verdict(world.register("n1"))
    with monkeypatch.context() as patch:
        patch.setattr(type(world.client), call, outage)
        with pytest.raises(MlflowException, match="refused"):
            world.promote(verdict)
    assert world.nothing_promoted()


def test_an_outage_is_not_an_absent_champion(world, monkeypatch):
    world.register("n1")
    assert production_version(world.name) is None
    with pytest.raises(MlflowException, match="not found"):
        production_version("never-registered")
    monkeypatch.setattr(type(world.client), "get_registered_model", outage)
    with pytest.raises(MlflowException, match="refused"):
        production_version(world.name)
    with pytest.raises(MlflowException, match="refused"):
        world.project()


def test_a_lost_or_shortened_ledger_stops_everything(world, tmp_path):
    world.next("n1")
    world.next("n2")
    release = world.register("n3")
    for lost in ([2], [1, 2]):
        for number in lost:
            world.store.delete(world.ledger.key(number))
        with pytest.raises(LedgerBroken, match="entry 2 is missing"):
            world.project()
        with pytest.raises(LedgerBroken):
            world.promote(world.verdict(release))
        assert production_version(world.name) == "2"


def test_a_lost_model_is_an_error_and_no_model_is_nothing_to_show(world):
    assert world.project().entry is None
    world.next("n1")
    world.client.delete_registered_model(world.name)
    with pytest.raises(NightshiftError, match="restore MLflow"):
        world.project()


# ---- people


def set_production(world, version):
    world.client.set_registered_model_alias(world.name, PRODUCTION_ALIAS, version)


def test_a_person_who_moves_the_alias_to_a_passed_version_is_heard(world):
    first = world.next("n1")
    second = world.next("n2")
    set_production(world, "1")
    heard = world.project()
    assert (heard.heard, heard.unsanctioned) == (True, None)
    entry = world.ledger.head()
    assert (entry.action, entry.version, entry.previous_version) == ("manual", "1", "2")
    assert (entry.adapter_hash, entry.verdict_seal) == (first.adapter_hash, first.verdict_seal)
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "1", PREVIOUS_ALIAS: "2"}
    assert world.stages == {"1": "Production", "2": "Archived"}
    assert world.project().heard is False
    assert world.ledger.verify() == 3
    # Tonight's candidate was judged against version 2: the person's decision makes that stale.
    with pytest.raises(StalePromotion):
        world.promote(world.verdict(world.register("n3"), champion=second))


@pytest.mark.parametrize("judged", [None, "fail", "needs_approval"])
def test_a_person_who_moves_the_alias_to_an_unproven_version_is_flagged_or_taken_back(world, judged):
    world.next("n1")
    release = world.register("n2")
    if judged:
        attach_verdict(world.name, "2", world.verdict(release, judged))
    set_production(world, "2")
    for _ in range(2):
        assert world.project().unsanctioned == "2"
        assert production_version(world.name) == "2"
    assert world.project(take_back=True).unsanctioned == "2"
    assert production_version(world.name) == "1"
    assert world.ledger.verify() == 1
    assert world.project().unsanctioned is None


def test_a_passed_verdict_does_not_cover_changed_weights(world):
    world.next("n1")
    release = world.register("n2")
    attach_verdict(world.name, "2", world.verdict(release))
    world.client.set_model_version_tag(world.name, "2", releases.HASH_TAG, "other")
    set_production(world, "2")
    assert world.project().unsanctioned == "2"
    assert world.ledger.verify() == 1


def test_the_first_production_set_by_hand_without_a_verdict_is_flagged(world):
    world.register("n1")
    set_production(world, "1")
    assert world.project().unsanctioned == "1"
    assert world.project(take_back=True).changed
    assert world.nothing_promoted()


def test_a_proper_promotion_replaces_an_unproven_version(world):
    world.next("n1")
    world.register("n2")
    set_production(world, "2")
    assert world.next("n3").previous_version == "1"
    assert aliases_of(world.name) == {PRODUCTION_ALIAS: "3", PREVIOUS_ALIAS: "1"}


def test_a_deleted_alias_is_made_again(world):
    world.next("n1")
    world.client.delete_registered_model_alias(world.name, PRODUCTION_ALIAS)
    assert world.project().changed
    assert production_version(world.name) == "1"
