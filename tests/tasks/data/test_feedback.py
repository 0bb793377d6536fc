"""Feedback records: what is trusted, what is not, and that one judgement is one object."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from infra.errors import UserError
from infra.store import LocalStore
from tasks.data.feedback import (
    Feedback,
    now,
    read_feedback,
    reviewers_from_environment,
    sign,
    trusted,
    write_feedback,
)

TEAM = {"ada": "ada-token-123456", "bob": "bob-token-123456"}


def record(**changes):
    fields = {
        "question": "How many cars?",
        "db_id": "cars",
        "ddl": "CREATE TABLE cars (id INTEGER)",
        "sql": "SELECT count(*) FROM cars",
        "verdict": "right",
        "release": "r",
        "version": "1",
        "time": now(),
    }
    return Feedback(**(fields | changes))


def test_a_signed_record_survives_its_json_and_is_trusted():
    signed = sign(record(), "ada", TEAM["ada"])
    again = Feedback.model_validate_json(signed.model_dump_json())
    assert again == signed
    assert "schema" in signed.model_dump()
    assert trusted(again, TEAM)
    assert again.right_sql == "SELECT count(*) FROM cars"


@pytest.mark.parametrize(
    "change",
    [
        {"sql": "SELECT 1"},
        {"question": "How many?"},
        {"verdict": "wrong"},
        {"ddl": "CREATE TABLE x (a)"},
        {"reviewer": "bob"},
        {"time": "2020-01-01T00:00:00.000+00:00"},
        {"signature": "0" * 64},
    ],
)
def test_whatever_is_altered_is_no_longer_trusted(change):
    signed = sign(record(), "ada", TEAM["ada"])
    assert not trusted(signed.model_copy(update=change), TEAM)


def test_no_name_another_token_or_a_removed_reviewer_is_not_trusted():
    assert not trusted(record(), TEAM)
    assert not trusted(sign(record(), "ada", "guessed-token-1"), TEAM)
    assert not trusted(sign(record(), "ada", TEAM["ada"]), {"bob": TEAM["bob"]})


def test_a_wrong_answer_teaches_only_its_correction():
    assert record(verdict="wrong").right_sql == ""
    assert record(verdict="wrong", corrected_sql="SELECT 2").right_sql == "SELECT 2"
    with pytest.raises(ValidationError, match="verdict 'wrong'"):
        record(corrected_sql="SELECT 2")


def test_the_same_judgement_is_one_object_and_another_persons_is_another(tmp_path):
    store = LocalStore(tmp_path)
    assert write_feedback(store, sign(record(), "ada", TEAM["ada"]))
    assert not write_feedback(store, sign(record(time="2020-01-01T00:00:00.000+00:00"), "ada", TEAM["ada"]))
    assert write_feedback(store, sign(record(), "bob", TEAM["bob"]))
    assert write_feedback(store, record())  # nobody in particular cannot take a reviewer's place
    found = dict(read_feedback(store))
    assert sorted(r.reviewer for r in found.values()) == ["", "ada", "bob"]


def test_an_unreadable_object_is_named_and_stops_nothing(tmp_path):
    store = LocalStore(tmp_path)
    write_feedback(store, record())
    store.write("answers/bad.json", b'{"question": 1}')
    store.write("answers/worse.json", b"\xff")
    found = dict(read_feedback(store))
    assert len(found) == 3
    assert isinstance(found["answers/bad.json"], str)
    assert isinstance(found["answers/worse.json"], str)


@pytest.mark.parametrize("text", ["ada", "ada:short", "a:123456789012,a:123456789013", "a:123456789012,b:123456789012"])
def test_malformed_reviewers_are_an_error_that_shows_no_token(monkeypatch, text):
    monkeypatch.setenv("NIGHTSHIFT_REVIEWERS", text)
    with pytest.raises(UserError, match="entry") as caught:
        reviewers_from_environment()
    assert "12345" not in str(caught.value)


def test_reviewers_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("NIGHTSHIFT_REVIEWERS", "ada:ada-token-123456, bob:bob-token-123456")
    assert reviewers_from_environment() == TEAM
    monkeypatch.delenv("NIGHTSHIFT_REVIEWERS")
    assert reviewers_from_environment() == {}
