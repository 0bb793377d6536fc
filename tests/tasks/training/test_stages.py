"""The curriculum: rows of a stage, stages that start from the one before, resume that equals an undisturbed run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import NightshiftError, UserError
from infra.store import LocalStore
from tasks.data.dataset import write_examples
from tasks.data.example import Example
from tasks.data.prompts import Prompter, PromptSpec
from tasks.models.loading import load_tokenizer
from tasks.training.batches import group_rows
from tasks.training.checkpoints import last_checkpoint, mark_complete
from tasks.training.curriculum import keep_stage, plan_curriculum, restore_stages
from tasks.training.engine import Trained
from tasks.training.job import ADAPTER, TrainingJob, read_result
from tasks.training.preflight import Tokenised, check_rows, tokenise
from tasks.training.sampling import stage_rows
from tasks.training.session import run_session
from tasks.training.spec import TrainingSpec
from tasks.training.specs.stage import StageData

DDL = "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT, price REAL)"


def rows(count: int) -> list[Example]:
    levels = ("easy", "medium", "hard")
    return [
        Example(
            f"r{i}",
            "cars",
            f"Cars above {i}?",
            DDL,
            f"SELECT name FROM cars WHERE price > {i}",
            difficulty=levels[i % 3],
        )
        for i in range(count)
    ]


def spec(**changes: object) -> TrainingSpec:
    stages = [
        {"name": "easy", "data": {"difficulty": ["easy"], "max_samples": 8}, "global_batch": 4},
        {
            "name": "hard",
            "data": {"difficulty": ["hard"], "max_samples": 8, "replay": 0.25},
            "global_batch": 4,
            "epochs": 2,
        },
    ]
    return TrainingSpec.model_validate(
        {"lora": {"r": 2, "alpha": 4}, "per_device_batch": 2, "save_steps": 1, "stages": stages} | changes
    )


def plan(tiny_model: Path, work: Path, training: TrainingSpec | None = None) -> TrainingJob:
    return plan_curriculum(training or spec(), PromptSpec(), tiny_model, "base", "code", rows(60), rows(3), work)


def weights(folder: Path) -> dict[str, object]:
    from safetensors.torch import load_file

    return load_file(folder / ADAPTER / "adapter_model.safetensors")


def difference(one: Path, two: Path) -> float:
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_a_stage_takes_its_difficulties_and_replays_earlier_ones() -> None:
    first = stage_rows(spec(), 0, rows(60))
    assert {e.difficulty for e in first} == {"easy"}
    assert len(first) == 8
    second = stage_rows(spec(), 1, rows(60))
    assert sorted(e.difficulty for e in second) == ["easy"] * 2 + ["hard"] * 6
    assert stage_rows(spec(), 1, list(reversed(rows(60)))) == second  # the order of the source does not matter


def test_rows_are_counted_where_sequences_of_few_rows_make_more_steps(tiny_model: Path, tmp_path: Path) -> None:
    stage = {"name": "all", "global_batch": 4, "epochs": 2}
    job = plan(tiny_model, tmp_path, spec(per_device_batch=4, share_prefix=4, stages=[stage]))
    lone = [replace(e, schema=e.schema.replace("cars", f"cars{number}")) for number, e in enumerate(rows(6))]
    write_examples(tmp_path / job.stages[0].rows, [*rows(8), *lone])
    run_session(job, tmp_path)
    result = read_result(tmp_path / job.stages[0].folder)
    assert result is not None
    assert result.steps == 2 * (2 + 6)  # an epoch has two sequences of four rows and six of one
    assert result.steps * result.metrics["rows_per_step"] == pytest.approx(2 * 14)


def test_a_stage_without_rows_is_an_error() -> None:
    with pytest.raises(UserError, match="stage easy: no training row"):
        stage_rows(spec(), 0, [e for e in rows(9) if e.difficulty == "hard"])


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="stage easy: global_batch 4 is no multiple of per_device_batch 3"):
        spec(share_prefix=3)


def test_checkpoints_are_found_by_number_and_only_when_whole(tmp_path: Path) -> None:
    for step in (900, 1000, 10800):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    for step in (900, 1000):
        mark_complete(tmp_path, step)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-1000"
    mark_complete(tmp_path, 10800)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10800"
    assert last_checkpoint(tmp_path / "none") is None


def test_rows_teach_the_sql_and_the_end_token_alone(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    tokenised = tokenise(rows(3), Prompter(PromptSpec(), tokenizer), 600, 0.0)
    check_rows(tokenised, tokenizer)
    row = tokenised.rows[1]
    taught = [token for token, mask in zip(row["input_ids"], row["completion_mask"], strict=True) if mask]
    assert tokenizer.decode(taught) == "SELECT name FROM cars WHERE price > 1<|im_end|>"


def test_rows_that_are_too_long_are_dropped_and_counted(tiny_model: Path) -> None:
    prompter = Prompter(PromptSpec(), load_tokenizer(tiny_model))
    longer = Example("long", "cars", "Which? " * 60, DDL, "SELECT name FROM cars")
    assert tokenise([*rows(3), longer], prompter, 350, 0.5).dropped == 1
    with pytest.raises(UserError, match="1 of 4 rows are longer"):
        tokenise([*rows(3), longer], prompter, 350, 0.1)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([5, 6, 2], [0, 0, 0], "no prompt or no answer"),
        ([5, 6, 2], [1, 1, 1], "no prompt or no answer"),
        ([5, 6, 7], [0, 1, 1], "end token"),
        ([1, 1, 6, 2], [0, 0, 1, 1], "two BOS"),
    ],
)
def test_preflight_refuses_wrong_rows(tiny_model: Path, ids: list[int], mask: list[int], message: str) -> None:
    with pytest.raises(NightshiftError, match=message):
        check_rows(Tokenised([{"input_ids": ids, "completion_mask": mask}], 0, 3, 0, 2), load_tokenizer(tiny_model))


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingJob]:
    work = tmp_path_factory.mktemp("trained")
    job = plan(tiny_model, work)
    run_session(job, work)
    return work, job


def test_every_stage_reports_what_it_did(trained: tuple[Path, TrainingJob]) -> None:
    work, job = trained
    first, second = (read_result(work / stage.folder) for stage in job.stages)
    assert first is not None
    assert second is not None
    assert (first.rows, first.steps, second.steps) == (8, 2, 4)
    assert len(second.curve) == 4
    assert second.eval_loss is not None
    assert second.trainable == first.trainable > 0
    assert first.metrics["tokens_per_second"] > 0
    assert 0 <= first.metrics["padding_share"] < 0.5
    assert 0 < first.memory_estimate_mb < first.peak_memory_mb  # the process holds its libraries besides
    assert first.lengths["min"] <= first.lengths["median"] <= first.lengths["max"]
    assert first.example["taught"].startswith("SELECT name FROM cars WHERE price > ")
    assert first.example["taught"].endswith("<|im_end|>")
    assert DDL.partition("(")[0].split()[-1] in first.example["read"]
    assert difference(*(work / stage.folder for stage in job.stages)) > 0


def test_adapters_name_no_folder_of_this_machine(trained: tuple[Path, TrainingJob]) -> None:
    work, job = trained
    for stage in job.stages:
        config = json.loads((work / stage.folder / ADAPTER / "adapter_config.json").read_text())
        assert "/" not in config["base_model_name_or_path"]
        assert (work / stage.folder / ADAPTER / "prompt.json").is_file()


def test_a_broken_second_stage_resumes_to_the_same_adapter(
    trained: tuple[Path, TrainingJob], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, job = trained
    plan(tiny_model, tmp_path)
    from tasks.training import trainer

    def die(folder: Path, step: int) -> None:
        mark_complete(folder, step)
        if folder.name.startswith("2-") and step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "mark_complete", die)
    with pytest.raises(KeyboardInterrupt):
        run_session(job, tmp_path)
    first, second = (tmp_path / stage.folder for stage in job.stages)
    made = (first / "stage.json").stat().st_mtime_ns
    assert read_result(second) is None
    monkeypatch.undo()
    run_session(job, tmp_path)
    result = read_result(second)
    assert result is not None
    assert result.resumed_from == 2
    assert (first / "stage.json").stat().st_mtime_ns == made  # stage 1 was not trained again
    assert difference(second, undisturbed / job.stages[1].folder) == 0.0


def test_finished_stages_come_back_from_the_store(
    trained: tuple[Path, TrainingJob], tiny_model: Path, tmp_path: Path
) -> None:
    work, job = trained
    store = LocalStore(tmp_path / "store")
    keep_stage(job.stages[0], store, work)
    again = plan(tiny_model, tmp_path / "work")
    assert again.stages == job.stages  # same inputs, same fingerprints
    assert restore_stages(again, store, tmp_path / "work") == {"easy"}
    assert difference(work / job.stages[0].folder, tmp_path / "work" / again.stages[0].folder) == 0.0


def test_a_changed_stage_is_another_stage(trained: tuple[Path, TrainingJob], tiny_model: Path, tmp_path: Path) -> None:
    _, job = trained
    stages = [stage.model_dump() for stage in spec().stages]
    stages[1]["learning_rate"] = 5e-4
    changed = plan(tiny_model, tmp_path, spec(stages=stages))
    assert changed.stages[0] == job.stages[0]
    assert changed.stages[1].fingerprint != job.stages[1].fingerprint


def test_a_stage_of_a_single_step_learns(tiny_model: Path, tmp_path: Path) -> None:
    stage = {"name": "only", "data": {"max_samples": 4}, "global_batch": 4, "max_steps": 1}
    job = plan(tiny_model, tmp_path, spec(stages=[stage]))
    run_session(job, tmp_path)
    (b,) = {name for name in weights(tmp_path / job.stages[0].folder) if "layers.0.self_attn.q_proj.lora_B" in name}
    assert float(weights(tmp_path / job.stages[0].folder)[b].abs().max()) > 0


def test_a_diverged_stage_is_a_failure(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.training.methods import sft

    job = plan(tiny_model, tmp_path)
    monkeypatch.setattr(sft, "train_sft", lambda _: Trained([(1, float("nan"))], None, 1, 0))
    with pytest.raises(NightshiftError, match="not a number"):
        run_session(job, tmp_path)
    assert not (tmp_path / job.stages[0].folder / ADAPTER).exists()
    shutil.rmtree(tmp_path)


def test_rows_of_one_schema_are_drawn_together_so_that_they_share_a_sequence() -> None:
    wide = [replace(e, schema=f"CREATE TABLE t{i % 20} (a INT)", difficulty="easy") for i, e in enumerate(rows(160))]
    training = spec(share_prefix=4)
    training = training.model_copy(
        update={"stages": (training.stages[0].model_copy(update={"data": StageData(max_samples=24)}),)}
    )
    drawn = stage_rows(training, 0, wide)
    assert len(drawn) == 24
    groups = group_rows([{"schema": e.schema} for e in drawn], 4)
    assert [len(group) for group in groups] == [4] * 6
    assert len({e.schema for e in drawn}) > 1


def test_schemas_with_few_rows_are_drawn_as_often_as_their_rows_count() -> None:
    small = [replace(e, schema=f"CREATE TABLE s{i // 2} (a INT)", difficulty="easy") for i, e in enumerate(rows(200))]
    large = [
        replace(e, id=f"l{e.id}", schema=f"CREATE TABLE l{i % 10} (a INT)", difficulty="easy")
        for i, e in enumerate(rows(200))
    ]
    drawn = stage_rows(spec(share_prefix=4, stages=[{"name": "only", "data": {"max_samples": 200}}]), 0, small + large)
    assert 70 <= sum(" s" in e.schema for e in drawn) <= 130
