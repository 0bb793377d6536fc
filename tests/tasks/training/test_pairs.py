"""Preference pairs: what is kept fails by execution, everything is accounted for, a broken run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.data.example import Example
from tasks.sql.judge import Job, JudgeSession
from tasks.sql.judgement import Judgement
from tasks.training import pairs
from tasks.training.pairs import Candidate, Judge, build_pairs, job_of, propose_edits
from tasks.training.specs.pairs import PairSpec

DDL = "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
SETUP = "INSERT INTO cars VALUES (1, 'Saab', 30), (2, 'BMW', 50), (3, 'Volvo', 20), (4, 'Audi', 60)"


def rows(count: int) -> list[Example]:
    return [
        Example(
            f"r{i}", "cars", f"Cars above {i}?", DDL, f"SELECT name FROM cars WHERE price > {10 * (i % 6)}", setup=SETUP
        )
        for i in range(count)
    ]


@pytest.fixture
def judge() -> Iterator[Judge]:
    session = JudgeSession()
    yield lambda jobs: [session.judge(job) for job in jobs]
    session.close()


RULES = PairSpec(origins=("rules",), per_example=2)


def said(*answers: str) -> pairs.Proposer:
    return lambda examples: [[Candidate(text, "policy") for text in answers] for _ in examples]


def test_every_rejected_answer_fails_by_execution(judge: Judge, tmp_path: Path) -> None:
    examples = rows(12)
    found = build_pairs(examples, RULES, {"rules": propose_edits(RULES, 1)}, judge, tmp_path)
    by_id = {example.id: example for example in examples}
    assert len(found.pairs) >= 18
    assert max(sum(pair.id == id for pair in found.pairs) for id in by_id) == 2
    with JudgeSessionOf() as again:
        assert [again(job_of(by_id[p.id], p.rejected)).execution_match for p in found.pairs] == [False] * len(
            found.pairs
        )
        assert all(again(job_of(by_id[p.id], p.chosen)).execution_match for p in found.pairs)
    assert {pair.maker.partition(":")[0] for pair in found.pairs} == {"rules"}
    assert found.summary()["pairs"] == found.summary()["kept"] == len(found.pairs)


class JudgeSessionOf:
    """A fresh session, so that nothing the first one kept can agree with itself."""

    def __enter__(self) -> JudgeSessionOf:
        self._session = JudgeSession()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def __call__(self, job: Job) -> Judgement:
        return self._session.judge(job)


def test_what_became_of_every_candidate_is_told(judge: Judge, tmp_path: Path) -> None:
    example = rows(4)[3]  # price > 30
    answers = (
        "SELECT name FROM cars WHERE price > 30",  # gold
        "select NAME from cars where price > 30;",  # gold in other letters
        "SELECT name FROM cars WHERE price >= 31",  # right, though written otherwise
        "SELECT name FROM cars WHERE 30 < price ORDER BY name",  # right
        "",
        "SELECT name FROM cars WHERE price > 40 AND price > 50",  # wrong: kept
        "SELECT name FROM cars  WHERE price > 40 AND price > 50",  # the same again
        "SELECT nothing FROM cars",  # wrong, and one too many
    )
    spec = PairSpec(origins=("policy",), per_example=1)
    found = build_pairs([example], spec, {"policy": said(*answers)}, judge, tmp_path)
    assert [pair.rejected for pair in found.pairs] == [answers[5]]
    fates = {"kept": 1, "matches": 2, "same_text": 2, "duplicate": 1, "empty": 1, "unused": 1, "gold_failed": 0}
    assert found.summary() == {"pairs": 1, "without": 0, "tried": len(answers)} | fates


def test_origins_are_asked_in_turn_until_an_example_has_its_pairs(judge: Judge, tmp_path: Path) -> None:
    examples = rows(6)
    asked: list[list[str]] = []

    def policy(some: Sequence[Example]) -> list[list[Candidate]]:
        return [[Candidate("SELECT id FROM cars", "policy")] if e.id in ("r0", "r1") else [] for e in some]

    def rules(some: Sequence[Example]) -> list[list[Candidate]]:
        asked.append([e.id for e in some])
        return [[Candidate("SELECT price FROM cars", "rules:wrong_column")] for _ in some]

    found = build_pairs(examples, PairSpec(), {"policy": policy, "rules": rules}, judge, tmp_path)
    assert asked == [["r2", "r3", "r4", "r5"]]
    assert [pair.maker.partition(":")[0] for pair in found.pairs] == ["policy"] * 2 + ["rules"] * 4


def test_examples_whose_gold_does_not_run_give_no_pair(judge: Judge, tmp_path: Path) -> None:
    broken = replace(rows(1)[0], id="broken", sql="SELECT nothing FROM cars")
    found = build_pairs([broken, *rows(2)], RULES, {"rules": propose_edits(RULES, 1)}, judge, tmp_path / "a")
    assert "broken" not in {pair.id for pair in found.pairs}
    assert found.without == 1
    assert found.summary()["gold_failed"] > 0


def test_a_broken_off_run_goes_on_behind_its_finished_lots(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "LOT", 4)
    examples = rows(10)
    whole = build_pairs(examples, RULES, {"rules": propose_edits(RULES, 1)}, judge, tmp_path / "whole")
    lots: list[str] = []

    def dies_at_the_third(some: Sequence[Example]) -> Sequence[Sequence[Candidate]]:
        lots.append(some[0].id)
        if len(lots) == 3:
            raise KeyboardInterrupt
        return propose_edits(RULES, 1)(some)

    with pytest.raises(KeyboardInterrupt):
        build_pairs(examples, RULES, {"rules": dies_at_the_third}, judge, tmp_path / "broken")
    again = build_pairs(examples, RULES, {"rules": dies_at_the_third}, judge, tmp_path / "broken")
    assert lots == ["r0", "r4", "r8", "r8"]  # the first two lots were not made again
    assert again.pairs == whole.pairs
    assert again.counts == whole.counts
    assert json.loads(next((tmp_path / "broken").glob("00002-*")).read_text())["pairs"]


def test_another_seed_gives_other_pairs(judge: Judge, tmp_path: Path) -> None:
    one, same, other = (
        build_pairs(rows(8), RULES, {"rules": propose_edits(RULES, seed)}, judge, tmp_path / name)
        for seed, name in ((1, "one"), (1, "same"), (2, "other"))
    )
    assert one.pairs == same.pairs
    assert one.pairs != other.pairs


def test_an_endpoint_is_given_with_its_origin_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="the origin endpoint needs"):
        PairSpec(origins=("endpoint",))
    with pytest.raises(ValueError, match="each may stand there once"):
        PairSpec(origins=("rules", "rules"))
