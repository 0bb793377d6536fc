"""Which GPU class a recipe's training and evaluation fit on, what would make them fit elsewhere, hours and cost.

Memory comes from `tasks.training.stage_memory` and the table of `infra.gpu`; hours only from speeds that earlier nights
recorded on that class with that model: where there is none, the answer is that there is none. Limits: lengths are the
recipe's upper bounds, so a night that fits here fits there, and a real one needs less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError

from infra.gpu import GpuClass
from tasks.evaluation.spec import EvaluationSpec
from tasks.models.precision import Device, Precision, Work, choose_precision
from tasks.models.shape import ModelShape
from tasks.training.footprint import GIB, Memory, answering_memory
from tasks.training.spec import TrainingSpec
from tasks.training.stage_memory import training_memory

# What a process holds beside its tensors: CUDA's context and kernels, or Python and its libraries on a CPU.
PROCESS_GIB = {True: 0.8, False: 1.5}
FRAGMENTATION = 1.08  # PyTorch's allocator reserves somewhat more than it hands out


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
