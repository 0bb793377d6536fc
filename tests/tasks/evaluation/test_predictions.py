"""The predictions file: what is written is read, and every fault names its file and row."""

from __future__ import annotations

import pytest

from infra.errors import UserError
from tasks.evaluation.predictions import Prediction, match_predictions, read_predictions, write_predictions


def test_what_is_written_is_read_in_the_order_of_the_examples(tmp_path):
    path = tmp_path / "deep" / "predictions.jsonl"
    made = [Prediction("a", "SELECT 'ö\n\ud800'", 12, 0.5), Prediction("b", "", gave_up=True)]
    write_predictions(path, made)
    assert read_predictions(path) == made
    assert read_predictions(path, ["b", "a"]) == made[::-1]
    assert [p.name for p in path.parent.iterdir()] == ["predictions.jsonl"]


def test_parquet_holds_the_same_and_is_judged_as_strictly(tmp_path):
    path = tmp_path / "predictions.parquet"
    made = [Prediction("a", "SELECT 'ö'", 12, 0.5, ("x", "y")), Prediction("b", "", gave_up=True)]
    write_predictions(path, made)
    assert read_predictions(path, ["b", "a"]) == made[::-1]
    write_predictions(path, [Prediction("a", "half a pair: \ud800")])
    assert read_predictions(path)[0].prediction == "half a pair: ?"
    write_predictions(path, [made[0], made[0]])
    with pytest.raises(UserError, match="row 2: id 'a' is already in row 1"):
        read_predictions(path)
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_predictions(path)


def test_costs_may_be_missing_and_other_keys_are_passed_over(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "prediction": "SELECT 1", "model": "x"}\n\n')
    assert read_predictions(path, ["a"]) == [Prediction("a", "SELECT 1", None, None)]


GOOD = '{"id": "a", "prediction": "SELECT 1"}'


@pytest.mark.parametrize(
    ("lines", "row", "says"),
    [
        (GOOD + "\n{broken", 2, "not a line of JSON"),
        (GOOD + "\n[1, 2]", 2, "not a JSON object"),
        ('{"id": "a"}', 1, "'prediction' is missing"),
        ('{"prediction": "x"}', 1, "'id' is missing"),
        ('{"id": 7, "prediction": "x"}', 1, "'id' must be text"),
        ('{"id": "a", "prediction": null}', 1, "'prediction' must be text"),
        ('{"id": "a", "prediction": "x", "tokens": -1}', 1, "'tokens' must be a count"),
        ('{"id": "a", "prediction": "x", "tokens": true}', 1, "'tokens' must be a count"),
        ('{"id": "a", "prediction": "x", "gave_up": "no"}', 1, "'gave_up' must be true or false"),
        ('{"id": "a", "prediction": "x", "seconds": NaN}', 1, "'seconds' must be a number"),
        ('{"id": "a", "prediction": "x", "seconds": "1"}', 1, "'seconds' must be a number"),
        (GOOD + "\n" + GOOD, 2, "already in row 1"),
        (GOOD + '\n{"id": "zz", "prediction": ""}', 2, "'zz' is in no example"),
    ],
)
def test_faults_name_file_and_row(tmp_path, lines, row, says):
    path = tmp_path / "p.jsonl"
    path.write_text(lines)
    with pytest.raises(UserError, match=says) as error:
        read_predictions(path, ["a"])
    assert str(error.value).startswith(f"{path}, row {row}: ")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_utf8_are_a_fault(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"id": "a", "prediction": "\xff"}')
    with pytest.raises(UserError, match="row 1"):
        read_predictions(path)


def test_missing_ids_and_missing_files_are_faults(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(GOOD)
    with pytest.raises(UserError, match=r"no prediction for 'b', 'c', 'd' and 1 more"):
        read_predictions(path, ["a", "b", "c", "d", "e"])
    with pytest.raises(UserError, match="no predictions file"):
        read_predictions(tmp_path / "none.jsonl")


def test_matching_refuses_missing_extra_and_duplicate_ids():
    a, b = Prediction("a", ""), Prediction("b", "")
    assert match_predictions(["b", "a"], [a, b]) == [b, a]
    for ids, predictions, says in (
        (["a", "b"], [a], "no prediction for 'b'"),
        (["a"], [a, b], "for no example: 'b'"),
        (["a"], [a, a], "prediction ids must be unique"),
        (["a", "a"], [a], "example ids must be unique"),
    ):
        with pytest.raises(UserError, match=says):
            match_predictions(ids, predictions)
