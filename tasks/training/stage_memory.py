"""What the stages of a curriculum need of a device's memory: the one estimate of the planner and of the trainer.

Each method's largest step in the terms of `tasks.training.footprint`. The planner knows the recipe's upper bounds, the
trainer its rows and the loaded model. Steps of `sft` are held to PyTorch's tracker; those of the other methods follow
from the same rules and how their trainers work, and are not. With several processes it is what each of them needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks.models.precision import Precision
from tasks.models.shape import ModelShape, nearest_shape
from tasks.training.footprint import Memory, Step, answering_memory, frozen_weights, step_memory
from tasks.training.preflight import sequence_tokens
from tasks.training.spec import AnyStage, TrainingSpec

# A question and the words around it: what each further question adds to a sequence that shares a schema.
QUESTION_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a stage's longest row, of its longest answer, and of a question that joins others over one schema."""

    row: int
    answer: int
    question: int = QUESTION_TOKENS


def training_memory(training: TrainingSpec, shape: ModelShape, precision: Precision, answer_tokens: int) -> Memory:
    """The largest peak of the curriculum, with every sequence as long as it may be; answers of `answer_tokens`."""
    lengths = Lengths(training.max_length, answer_tokens)
    peaks = [
        stage_memory(training, stage, stage_step(training, stage, shape, precision, lengths))
        for stage in training.stages
    ]
    return max(peaks, key=lambda memory: memory.total)


def loaded_memory(
    training: TrainingSpec, stage: AnyStage, model: Any, precision: Precision, rows: Sequence[dict[str, Any]]
) -> Memory:
    """The peak of a stage whose model is loaded, trainable, and whose rows are tokenised."""
    parameters = list(model.parameters())
    longest = max(map(sequence_tokens, rows)) or training.max_length
    taught = max(sum(row["completion_mask"]) if "completion_mask" in row else longest // 2 for row in rows)
    step = stage_step(
        training,
        stage,
        nearest_shape(model.config),
        replace(precision, attention=model.config._attn_implementation),
        Lengths(longest, taught, question=taught),  # a question is about as long as its answer
        frozen_bytes=sum(p.numel() * p.element_size() for p in parameters if not p.requires_grad),
        counted=sum(p.numel() for p in parameters if p.requires_grad),
    )
    return stage_memory(training, stage, step)


def stage_memory(training: TrainingSpec, stage: AnyStage, step: Step) -> Memory:
    """The peak of a stage with the largest step `step`."""
    peak = step_memory(step)
    if stage.method != "grpo":
        return peak
    # Answers are drawn between two steps, while the optimiser keeps its state.
    drawn = answering_memory(step.shape, step.precision, step.sequences, training.max_length, stage.max_new_tokens)
    weights = frozen_weights(step) + step.beside
    drawn = replace(drawn, adapter=4 * step.trained, weights=weights, optimiser=step.averages)
    return max(peak, drawn, key=lambda memory: memory.total)


def stage_step(
    training: TrainingSpec, stage: AnyStage, shape: ModelShape, precision: Precision, lengths: Lengths, **known: int
) -> Step:
    """The largest step of one stage; `known` are the step's `frozen_bytes` and `counted` where a model is loaded."""
    share, sequences = training.share_of(stage), training.sequences_at_once(stage)
    targets = training.lora.targets
    step = Step(
        shape,
        precision,
        sequences,
        length=lengths.row + (share - 1) * (lengths.question + lengths.answer),
        answers=sequences * share * lengths.answer,
        tune=training.tune,
        rank=training.lora.r,
        targets=tuple(shape.linear_sizes) if targets == "all-linear" else targets,
        first_layer=training.lora.first_layer,
        quantized=training.quantize is not None,
        checkpointing=training.gradient_checkpointing,
        optimizer=stage.optimizer,
        processes=training.processes,
        shards=training.shards,
        **known,
    )
    if stage.method == "prompt_tuning":
        # Its trainer projects whole rows onto the vocabulary, and every layer is on the way to the soft prompt.
        return replace(step, answers=sequences * step.length, first_layer=0)
    if stage.method == "dpo":
        # A right and a wrong answer to each question; the reference is a frozen copy of the adapter. TRL takes the
        # vocabulary in chunks, so that one answer's worth of it is held at a time.
        return replace(step, sequences=2 * sequences, answers=lengths.answer, beside=4 * step.trained)
    if stage.method == "reward":
        return replace(step, sequences=2 * sequences, answers=0)
    if stage.method == "grpo":
        scorer = frozen_weights(step) if stage.reward_model else 0
        length, answers = training.max_length + stage.max_new_tokens, sequences * stage.max_new_tokens
        return replace(step, length=length, answers=answers, beside=4 * step.trained + scorer)
    return step
