"""Methods: what each trains, that a stage starts from the stage before, and that what it leaves can be loaded."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from infra.errors import NightshiftError, UserError
from tasks.data.example import Example
from tasks.data.prompts import PromptSpec
from tasks.models import loading
from tasks.models.export import export_merged
from tasks.models.generation import generate
from tasks.models.loading import is_whole_model, load_adapter, load_base, load_tokenizer, without_adapter
from tasks.models.precision import Device, Precision, probe_device
from tasks.models.resolve import resolve_model
from tasks.training import needs
from tasks.training.curriculum import plan_curriculum, start_folder
from tasks.training.job import ADAPTER, StageResult, TrainingJob, read_result
from tasks.training.needs import unmet_needs
from tasks.training.parts import add_adapter, check_start
from tasks.training.session import run_session
from tasks.training.spec import TrainingSpec
from tasks.training.specs.lora import LoraSpec

DDL = "CREATE TABLE cars (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
ROWS = [
    Example(f"r{i}", "cars", f"Above {i}?", DDL, f"SELECT name FROM cars WHERE price > {i}", difficulty="easy")
    for i in range(16)
]
FLOAT = Precision("float32", None)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    cache = tmp_path_factory.mktemp("families")
    return lambda family: resolve_model(f"random:{family}-tiny", cache).path


def train(
    model: Path,
    work: Path,
    stages: list[dict],
    prompt: str = "plain",
    validation: list[Example] = ROWS[:2],
    **training: Any,
) -> TrainingJob:
    shared = {"lora": {"r": 2, "alpha": 4}, "per_device_batch": 4, "max_length": 1000} | training
    named = [{"name": f"s{i}", "global_batch": 4, "max_steps": 2} | stage for i, stage in enumerate(stages)]
    spec = TrainingSpec.model_validate(shared | {"stages": named})
    asked = PromptSpec(format=prompt, max_tokens=900)
    job = plan_curriculum(spec, asked, model, "base", "code", ROWS, validation, work, start_folder(spec))
    run_session(job, work)
    return job


def result(job: TrainingJob, work: Path, stage: int = -1) -> StageResult:
    found = read_result(work / job.stages[stage].folder)
    assert found is not None
    return found


def adapter(job: TrainingJob, work: Path, stage: int = -1) -> Path:
    return work / job.stages[stage].folder / ADAPTER


def answers(model: Any, folder: Path) -> list[str]:
    tokenizer = load_tokenizer(folder)
    return [a.text for a in generate(model, tokenizer, ["Which?\nSQL:\n", "Cars?\nSQL:\n"], max_new_tokens=4)]


def test_full_fine_tuning_leaves_a_model_that_replaces_its_base(models: Any, tmp_path: Path) -> None:
    job = train(models("llama"), tmp_path, [{}, {}], tune="full")
    first, last = adapter(job, tmp_path, 0), adapter(job, tmp_path)
    assert is_whole_model(last)
    base = load_base(models("llama"), FLOAT)
    assert result(job, tmp_path).trainable == sum(p.numel() for p in base.parameters())
    tuned = load_adapter(base, last, precision=FLOAT)
    check_start(tuned, last, "what was loaded")
    with pytest.raises(NightshiftError, match="does not start from the weights"):
        check_start(tuned, first, "the second stage")
    assert answers(tuned, last) == answers(load_base(last, FLOAT), last)


def test_a_curriculum_starts_from_the_adapter_it_names(models: Any, tmp_path: Path) -> None:
    before = train(models("llama"), tmp_path / "before", [{"max_steps": 6, "learning_rate": 0.01}])
    folder = adapter(before, tmp_path / "before")
    job = train(models("llama"), tmp_path / "after", [{}], start_from=f"path:{folder}")
    fresh = train(models("llama"), tmp_path / "fresh", [{}])
    started, unstarted = result(job, tmp_path / "after").curve[0][1], result(fresh, tmp_path / "fresh").curve[0][1]
    assert started < unstarted - 0.1  # the first loss is that of the trained adapter
    assert job.stages[0].fingerprint != fresh.stages[0].fingerprint
    with pytest.raises(UserError, match="tune=full, but the folder it starts from holds an adapter"):
        train(models("llama"), tmp_path / "full", [{}], tune="full", start_from=f"path:{folder}")
    with pytest.raises(UserError, match="no folder of an adapter"):
        train(models("llama"), tmp_path / "none", [{}], start_from=f"path:{tmp_path}")


def test_an_adapter_put_in_anew_is_not_the_one_before(models: Any, tmp_path: Path) -> None:
    """A second get_peft_model zeroes lora_B and PEFT only warns; loading keeps it, trainable when asked."""
    from peft import LoraConfig, get_peft_model

    job = train(models("llama"), tmp_path, [{"learning_rate": 0.01}])
    folder = adapter(job, tmp_path)

    def learnt(model: Any) -> float:
        return sum(float(p.abs().sum()) for n, p in model.named_parameters() if "lora_B" in n)

    def trainable(model: Any) -> int:
        return sum(p.numel() for p in model.parameters() if p.requires_grad)

    kept = load_adapter(load_base(models("llama"), FLOAT), folder, trainable=True)
    assert learnt(kept) > 0
    assert trainable(kept) == result(job, tmp_path).trainable
    check_start(kept, folder, "stage two")
    again = get_peft_model(kept, LoraConfig(r=2, lora_alpha=4, target_modules=list(LoraSpec().targets)))
    assert learnt(again) == 0
    with pytest.raises(NightshiftError, match="stage two does not start from the weights"):
        check_start(again.base_model, folder, "stage two")
    assert trainable(load_adapter(load_base(models("llama"), FLOAT), folder)) == 0


def test_stages_of_rslora_and_dora_train_the_layers_they_name(models: Any, tmp_path: Path) -> None:
    lora = {"r": 2, "alpha": 4, "targets": ["q_proj", "v_proj"], "rslora": True, "dora": True}
    job = train(models("qwen2"), tmp_path, [{"optimizer": "nadam", "betas": [0.95, 0.999]}], lora=lora)
    config = json.loads((adapter(job, tmp_path) / "adapter_config.json").read_text())
    assert (sorted(config["target_modules"]), config["use_rslora"], config["use_dora"]) == (
        ["q_proj", "v_proj"],
        True,
        True,
    )
    with pytest.raises(UserError, match=r"training\.lora does not fit the model"):
        add_adapter(load_base(models("qwen2"), FLOAT), LoraSpec(targets=("nowhere",)))


def test_of_several_evaluations_the_best_is_kept_and_a_hopeless_stage_stops(models: Any, tmp_path: Path) -> None:
    stage = {"max_steps": 8, "learning_rate": 0.5, "scheduler": "constant_with_warmup", "epochs": 4}
    watched = train(models("llama"), tmp_path / "a", [stage | {"evaluations": 4, "patience": 1}])
    blind = train(models("llama"), tmp_path / "b", [stage | {"max_steps": 4}])
    found, last = result(watched, tmp_path / "a"), result(blind, tmp_path / "b")
    assert found.eval_loss is not None
    assert last.eval_loss is not None
    assert found.steps == last.steps == 4  # of eight
    assert found.eval_loss < last.eval_loss  # that of the first evaluation, which was better than the second
    with pytest.raises(UserError, match="evaluations=4 needs validation rows and there are none"):
        train(models("llama"), tmp_path / "c", [stage | {"evaluations": 4}], validation=[])
    with pytest.raises(ValueError, match="patience 3 needs more evaluations than 1"):
        TrainingSpec.model_validate({"stages": [{"name": "a", "patience": 3}]})


@pytest.mark.parametrize("init", [{"virtual_tokens": 8}, {"init_text": "SQL over the given tables: "}])
def test_prompt_tuning_lowers_its_loss(models: Any, tmp_path: Path, init: dict) -> None:
    stage = {"method": "prompt_tuning", "max_steps": 24, "learning_rate": 0.3, "epochs": 6} | init
    job = train(models("llama"), tmp_path, [stage])
    found, folder = result(job, tmp_path), adapter(job, tmp_path)
    tokens = init.get("virtual_tokens") or len(init["init_text"])  # a byte tokenizer: one token a character
    assert found.trainable == tokens * 64
    assert max(loss for _, loss in found.curve[-4:]) < min(loss for _, loss in found.curve[:2]) - 0.05
    base = load_base(models("llama"), FLOAT)
    plain = answers(base, folder)
    asked = load_adapter(base, folder)
    assert len(answers(asked, folder)) == 2
    assert answers(without_adapter(asked), folder) == plain


def test_a_soft_prompt_goes_on_where_it_stopped(models: Any, tmp_path: Path) -> None:
    stage = {"method": "prompt_tuning", "max_steps": 3, "learning_rate": 0.1, "virtual_tokens": 4}
    whole = train(models("llama"), tmp_path / "whole", [stage, stage])
    work = tmp_path / "parts"
    train(models("llama"), work, [stage, stage])
    second = work / whole.stages[1].folder
    for path in (second / "stage.json", second / ADAPTER / "adapter_model.safetensors"):
        path.unlink()
    run_session(whole, work)  # the second stage now starts from the folder, not from the live model
    check_start(load_adapter(load_base(models("llama"), FLOAT), adapter(whole, work)), second / ADAPTER, "it")
    assert result(whole, work).curve == result(whole, tmp_path / "whole").curve


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_an_encoder_decoder_trains_and_answers(models: Any, tmp_path: Path, tune: str) -> None:
    stage = {"method": "seq2seq", "max_steps": 8, "learning_rate": 0.01, "label_smoothing": 0.0}
    lora = {"r": 2, "alpha": 2, "targets": ["q", "v", "k", "o", "wi_0", "wi_1", "wo"]}
    job = train(models("t5"), tmp_path, [stage], "translate", tune=tune, lora=lora)
    found, folder = result(job, tmp_path), adapter(job, tmp_path)
    assert found.curve[-1][1] < found.curve[0][1]
    model = load_adapter(load_base(models("t5"), FLOAT), folder, precision=FLOAT)
    assert model.config.decoder_start_token_id == load_tokenizer(folder).pad_token_id
    assert len(answers(model, folder)) == 2


def test_methods_and_models_of_different_kinds_do_not_meet(models: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"method sft trains causal models, but this one \(t5\) is seq2seq"):
        train(models("t5"), tmp_path / "a", [{}])
    with pytest.raises(UserError, match="use method sft"):
        train(models("llama"), tmp_path / "b", [{"method": "seq2seq"}])
    with pytest.raises(ValueError, match="mix causal and encoder-decoder"):
        train(models("llama"), tmp_path / "c", [{}, {"method": "seq2seq"}])


def test_what_this_machine_lacks_is_refused_in_one_line(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmet(quantize: str | None, **stage: Any) -> str:
        stages = [{"name": "a"} | stage]
        return unmet_needs(TrainingSpec.model_validate({"quantize": quantize, "stages": stages}))

    monkeypatch.setattr(needs, "probe_device", lambda: Device("cpu"))
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"quantize=nf4 needs bitsandbytes \(pip install .*leave quantize out"):
        train(models("llama"), tmp_path, [{}], quantize="nf4")
    assert (
        unmet("nf4")
        == "weights in 4 bits need bitsandbytes (pip install nightshift-sql[gpu]), which this machine lacks"
    )
    monkeypatch.setattr(loading, "find_spec", lambda _: object())
    assert unmet("nf4") == unmet(None) == ""
    assert unmet(None, optimizer="adamw_8bit") == "optimisers in 8 bits need CUDA, which this machine lacks"
    monkeypatch.setattr(needs, "probe_device", lambda: Device("cuda"))
    assert unmet("nf4", optimizer="paged_adamw_8bit") == ""
    monkeypatch.setattr(needs, "probe_device", lambda: Device("mps"))
    assert unmet("nf4") == "weights in 4 bits need CUDA, which this machine lacks"
    with pytest.raises(ValueError, match="cannot be trained themselves"):
        TrainingSpec.model_validate({"quantize": "nf4", "tune": "full", "stages": [{"name": "a"}]})


@pytest.mark.skipif(probe_device().kind == "cuda", reason="this machine has what it needs")
def test_an_optimiser_in_eight_bits_is_refused_without_a_gpu(models: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="optimizer adamw_8bit of stage s0 needs CUDA, which this machine lacks; use"):
        train(models("llama"), tmp_path, [{"optimizer": "adamw_8bit"}])


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_an_adapter_over_four_bits_learns_what_one_over_the_same_weights_learns(models: Any, tmp_path: Path) -> None:
    """bitsandbytes warns that its CPU kernel has no gradient registered; it is that of dense weights all the same."""
    import bitsandbytes as bnb
    import torch

    ids = torch.randint(5, 200, (2, 24), generator=torch.Generator().manual_seed(0))

    def learnt(model: Any) -> tuple[float, torch.Tensor]:
        torch.manual_seed(0)
        model = add_adapter(model, LoraSpec(r=2))
        loss = model(input_ids=ids.to(model.device), labels=ids.to(model.device)).loss
        loss.backward()
        grads = [p.grad.flatten() for name, p in model.named_parameters() if "lora_B" in name]
        return loss.item(), torch.cat(grads).float().cpu()

    small, dense = load_base(models("llama"), FLOAT, four_bit="nf4"), load_base(models("llama"), FLOAT)
    layers = {name: layer for name, layer in small.named_modules() if isinstance(layer, bnb.nn.Linear4bit)}
    assert layers
    with torch.no_grad():
        for name, layer in layers.items():
            weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            dense.get_submodule(name).weight.copy_(weight)
    (loss, grads), (wanted, others) = learnt(small), learnt(dense)
    assert loss == pytest.approx(wanted, rel=1e-3)
    assert torch.nn.functional.cosine_similarity(grads, others, dim=0) > 0.999
    job = train(models("llama"), tmp_path, [{"learning_rate": 0.02, "max_steps": 6}], quantize="nf4")
    curve = result(job, tmp_path).curve
    assert curve[-1][1] < curve[0][1]
    assert len(answers(load_adapter(load_base(models("llama"), FLOAT), adapter(job, tmp_path)), models("llama"))) == 2


def test_gemma_shares_prefixes_under_eager_attention(models: Any, tmp_path: Path) -> None:
    """Eager attention adds its mask to the scores; a boolean one would let every row see all others."""
    import torch

    from tasks.training.batches import collate, group_rows, join_rows
    from tasks.training.padding import additive

    tokenised = [
        {"input_ids": [2, 9, 10, 11, 12, 20, 21, 1], "completion_mask": [0] * 5 + [1] * 3, "schema": "a"},
        {"input_ids": [2, 9, 10, 13, 30, 31, 1], "completion_mask": [0] * 4 + [1] * 3, "schema": "a"},
    ]
    model = load_base(models("gemma3"), FLOAT)
    assert model.config._attn_implementation == "eager"

    def loss(groups: list[list[dict]]) -> float:
        batch = collate([join_rows(group) for group in groups], pad_token_id=0)
        labels = batch.pop("labels")
        logits = model(**batch | {"attention_mask": additive(batch["attention_mask"])}).logits[:, :-1]
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()))

    assert loss(group_rows(tokenised, 2)) == pytest.approx(loss([[row] for row in tokenised]), rel=1e-5)
    found = result(train(models("gemma3"), tmp_path, [{}], "request"), tmp_path)
    assert found.eval_loss == pytest.approx(found.curve[-1][1], abs=0.3)  # an untrained model's, on rows alike
    assert found.example["taught"].endswith("<end_of_turn>")


def test_adapters_over_bfloat16_are_float32_and_only_b_learns_first(models: Any) -> None:
    import torch

    model = add_adapter(load_base(models("llama"), Precision("bfloat16", "bfloat16")), LoraSpec(r=2))
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids, labels=ids).loss.backward()
    named = dict(model.named_parameters())
    assert {p.dtype for n, p in named.items() if "lora_" in n} == {torch.float32}
    assert {p.dtype for n, p in named.items() if "lora_" not in n} == {torch.bfloat16}
    assert all(float(p.grad.abs().max()) == 0 for n, p in named.items() if "lora_A" in n)
    assert any(float(p.grad.abs().max()) > 0 for n, p in named.items() if "lora_B" in n)


def test_a_merged_model_answers_like_base_and_adapter(models: Any, tmp_path: Path) -> None:
    job = train(models("llama"), tmp_path / "lora", [{"learning_rate": 0.05, "max_steps": 4}])
    folder = adapter(job, tmp_path / "lora")
    merged = export_merged(models("llama"), folder, tmp_path / "merged", "float32", {"version": "1"})
    assert json.loads((merged / "nightshift.json").read_text()) == {"version": "1", "dtype": "float32"}
    assert not (merged / "adapter_config.json").exists()
    both = load_adapter(load_base(models("llama"), FLOAT), folder)
    assert answers(load_base(merged, FLOAT), merged) == answers(both, folder)
    with pytest.raises(UserError, match="is not empty"):
        export_merged(models("llama"), folder, merged, "float32", {})
    stage = {"method": "prompt_tuning", "learning_rate": 0.1, "virtual_tokens": 4}
    soft = train(models("llama"), tmp_path / "soft", [stage])
    with pytest.raises(UserError, match="soft prompt cannot be merged"):
        export_merged(models("llama"), adapter(soft, tmp_path / "soft"), tmp_path / "no", "float32", {})
