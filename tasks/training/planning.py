"""Which GPU class a recipe's training and evaluation fit on, what would make them fit elsewhere, hours and cost.

Memory comes from `tasks.training.footprint` and the table of `infra.gpu`; hours only from speeds that earlier nights
recorded on that class with that model: where there is none, the answer is that there is none. Limits: lengths are the
recipe's upper bounds, so a night that fits here fits there, and a real one needs less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError

from infra.errors import UserError
from infra.gpu import GpuClass
from tasks.evaluation.spec import EvaluationSpec
from tasks.models.precision import Device, Precision, Work, choose_precision
from tasks.models.shape import ModelShape
from tasks.training.footprint import ADAM_STATE, GIB, Memory, Step, answering_memory, frozen_weights, step_memory
from tasks.training.spec import AnyStage, TrainingSpec

# What a process holds beside its tensors: CUDA's context and kernels, or Python and its libraries on a CPU.
PROCESS_GIB = {True: 0.8, False: 1.5}
FRAGMENTATION = 1.08  # PyTorch's allocator reserves somewhat more than it hands out
# A question and the words around it: what each further question adds to a sequence that shares a schema.
QUESTION_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """What a night recorded: tokens trained in so many seconds on a class, and tokens a row."""

    pool: str
    tokens: float
    seconds: float
    tokens_per_row: float


@dataclass(frozen=True, slots=True)
class Placement:
    """One step of the night on one class. `levers` are the settings that make it fit, none when it does as it is.

    `gpus` is how many of the class one machine must have; what is needed is of each.
    """

    pool: str
    fits: bool
    need_gib: float
    room_gib: float
    precision: str
    levers: tuple[str, ...] = ()
    need_with_levers_gib: float | None = None
    hours: float | None = None
    cost: float | None = None
    parts_gib: dict[str, float] | None = None
    gpus: int = 1

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def precision_on(gpu: GpuClass, training: TrainingSpec) -> Precision:
    """The precision that the trainer takes on this class."""
    device = Device("cuda", gpu.capability) if gpu.capability else Device("cpu")
    return choose_precision(device, Work(trains_all=training.tune == "full"))


def training_memory(training: TrainingSpec, shape: ModelShape, precision: Precision, answer_tokens: int) -> Memory:
    """The largest peak of the curriculum, with every sequence as long as it may be; answers of `answer_tokens`."""
    peaks = []
    for stage in training.stages:
        step = stage_step(training, stage, shape, precision, answer_tokens)
        peaks.append(step_memory(step))
        if stage.method == "grpo":
            # Answers are drawn between two steps, while the optimiser keeps its state.
            drawn = answering_memory(shape, precision, step.sequences, training.max_length, stage.max_new_tokens)
            kept = {"weights": frozen_weights(step) + step.beside, "optimiser": ADAM_STATE * step.trained}
            peaks.append(replace(drawn, adapter=4 * step.trained, **kept))
    return max(peaks, key=lambda memory: memory.total)


def stage_step(
    training: TrainingSpec, stage: AnyStage, shape: ModelShape, precision: Precision, answer_tokens: int
) -> Step:
    """The largest step of one stage. Those of `sft` are held to PyTorch's tracker; those of the other methods follow
    from the same rules and how their trainers work, and are not."""
    share, sequences = training.share_of(stage), training.sequences_at_once(stage)
    targets = training.lora.targets
    step = Step(
        shape,
        precision,
        sequences,
        length=training.max_length + (share - 1) * (QUESTION_TOKENS + answer_tokens),
        answers=sequences * share * answer_tokens,
        tune=training.tune,
        rank=training.lora.r,
        targets=tuple(shape.linear_sizes) if targets == "all-linear" else targets,
        first_layer=training.lora.first_layer,
        quantized=training.quantize is not None,
        checkpointing=training.gradient_checkpointing,
        processes=training.processes,
        shards=training.shards,
    )
    if stage.method == "sft":
        return step
    if stage.method == "prompt_tuning":
        # Its trainer projects whole rows onto the vocabulary, and every layer is on the way to the soft prompt.
        return replace(step, answers=sequences * step.length, first_layer=0)
    if stage.method == "dpo":
        # A right and a wrong answer to each question; the reference is a frozen copy of the adapter. TRL takes the
        # vocabulary in chunks, so that one answer's worth of it is held at a time.
        return replace(step, sequences=2 * sequences, answers=answer_tokens, beside=4 * step.trained)
    if stage.method == "reward":
        return replace(step, sequences=2 * sequences, answers=0)
    if stage.method == "grpo":
        scorer = frozen_weights(step) if stage.reward_model else 0
        length, answers = training.max_length + stage.max_new_tokens, sequences * stage.max_new_tokens
        return replace(step, length=length, answers=answers, beside=4 * step.trained + scorer)
    raise UserError(f"stage {stage.name}: memory of the method {stage.method!r} cannot be computed yet")


def place_training(
    training: TrainingSpec, shape: ModelShape, gpu: GpuClass, answer_tokens: int, speeds: Sequence[Speed], price: float
) -> Placement:
    """Training on a class, as the recipe has it or with the fewest levers that make it fit."""

    def need(spec: TrainingSpec) -> Memory:
        return training_memory(spec, shape, precision_on(gpu, spec), answer_tokens)

    placement = _place(gpu, need(training), precision_on(gpu, training), training.processes)
    if not placement.fits:
        tries = ((levers, need(spec)) for levers, spec in _easier(training, gpu))
        placement = _with_levers(placement, gpu, tries, training.processes)
    hours = _hours(training, gpu, speeds)
    cost = None if hours is None or not price else round(hours * price, 2)
    return replace(placement, hours=hours, cost=cost)


def place_evaluation(evaluation: EvaluationSpec, training: TrainingSpec, shape: ModelShape, gpu: GpuClass) -> Placement:
    """Answering the test questions on a class."""
    adapters = training.model_copy(update={"tune": "lora"})
    precision = precision_on(gpu, adapters)

    def need(batch: int) -> Memory:
        return answering_memory(shape, precision, batch, training.max_length, evaluation.max_new_tokens)

    placement = _place(gpu, need(evaluation.batch_size), precision)
    if placement.fits:
        return placement
    smaller = _halves(evaluation.batch_size, 1)
    return _with_levers(placement, gpu, (((f"evaluation.batch_size={n}",), need(n)) for n in smaller))


def _place(gpu: GpuClass, memory: Memory, precision: Precision, processes: int = 1) -> Placement:
    need = _gib_needed(memory, gpu, processes)
    parts = {name: round(size / GIB, 2) for name, size in asdict(memory).items()}
    told = precision.autocast or precision.weights
    gpus = processes if gpu.is_gpu else 1
    return Placement(gpu.pool, need <= gpu.memory_gib, need, gpu.memory_gib, told, parts_gib=parts, gpus=gpus)


def _gib_needed(memory: Memory, gpu: GpuClass, processes: int = 1) -> float:
    """Of each GPU; processes on CPUs share the machine's memory."""
    need = FRAGMENTATION * memory.total / GIB + PROCESS_GIB[gpu.is_gpu]
    return round(need if gpu.is_gpu else need * processes, 2)


def _with_levers(
    placement: Placement, gpu: GpuClass, tries: Iterator[tuple[tuple[str, ...], Memory]], processes: int = 1
) -> Placement:
    """The first of `tries` that fits; the placement itself where none does."""
    for levers, memory in tries:
        if (need := _gib_needed(memory, gpu, processes)) <= gpu.memory_gib:
            return replace(placement, levers=levers, need_with_levers_gib=need)
    return placement


def _easier(training: TrainingSpec, gpu: GpuClass) -> Iterator[tuple[tuple[str, ...], TrainingSpec]]:
    """The recipe with more and more levers pulled, the cheapest first: accumulation costs little, recomputing a third
    of the time, dividing the model the sending of its weights; four bits and adapters change what is learnt."""
    pulled: dict[str, Any] = {}

    def pull(**more: Any) -> Iterator[tuple[tuple[str, ...], TrainingSpec]]:
        try:
            spec = TrainingSpec.model_validate(training.model_dump() | pulled | more)
        except ValidationError:
            return  # a combination that recipes may not have, such as a batch that does not divide
        pulled.update(more)
        texts = tuple(f"training.{key}={str(value).lower()}" for key, value in pulled.items())
        yield texts, spec

    for batch in _halves(training.per_device_batch, training.share_prefix):
        yield from pull(per_device_batch=batch)
    if not training.gradient_checkpointing:
        yield from pull(gradient_checkpointing=True)
    if training.processes > 1 and training.shards == 1 and gpu.is_gpu:
        yield from pull(sharding="fsdp")
    if training.tune == "full":
        yield from pull(tune="lora")
    pulled.pop("sharding", None)  # four bits cannot be divided
    if training.quantize is None and gpu.is_gpu:
        yield from pull(quantize="nf4")


def _halves(number: int, least: int) -> list[int]:
    """number/2, number/4, ... down to `least`."""
    found = []
    while number > least:
        number = max(least, number // 2)
        found.append(number)
    return found


def _hours(training: TrainingSpec, gpu: GpuClass, speeds: Sequence[Speed]) -> float | None:
    """Hours of the whole curriculum at the speed recorded on this class, when every stage says how many rows it has."""
    here = [speed for speed in speeds if speed.pool == gpu.pool]
    seconds = sum(speed.seconds for speed in here)
    if not seconds:
        return None
    rate = sum(speed.tokens for speed in here) / seconds
    per_row = sum(speed.tokens_per_row for speed in here) / len(here)
    rows = 0.0
    for stage in training.stages:
        if stage.max_steps is not None:
            rows += stage.max_steps * stage.global_batch
        elif stage.data.max_samples is not None:
            rows += stage.data.max_samples * stage.epochs
        else:
            return None
    return round(rows * per_row / rate / 3600, 3)
