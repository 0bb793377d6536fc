"""Which prompts share their first tokens, and that nothing of any prompt is lost by it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.models.batching import alike, plan_batches

SYSTEM, ONE, OTHER = [1] * 4, [2] * 20, [3] * 20
PROMPTS = [
    [*SYSTEM, *ONE, 5, 6],
    [*SYSTEM, *OTHER, 5, 7, 8],
    [*SYSTEM, *ONE, 5, 9, 9, 9],
    [*SYSTEM, *OTHER, 6],
    [*SYSTEM, 7, 7],
]


def test_prompts_over_one_schema_share_it() -> None:
    (batch,) = plan_batches(PROMPTS, 8)
    assert batch.prefixes == [[*SYSTEM, *ONE, 5], [*SYSTEM, *OTHER], [*SYSTEM, 7]]
    assert batch.rows == [2, 1, 0, 3, 4]
    assert batch.rests == [[9, 9, 9], [5, 7, 8], [6], [6], [7]]


def test_prompts_that_share_nothing_are_read_in_one_pass() -> None:
    (batch,) = plan_batches([PROMPTS[0], PROMPTS[1], PROMPTS[4]], 8)
    assert not any(batch.prefixes)
    assert batch.rests == [PROMPTS[1], PROMPTS[0], PROMPTS[4]]


def test_a_batch_that_ends_within_a_group_repeats_its_prefix() -> None:
    first, second = plan_batches(PROMPTS[:4], 3)
    assert first.rows == [2, 0, 1]
    assert second.rows == [3]
    assert second.rests == [PROMPTS[3]]


def test_rests_are_cut_where_they_become_much_shorter() -> None:
    rests = [[0] * length for length in [90] * 20 + [75] * 5 + [60] * 3 + [50] * 30]
    assert alike(rests) == [slice(0, 25), slice(25, 58)]
    assert alike(rests[:17]) == [slice(0, 17)]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), max_size=12), st.integers(1, 5))
def test_every_prompt_is_in_one_batch_whole(prompts: list[list[int]], size: int) -> None:
    batches = plan_batches(prompts, size)
    whole = {
        row: batch.prefixes[group] + rest
        for batch in batches
        for row, group, rest in zip(batch.rows, batch.group, batch.rests, strict=True)
    }
    assert whole == dict(enumerate(prompts))
    assert sum(len(batch.rows) for batch in batches) == len(prompts)
    assert all(rest for batch in batches for rest in batch.rests)
    assert all(len(batch.rows) <= size for batch in batches)
