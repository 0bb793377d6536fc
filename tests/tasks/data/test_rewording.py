"""Other words for a question: the same things are asked, or nothing is changed."""

from __future__ import annotations

import pytest

from tasks.data.likeness import content_words
from tasks.data.rewording import reworded


@pytest.mark.parametrize(
    ("question", "others"),
    [
        (
            "What are the names of singers from {Paris}?",
            ["Show me the names of singers from {Paris}.", "Give me the names of singers from {Paris}."],
        ),
        ("Show me the towns.", ["Give me the towns.", "Find the towns."]),
        ("How many pets are there?", ["Count the pets.", "Tell me how many pets there are.", "Count the pets."]),
        ("count the pets", ["How many pets are there?", "Tell me how many pets there are."]),
        ("How many singers do we have?", ["How many singers do we have?"]),
        ("What is the capital? And what is the river?", ["What is the capital? And what is the river?"]),
        ("Which towns?", ["Which towns?"]),
    ],
)
def test_openings_change_and_nothing_else(question: str, others: list[str]) -> None:
    assert [reworded(question, number) for number in range(1, len(others) + 1)] == others


def test_no_wording_asks_for_other_things() -> None:
    for question in ("What is the largest age of each kind?", "How many old dogs are there?", "List the 5 best songs"):
        for number in range(1, 9):
            other = reworded(question, number)
            assert other != question
            assert content_words(other) == content_words(question)
