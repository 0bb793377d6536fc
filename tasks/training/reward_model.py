"""Reward models: the base model with one output, trained by `method: reward`, read by `method: grpo`.

One head, because a score is one number: two heads whose difference is read as a probability are noise. Prompt and
answer are scored together, tokenised as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.errors import UserError
from tasks.data.example import Example
from tasks.data.prompts import Prompter
from tasks.models.precision import Precision, probe_device
from tasks.training.specs.lora import LoraSpec

_BATCH = 16  # answers scored at once


def scoring_base(folder: Path, precision: Precision, pad_token_id: int) -> Any:
    """The base model of `folder` with a fresh head of one output; raises UserError when its family has none."""
    import torch
    from transformers import AutoModelForSequenceClassification

    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=getattr(torch, precision.weights), use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UserError(f"no reward model can be made of {folder.name}: {str(error).splitlines()[0]}") from None
    model.config.use_cache = False
    model.config.get_text_config().pad_token_id = pad_token_id
    return model.to(probe_device().kind)


def add_scoring_adapter(base: Any, lora: LoraSpec) -> Any:
    """`base` with a fresh LoRA adapter and its head trainable, both in float32."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if lora.targets == "all-linear" else list(lora.targets),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        modules_to_save=["score"],
        task_type="SEQ_CLS",
    )
    model = get_peft_model(base, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    return model


class RewardModel:
    """A trained reward model, for scoring alone."""

    def __init__(self, base: Path, adapter: Path, prompter: Prompter, precision: Precision) -> None:
        from peft import PeftModel

        model = scoring_base(base, precision, prompter.tokenizer.pad_token_id)
        self._model = PeftModel.from_pretrained(model, adapter).eval()
        self._prompter, self._precision = prompter, precision

    def score(self, examples: Sequence[Example], answers: Sequence[str]) -> list[float]:
        """The sigmoid of each answer's score, in (0, 1); an answer is closed by the end token, as in training."""
        import torch

        tokenizer, device = self._prompter.tokenizer, next(self._model.parameters()).device
        texts = [
            self._prompter.render(e.schema, e.question, e.evidence) + self._prompter.completion(answer)
            for e, answer in zip(examples, answers, strict=True)
        ]
        scores: list[float] = []
        dtype = getattr(torch, self._precision.autocast) if self._precision.autocast else None
        for begin in range(0, len(texts), _BATCH):
            encoded = tokenizer(
                texts[begin : begin + _BATCH],
                add_special_tokens=False,
                padding=True,
                padding_side="right",
                return_tensors="pt",
                return_token_type_ids=False,
            ).to(device)
            with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                logits = self._model(**encoded).logits[:, 0]
            scores += torch.sigmoid(logits.float()).tolist()
        return scores
