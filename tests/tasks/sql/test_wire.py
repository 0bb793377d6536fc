"""What the pool and its workers say to each other arrives as it was."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tasks.sql.judgement import Job, Judgement
from tasks.sql.wire import Beat, pack_answer, pack_jobs, unpack_answer, unpack_jobs

ANSWER = Judgement(
    "1", "SELECT 1", "SELECT 1", "ok", "ok", True, False, True, True, True, rows=[[1]], gold_rows=[[1.0]]
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)


@given(st.lists(st.builds(Job, TEXT, TEXT, TEXT, TEXT, TEXT, st.none() | TEXT), max_size=6))
def test_jobs_come_through_whatever_their_text(jobs: list[Job]) -> None:
    line = pack_jobs(jobs)
    assert line.count(b"\n") == 1
    assert list(unpack_jobs(line.decode("ascii"))) == jobs


def test_a_database_is_sent_once_a_chunk() -> None:
    jobs = [Job(str(i), "SELECT 1", "SELECT 1", "CREATE TABLE t (a)", "x" * 10_000) for i in range(50)]
    assert len(pack_jobs(jobs)) < 15_000


@given(TEXT, TEXT, st.booleans())
def test_answers_come_through(sql: str, gold: str, same: bool) -> None:
    job = Job("1", gold, sql)
    answer = replace(ANSWER, sql=sql if same else sql + "x", gold_sql=gold, columns=["a"], gold_columns=["a"])
    back = unpack_answer(json.loads(json.dumps(pack_answer(answer, job))), job)
    assert back == answer
    assert repr(back.gold_rows) == "[[1.0]]"  # and not the prediction's equal 1


def test_the_beat_is_seen_through_shared_memory() -> None:
    with tempfile.TemporaryFile() as shared:
        shared.truncate(Beat.SIZE)
        worker, pool = Beat(shared.fileno()), Beat(shared.fileno())
    assert pool.read() == (0, 0, "gold")
    worker.begin()
    worker.step("prediction")
    assert pool.read() == (2, 1, "prediction")
