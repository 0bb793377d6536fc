"""`training.backend: unsloth`: refused in one line where it cannot be had, else asked for the recipe's own adapter.

A module of the same name stands in for it and makes the model by transformers and PEFT: what Unsloth's own code does is
not tested here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from infra.errors import UserError
from tasks.models.precision import Device
from tasks.models.unsloth import import_unsloth
from tasks.training import session
from tasks.training.job import read_result
from tasks.training.session import run_session
from tasks.training.spec import TrainingSpec
from tests.tasks.training.test_stages import difference, plan, spec

GPU = Device("cuda", (8, 9), True, "NVIDIA L4")
FAKE = """
CALLS = []

class FastLanguageModel:
    @staticmethod
    def from_pretrained(model_name, dtype, **given):
        from transformers import AutoModelForCausalLM
        CALLS.append(("from_pretrained", given))
        return AutoModelForCausalLM.from_pretrained(model_name, dtype=dtype), None

    @staticmethod
    def get_peft_model(model, use_gradient_checkpointing, random_state, **given):
        from peft import LoraConfig, get_peft_model
        CALLS.append(("get_peft_model", given | {"random_state": random_state}))
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **given))
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a package `unsloth` with the given source on the path."""

    def install(source: str) -> None:
        folder = tmp_path / "packages"
        folder.mkdir()
        (folder / "unsloth.py").write_text(source)
        monkeypatch.syspath_prepend(str(folder))

    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    yield install
    sys.modules.pop("unsloth", None)


def test_without_cuda_it_is_refused_before_any_work(tiny_model: Path, tmp_path: Path) -> None:
    job = plan(tiny_model, tmp_path, spec(backend="unsloth", share_prefix=1))
    with pytest.raises(UserError, match=r"^training\.backend=unsloth needs a CUDA GPU") as told:
        run_session(job, tmp_path)
    assert "\n" not in str(told.value)
    assert not (tmp_path / job.stages[0].folder).exists()


def test_where_it_is_not_installed_the_error_says_how_to() -> None:
    with pytest.raises(UserError, match=r"not installed: pip install --no-deps unsloth==[\d.]+ unsloth_zoo"):
        import_unsloth(GPU)


def test_a_package_that_does_not_import_is_one_line(installed: Any) -> None:
    installed("raise NotImplementedError('no such transformers\\nat all')")
    with pytest.raises(UserError, match=r"does not work here: NotImplementedError: no such transformers; leave"):
        import_unsloth(GPU)


def test_it_trains_the_recipes_adapter_stage_by_stage(
    installed: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(FAKE)
    monkeypatch.setattr(session, "import_unsloth", lambda _: import_unsloth(GPU))
    job = plan(tiny_model, tmp_path, spec(backend="unsloth", share_prefix=1))
    run_session(job, tmp_path)
    calls = sys.modules["unsloth"].CALLS
    assert [name for name, _ in calls] == ["from_pretrained", "get_peft_model"]  # one base for both stages
    assert calls[0][1]["use_exact_model_name"] is True
    assert calls[0][1]["load_in_4bit"] is False
    asked = calls[1][1]
    assert (asked["r"], asked["lora_alpha"], asked["random_state"]) == (2, 4, 42)
    assert asked["target_modules"] == list(spec().lora.targets)
    first, second = (tmp_path / stage.folder for stage in job.stages)
    assert read_result(second).steps == 4
    assert difference(first, second) > 0
    # A trainer that starts anew behind the first stage takes up that stage's adapter.
    once = second.rename(tmp_path / "once")
    run_session(job, tmp_path)
    assert [name for name, _ in calls] == ["from_pretrained", "get_peft_model"] * 2
    assert difference(once, second) == 0.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, r"share_prefix \(to 1\)"),
        ({"share_prefix": 1, "tune": "full"}, r"change tune \["),
        ({"share_prefix": 1, "processes": 2}, r"change processes \["),
        ({"share_prefix": 1, "quantize": "fp4"}, r"quantize \(to nf4\)"),
        ({"share_prefix": 1, "lora": {"dora": True}}, "lora.dora"),
        ({"share_prefix": 1, "stages": [{"name": "a", "method": "grpo"}]}, "change methods"),
    ],
)
def test_what_its_code_cannot_follow_is_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TrainingSpec.model_validate({"backend": "unsloth", "stages": [{"name": "a"}]} | changes)
