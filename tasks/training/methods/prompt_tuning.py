"""Prompt tuning: vectors before every prompt are trained, the model stays as it is (Lester et al. 2021).

Limits: rows do not share a prefix, since PEFT puts the soft prompt before each; whole rows go through the output layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.models.loading import load_adapter
from tasks.training.engine import Engine, Run, Trained
from tasks.training.job import StageJob
from tasks.training.methods.sft import Sft
from tasks.training.padding import with_labels
from tasks.training.plain import train_plainly
from tasks.training.specs.prompt_tuning import PromptTuningStage

DEFAULT_TOKENS = 20


class PromptTuning(Sft):
    """Rows and files are those of `sft`; the trainable part and its training differ."""

    def start(self, engine: Engine, stage: StageJob, before: Path | None) -> Any:
        """A fresh soft prompt, or the one of the stage before."""
        if before is None:
            return add_soft_prompt(engine, stage.spec)
        model = load_adapter(engine.base, before)
        # PEFT loads soft prompts for inference only; the embedding it read is trainable like a fresh one.
        model.active_peft_config.inference_mode = False
        model.prompt_encoder.requires_grad_(True)
        return model

    def train(self, run: Run) -> Trained:
        """Train the soft prompt with transformers' own trainer."""
        return train_plainly(run, with_labels)


METHOD = PromptTuning()


def add_soft_prompt(engine: Engine, spec: PromptTuningStage) -> Any:
    """The base model with a fresh soft prompt: rows of its own vocabulary, at random or those of `init_text`."""
    from peft import PromptTuningConfig, PromptTuningInit, get_peft_model

    ids = engine.tokenizer(spec.init_text, add_special_tokens=False)["input_ids"]
    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=len(ids) or spec.virtual_tokens or DEFAULT_TOKENS,
        prompt_tuning_init=PromptTuningInit.RANDOM if not ids else PromptTuningInit.SAMPLE_VOCAB,
    )
    model = get_peft_model(engine.base, config)
    # Written here rather than by PEFT's TEXT option, which would load a second tokenizer and note its folder.
    weight, vocabulary = model.prompt_encoder.default.embedding.weight, engine.base.get_input_embeddings().weight
    if ids:
        weight.data.copy_(vocabulary.detach()[ids].float())
    return model
