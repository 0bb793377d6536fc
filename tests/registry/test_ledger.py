"""The ledger's chain, and what happens when somebody tampers with it or is faster."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from infra.errors import UserError
from infra.store import LocalStore
from registry.ledger import GENESIS, Ledger, LedgerBroken, StalePromotion

RIVALS, ROUNDS = 8, 20


def add(ledger, version, after, actor="ada"):
    return ledger.append(
        "promote",
        after=after,
        version=version,
        adapter_hash=f"h{version}",
        champion_at_decision=after.version if after else None,
        verdict_seal=f"s{version}",
        actor=actor,
        reason="better",
        night="n1",
    )


@pytest.fixture
def ledger(tmp_path):
    return Ledger(LocalStore(tmp_path), "sql")


@pytest.fixture
def three(ledger):
    entry = None
    for version in "123":
        entry = add(ledger, version, entry)
    return ledger


def test_empty(ledger):
    assert (ledger.entries(), ledger.head(), ledger.verify()) == ([], None, 0)


def test_entries_are_chained_and_survive_reading(three):
    first, second, third = three.entries()
    assert (first.number, first.previous_hash, first.previous_version) == (1, GENESIS, None)
    assert (second.previous_hash, second.previous_version) == (first.hash, "1")
    assert three.head() == third
    assert len(third.hash) == 64
    assert three.verify() == 3


def test_names_do_not_share_a_ledger(three):
    assert Ledger(three.store, "sq").head() is None
    for name in ("", "../x", "a/b", "a'b", ".hidden"):
        with pytest.raises(UserError, match="release name"):
            Ledger(three.store, name)


def test_a_decision_on_an_old_head_is_stale(three):
    first = three.entries()[0]
    for after in (None, first):
        with pytest.raises(StalePromotion, match="entry 3: version 3 by ada"):
            add(three, "4", after)
    assert three.verify() == 3


def test_a_head_that_the_ledger_no_longer_holds_leaves_no_gap(three):
    third = three.head()
    three.store.delete(three.key(3))
    with pytest.raises(StalePromotion, match="entry 2"):
        add(three, "4", third)
    assert three.verify() == 2


@pytest.mark.parametrize("field", ["version", "adapter_hash", "actor", "verdict_seal", "time", "previous_hash", "hash"])
def test_an_altered_entry_is_named(three, field):
    path = three.store.path(three.key(2))
    entry = json.loads(path.read_text())
    path.write_text(json.dumps(entry | {field: "0" * 64}))
    for call in (three.entries, three.head, three.verify):
        with pytest.raises(LedgerBroken, match="entry 2"):
            call()
    with pytest.raises(LedgerBroken):
        add(three, "4", None)


def test_an_entry_rewritten_with_a_fitting_hash_breaks_the_next(three):
    entries = three.entries()
    forged = entries[1].model_copy(update={"version": "9"})
    forged = forged.model_copy(update={"hash": forged.compute_hash()})
    three.store.write_json(three.key(2), forged.model_dump(mode="json"))
    with pytest.raises(LedgerBroken, match="entry 3 does not follow"):
        three.verify()


def test_a_gap_is_named(three):
    three.store.delete(three.key(2))
    with pytest.raises(LedgerBroken, match="entry 2 is missing"):
        three.verify()


def test_swapped_entries_are_found(three):
    one, two = three.store.read(three.key(1)), three.store.read(three.key(2))
    three.store.write(three.key(1), two)
    three.store.write(three.key(2), one)
    with pytest.raises(LedgerBroken, match="entry 1"):
        three.verify()


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"number": 2}'])
def test_an_unreadable_entry_is_named(three, content):
    three.store.write(three.key(2), content)
    with pytest.raises(LedgerBroken, match="entry 2 cannot be read"):
        three.verify()


def test_a_foreign_file_is_an_error(three):
    three.store.write(f"{three.prefix}/notes.txt", b"hello")
    with pytest.raises(LedgerBroken, match=r"notes\.txt"):
        three.verify()


class LosesAnswers(LocalStore):
    """What the S3 client does when the answer to a create is lost: it asks again and is told that the key exists."""

    def create(self, key, data):
        super().create(key, data)
        super().create(key, data)


def test_an_entry_whose_answer_was_lost_is_made_and_not_a_defeat(tmp_path):
    ledger = Ledger(LosesAnswers(tmp_path), "sql")
    first = add(ledger, "1", None)
    assert ledger.head() == first
    assert add(ledger, "2", first).number == 2


def attempt(ledger, barrier, after, actor):
    barrier.wait(30)
    try:
        return add(ledger, f"{actor}", after, actor=str(actor)).actor
    except StalePromotion:
        return None


def test_of_eight_threads_exactly_one_wins_each_round(ledger):
    head = None
    with ThreadPoolExecutor(RIVALS) as pool:
        for number in range(1, ROUNDS + 1):
            barrier = Barrier(RIVALS)
            results = list(pool.map(lambda a, b=barrier, h=head: attempt(ledger, b, h, a), range(RIVALS)))
            winners = [actor for actor in results if actor is not None]
            head = ledger.head()
            assert winners == [head.actor]
            assert head.number == number
    assert ledger.verify() == ROUNDS


def rival(root, barrier, actor, wins):
    ledger = Ledger(LocalStore(root), "sql")
    for _ in range(ROUNDS):
        after = ledger.head()
        barrier.wait(30)
        won = attempt(ledger, barrier, after, actor)
        barrier.wait(30)
        if won is not None:
            wins.put((ledger.head().number, actor))
        barrier.wait(30)


def test_of_four_processes_exactly_one_wins_each_round(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, wins = context.Barrier(4), context.Queue()
    rivals = [context.Process(target=rival, args=(tmp_path, barrier, a, wins)) for a in range(4)]
    for process in rivals:
        process.start()
    won = sorted(wins.get(timeout=60) for _ in range(ROUNDS))
    for process in rivals:
        process.join(30)
    assert [number for number, _ in won] == list(range(1, ROUNDS + 1))
    assert [p.exitcode for p in rivals] == [0] * 4
    assert wins.empty()
    entries = Ledger(LocalStore(tmp_path), "sql").entries()
    assert [(e.number, int(e.actor)) for e in entries] == won
