"""The mixture: weights hold, repeats are capped, samples keep their strata, every row is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from pydantic import ValidationError

from infra.errors import UserError
from tasks.data.build import divide
from tasks.data.dataset import write_dataset
from tasks.data.example import Example
from tasks.data.mixture import MixtureSpec, SourceShare, mix, plan_draws
from tasks.data.spec import DataSpec
from tasks.data.strata import evidence_bucket, stratified_sample

SIZES = {"spider": 6_956, "sqale": 502_837, "context": 74_209, "gretel": 99_013}
WEIGHTS = {"spider": 0.4, "sqale": 0.3, "context": 0.15, "gretel": 0.1}


def rows(source: str, count: int, difficulty: str = "easy") -> list[Example]:
    return [
        Example(f"{source}{i}", f"{source}-db{i % 10}", f"{source} question {i}?", f"CREATE TABLE {source}{i % 10} (a)",
                f"SELECT {i} FROM {source}", source=source, difficulty=difficulty)
        for i in range(count)
    ]  # fmt: skip


def test_until_the_last_source_is_exhausted() -> None:
    plan = plan_draws(SIZES, WEIGHTS, max_repeat=100)
    assert sum(d.draws for d in plan.values()) == 1_592_317
    assert {name: round(d.epochs, 1) for name, d in plan.items()} == {
        "spider": 96.4, "sqale": 1.0, "context": 3.4, "gretel": 1.7,
    }  # fmt: skip


def test_the_cap_ends_the_mixture_and_leaves_the_weights_as_they_are() -> None:
    plan = plan_draws(SIZES, WEIGHTS, max_repeat=4)
    total = sum(d.draws for d in plan.values())
    assert max(d.epochs for d in plan.values()) == 4
    assert all(abs(d.draws / total - d.weight) < 1e-4 for d in plan.values())
    assert sum(d.draws for d in plan_draws(SIZES, WEIGHTS, 4, max_rows=1000).values()) == 1000


def test_weighted_rows_are_interleaved_and_repeats_have_names_of_their_own() -> None:
    train = rows("small", 10) + rows("large", 100)
    sources = {"small": SourceShare(weight=3), "large": SourceShare(weight=7)}
    mixed = mix(train, MixtureSpec(max_repeat=4), sources)
    assert mixed.draws["small"].epochs == 4
    assert Counter(row.source for row in mixed.rows) == {"small": 40, "large": 93}
    assert len({row.id for row in mixed.rows}) == 133
    assert Counter(mixed.origin(row.id) for row in mixed.rows if row.source == "small") == {
        f"small{i}": 4 for i in range(10)
    }
    for start in range(0, 130, 10):
        assert sum(row.source == "small" for row in mixed.rows[start : start + 10]) in (2, 3, 4)
    assert mixed.distinct + len(mixed.unused) == len(train)
    assert "small would be seen" not in mixed.warning(MixtureSpec(max_repeat=5))
    assert "source small would be seen 4.3 times" in mixed.warning(MixtureSpec(max_repeat=4))


def test_repeats_may_ask_in_other_words() -> None:
    small = [replace(row, question=f"What is the size of {row.id}?") for row in rows("small", 2)]
    sources = {"small": SourceShare(weight=1), "large": SourceShare(weight=1)}
    train = small + rows("large", 6)
    same, other = (mix(train, MixtureSpec(reword_repeats=reword), sources).rows for reword in (False, True))
    assert [(row.id, row.sql) for row in same] == [(row.id, row.sql) for row in other]
    assert {row.question for row in same if row.source == "small"} == {row.question for row in small}
    assert [row.question for row in sorted(other, key=lambda row: row.id) if row.id.startswith("small0")] == [
        "What is the size of small0?", "Show me the size of small0.", "Give me the size of small0.",
    ]  # fmt: skip


def test_without_weights_every_row_is_there_once_and_in_order() -> None:
    train = rows("a", 5) + rows("b", 3)
    mixed = mix(train, MixtureSpec(), {})
    assert mixed.rows == train
    assert (mixed.unused, mixed.warning(MixtureSpec())) == ([], "")
    assert {name: d.epochs for name, d in mixed.draws.items()} == {"a": 1, "b": 1}


def test_the_order_of_the_data_changes_no_sample() -> None:
    train = rows("a", 50)
    sources = {"a": SourceShare(max_samples=20)}
    one, other = mix(train, MixtureSpec(), sources), mix(train[::-1], MixtureSpec(), sources)
    assert {row.id for row in one.rows} == {row.id for row in other.rows}
    assert len(one.rows) == 20
    assert len(one.unused) == 30
    assert {row.id for row in mix(train, MixtureSpec(seed=1), sources).rows} != {row.id for row in one.rows}


def test_samples_keep_the_strata_and_contain_smaller_ones() -> None:
    train = rows("a", 300, "easy") + rows("b", 90, "medium") + rows("c", 10, "hard")
    before: set[str] = set()
    for count in (10, 40, 100, 200, 399):
        sample = stratified_sample(train, count, ("difficulty",), "seed")
        assert len(sample) == count
        found = Counter(row.difficulty for row in sample)
        assert abs(found["easy"] - count * 0.75) <= 2
        assert abs(found["medium"] - count * 0.225) <= 2
        ids = {row.id for row in sample}
        assert before <= ids
        before = ids


def test_shares_before_and_after_a_sample_are_told() -> None:
    train = rows("a", 300, "easy") + rows("b", 100, "hard")
    kept = mix(train, MixtureSpec(max_rows=40), {})
    assert kept.shares == {"difficulty": {"easy": (0.75, 0.75), "hard": (0.25, 0.25)}, "evidence": {"0-9": (1.0, 1.0)}}
    moved = mix(train, MixtureSpec(stratify=("difficulty",)), {"b": SourceShare(max_samples=20)})
    assert moved.shares == {"difficulty": {"easy": (0.75, 0.9375), "hard": (0.25, 0.0625)}}


@pytest.mark.parametrize(("words", "bucket"), [(0, "0-9"), (9, "0-9"), (10, "10-24"), (24, "10-24"), (25, "25+")])
def test_evidence_buckets(words: int, bucket: str) -> None:
    assert evidence_bucket("word " * words) == bucket


def test_a_source_without_rows_leaves_its_part_to_the_others_and_is_told() -> None:
    mixed = mix(rows("a", 3), MixtureSpec(), {"a": SourceShare(weight=1), "b": SourceShare(weight=1)})
    assert len(mixed.rows) == 3
    assert mixed.draws["b"].draws == 0
    assert "source b has a weight but no training row" in mixed.warning(MixtureSpec())


def test_weights_that_cannot_hold_are_errors() -> None:
    with pytest.raises(UserError, match="source b has no weight"):
        mix(rows("a", 3) + rows("b", 3), MixtureSpec(), {"a": SourceShare(weight=1)})
    file = {"kind": "file", "path": "a.jsonl"}
    with pytest.raises(ValidationError, match="needs a name"):
        DataSpec(sources=[file | {"weight": 1}])
    with pytest.raises(ValidationError, match="all that are trained on one, or none"):
        DataSpec(sources=[file | {"weight": 1, "name": "a"}, file])
    with pytest.raises(ValidationError, match="same name"):
        DataSpec(sources=[file | {"weight": 1, "name": "a"}, file | {"weight": 2, "name": "a"}])
    with pytest.raises(ValidationError, match="is not trained on"):
        DataSpec(sources=[file | {"weight": 1, "name": "a"}, file | {"weight": 1, "name": "b", "split": "test"}])
    assert DataSpec(sources=[file | {"weight": 1, "name": "a"}, file | {"split": "test"}])


def spec(**options) -> DataSpec:
    shares = (("a", 1), ("b", 3))
    sources = [{"kind": "file", "path": f"{name}.jsonl", "name": name, "weight": weight} for name, weight in shares]
    return DataSpec(sources=sources, **options)


def test_a_dataset_is_the_same_on_any_machine_and_tells_every_row(tmp_path) -> None:
    data = rows("a", 10) + rows("b", 160)
    data += [data[0]]
    one, other = divide(data, spec(), {}), divide(list(data), spec(), {})
    manifests = []
    for name, divided in (("one", one), ("other", other)):
        accounting = divided.accounting(len(data) + 2, 2, {})
        manifests.append(
            write_dataset(
                tmp_path / name, divided.splits, divided.assignment, accounting, divided.dropped, divided.mixed
            )
        )
    manifest = manifests[0]
    assert manifest == manifests[1]
    assert manifest.accounting.duplicate == 1
    assert manifest.accounting.unused == manifest.accounting.rows - 3 - manifest.accounting.kept > 0
    assert manifest.splits["train"] > len(manifest.ids["train"])  # the small source repeats
    told = [id for ids in manifest.ids.values() for id in ids]
    assert sorted(told) == sorted(row.id for row in data)
    assert manifest.mixture["b"].draws == pytest.approx(3 * manifest.mixture["a"].draws, abs=2)
    assert sum(manifest.evidence["train"].values()) == manifest.splits["train"]
    assert manifest.drawn_shares["difficulty"] == {"easy": (1.0, 1.0)}


def test_no_repeat_of_a_training_row_is_validated_or_tested_on() -> None:
    divided = divide(rows("a", 40) + rows("b", 60), spec(), {})
    train = {divided.mixed.origin(row.id) for row in divided.splits["train"]}
    assert not train & {row.id for split in ("validation", "test") for row in divided.splits[split]}


def test_a_new_database_in_a_source_moves_no_other() -> None:
    data = rows("a", 40) + rows("b", 60)
    before = divide(data, spec(), {}).assignment
    new = [
        Example(f"n{i}", "new", f"new {i}?", "CREATE TABLE new (a)", f"SELECT {i} FROM new", source="a")
        for i in range(5)
    ]
    after = divide([*new, *data], spec(), {}).assignment
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"new"}
