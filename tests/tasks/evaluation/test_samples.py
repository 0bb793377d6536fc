"""pass@k and the execution vote, by themselves and in a scorecard."""

from __future__ import annotations

from itertools import combinations

import pytest

from infra.errors import UserError
from tasks.data.example import Example
from tasks.evaluation.predictions import Prediction, read_predictions, write_predictions
from tasks.evaluation.samples import execution_vote, pass_at_k
from tasks.evaluation.scorecard import Subject
from tasks.evaluation.scorecard_build import build_scorecard
from tasks.sql.judge import JudgePool
from tasks.sql.measuring import LOST, measure


@pytest.mark.parametrize(("n", "right", "k"), [(5, 2, 1), (5, 2, 2), (6, 1, 4), (4, 0, 2), (4, 4, 3), (5, 3, 5)])
def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_right_one(n, right, k):
    draws = list(combinations([True] * right + [False] * (n - right), k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "right", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_of_what_cannot_be_is_an_error(n, right, k):
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, right, k)


def test_the_vote():
    assert execution_vote(["x", "y", "y"]) == 1
    assert execution_vote(["x", "y"]) == 0  # a draw goes to who came first
    assert execution_vote([None, "y", None]) == 1
    assert execution_vote([None, None]) is None
    assert execution_vote([]) is None


SUBJECT = Subject(role="predictions", name="n", fingerprint="")
SCHEMA, SETUP = "CREATE TABLE t (a INTEGER);", "INSERT INTO t VALUES (1), (2), (3);"


def test_samples_in_a_scorecard(tmp_path):
    example = Example("q", "d", "?", SCHEMA, "SELECT a FROM t", setup=SETUP)
    samples = (
        "SELECT a FROM t WHERE a > 1",
        "SELECT a FROM t ORDER BY a DESC",
        "nonsense",
        "```\nSELECT a FROM t;\n```",
    )
    write_predictions(tmp_path / "p.jsonl", [Prediction("q", "SELECT 1", samples=samples)])
    read = read_predictions(tmp_path / "p.jsonl", ["q"])
    assert read[0].samples == samples
    card = build_scorecard([example], read, SUBJECT, "t")
    values = card.examples[0].values
    assert values["pass_at_1"] == 0.5
    assert values["pass_at_4"] == 1.0
    assert "pass_at_5" not in values
    assert values["execution_vote"] == 1.0
    assert values["execution_accuracy"] == 0.0


def test_a_vote_that_cannot_be_taken_is_missing_and_one_without_a_winner_is_lost(monkeypatch):
    example = Example("q", "d", "?", SCHEMA, "SELECT a FROM t", setup=SETUP)
    broken = Prediction("q", "SELECT a FROM t", samples=("nonsense", "SELECT b FROM t"))
    assert build_scorecard([example], [broken], SUBJECT, "t").examples[0].values["execution_vote"] == 0.0

    monkeypatch.setattr("tasks.evaluation.scorecard_build.measure", lambda tasks, *_: [LOST for _ in tasks])
    lost = Prediction("q", "SELECT 1", samples=("SELECT a FROM t", "SELECT 1", "nonsense"))
    card = build_scorecard([example], [lost], SUBJECT, "t")
    assert "execution_vote" not in card.examples[0].values
    assert card.examples[0].values["pass_at_1"] == pytest.approx(1 / 3)


def test_the_same_text_is_judged_and_measured_once(monkeypatch):
    example = Example("q", "d", "?", SCHEMA, "SELECT a FROM t", setup=SETUP)
    right, wrong = "SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t WHERE a > 1"
    prediction = Prediction("q", f"```sql\n{right}\n```", samples=(right, wrong, f"{wrong};", right, wrong))
    pools, measured = [], []

    class Watched(JudgePool):
        def judge(self, jobs, progress=None):
            pools.append((self._settings.compatibility, [job.prediction for job in jobs]))
            return super().judge(jobs, progress)

    def watched(tasks, *more):
        measured.append([task.sql for task in tasks])
        return measure(tasks, *more)

    monkeypatch.setattr("tasks.evaluation.scorecard_build.JudgePool", Watched)
    monkeypatch.setattr("tasks.evaluation.scorecard_build.measure", watched)
    told = []
    card = build_scorecard(
        [example], [prediction], SUBJECT, "t", progress=lambda done, total: told.append((done, total))
    )
    # What other evaluators would say of raw texts and samples is read by nobody, and so not asked.
    assert pools == [(True, [right]), (False, [prediction.prediction, wrong])]
    assert measured == [[right, wrong], [right]]
    assert told[-1] == (3, 3)
    values = card.examples[0].values
    assert (values["pass_at_1"], values["execution_vote"], values["execution_accuracy_raw"]) == (0.4, 0.0, 0.0)


def test_samples_must_be_texts(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "q", "prediction": "x", "samples": "y"}\n')
    with pytest.raises(UserError, match=r"p.jsonl, row 1: 'samples' must be a list"):
        read_predictions(path)
