"""What a recipe says about training: the curriculum's stages and what they share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from tasks.training.specs.grpo import GrpoStage
from tasks.training.specs.lora import LoraSpec
from tasks.training.specs.preference import DpoStage, RewardStage
from tasks.training.specs.prompt_tuning import PromptTuningStage
from tasks.training.specs.seq2seq import Seq2SeqStage
from tasks.training.specs.sft import SftStage
from tasks.training.specs.stage import Spec

AnyStage = SftStage | PromptTuningStage | Seq2SeqStage | RewardStage | DpoStage | GrpoStage
METHODS = ("sft", "prompt_tuning", "seq2seq", "reward", "dpo", "grpo")
RELEASE = "release:"  # how `start_from` names a version of a release
_PARALLEL = ("sft", "seq2seq")  # methods that several processes can train together
_SHARDED = ("sft",)  # methods whose model several processes can divide
_EXECUTES = ("reward", "dpo", "grpo")  # their rows are run, and the reference of what they train is an adapter


def _method(value: Any) -> str:
    """The method that a stage in a recipe names; `sft` when it names none."""
    return str(value.get("method", "sft")) if isinstance(value, dict) else str(getattr(value, "method", "sft"))


Stage = Annotated[
    Annotated[SftStage, Tag("sft")]
    | Annotated[PromptTuningStage, Tag("prompt_tuning")]
    | Annotated[Seq2SeqStage, Tag("seq2seq")]
    | Annotated[RewardStage, Tag("reward")]
    | Annotated[DpoStage, Tag("dpo")]
    | Annotated[GrpoStage, Tag("grpo")],
    Discriminator(
        _method,
        custom_error_type="unknown_method",
        custom_error_message=f"unknown method; there are {', '.join(METHODS)}",
    ),
]


class TrainingSpec(Spec):
    """The curriculum."""

    backend: Literal["transformers", "unsloth"] = Field(
        "transformers",
        description="whose code runs the model; unsloth: LoRA adapters by sft on one CUDA GPU, installed apart",
    )
    seed: int = Field(42, description="seed of weights, sampling and data order")
    start_from: str = Field(
        "base",
        pattern=r"^(base|path:.+|Production|release:[A-Za-z0-9][A-Za-z0-9._-]*@[1-9][0-9]*)$",
        description="what the first stage starts from: base; Production, what is there when the night begins; "
        "release:NAME@VERSION; or path:DIR, the folder of an adapter of this base model",
    )
    tune: Literal["lora", "full"] = Field("lora", description="what stages change: a LoRA adapter, or all weights")
    lora: LoraSpec = LoraSpec()
    quantize: Literal["nf4", "fp4"] | None = Field(
        None, description="hold the frozen base in 4 bits (QLoRA, arXiv:2305.14314); needs bitsandbytes"
    )
    max_length: int = Field(
        640, ge=64, description="tokens of prompt and SQL together; longer rows are left out, counted"
    )
    max_dropped_share: float = Field(0.02, ge=0, le=1, description="share of a stage's rows that may be too long")
    per_device_batch: int = Field(
        16,
        ge=1,
        description="rows per forward pass, fewer where memory is short; they add up to the global batch",
    )
    processes: int = Field(
        1,
        ge=1,
        description="trainer processes on one machine, one a GPU (data parallel); they share the global batch",
    )
    sharding: Literal["none", "fsdp"] = Field(
        "none",
        description="what each of several processes holds: the whole model, or (fsdp) its share of weights, gradients "
        "and optimiser; every stage loads the model anew",
    )
    share_prefix: int = Field(
        4,
        ge=1,
        description="questions over one schema trained in one sequence, each seeing the schema and itself alone",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice instead of keeping them: less memory, a third more time"
    )
    save_steps: int = Field(10, ge=1, description="optimiser steps between checkpoints")
    upload_every: int | None = Field(
        None,
        ge=1,
        description="for spot machines: seconds between uploads of the newest checkpoint to the store, from which "
        "another machine goes on",
    )
    stages: tuple[Stage, ...] = Field(min_length=1, description="the stages, in order")

    @model_validator(mode="after")
    def _check(self) -> TrainingSpec:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("stage names must differ: a stage's folder is found by its name")
        if self.tune == "full" and self.quantize is not None:
            raise ValueError("quantize: weights in 4 bits cannot be trained themselves; use tune: lora")
        if self.tune == "full" and self.runs_queries:
            raise ValueError("tune: full is for sft and seq2seq; reward, dpo and grpo train an adapter: use tune: lora")
        if self.backend == "unsloth" and (wrong := self._beyond_unsloth()):
            raise ValueError(f"backend: unsloth trains LoRA adapters by sft in one process; change {', '.join(wrong)}")
        if self.sharding != "none" and self.processes == 1:
            raise ValueError("sharding: fsdp divides the model among several processes: set processes, or leave it out")
        if self.sharding != "none" and self.quantize is not None:
            raise ValueError("sharding: fsdp cannot divide weights in 4 bits: leave out quantize, or sharding")
        for place, stage in enumerate(self.stages):
            earlier = [before.name for before in self.stages[:place] if isinstance(before, RewardStage)]
            if isinstance(stage, GrpoStage) and stage.reward_model and stage.reward_model not in earlier:
                raise ValueError(
                    f"stage {stage.name}: reward_model {stage.reward_model!r} is no earlier `reward` stage"
                )
        if all(stage.yields == "reward" for stage in self.stages):
            raise ValueError("a reward model answers no question: add a stage that trains a policy")
        if len({stage.architecture for stage in self.stages}) > 1:
            raise ValueError("a curriculum trains one model: its stages mix causal and encoder-decoder methods")
        if self.soft_prompt and (self.quantize or self.tune == "full" or len({s.method for s in self.stages}) > 1):
            raise ValueError(
                "a prompt_tuning stage trains a soft prompt alone: no stages of other methods, tune: full or quantize"
            )
        for stage in self.stages:
            together = self.sequences_at_once(stage) * self.share_of(stage) * self.processes
            if stage.global_batch % together:
                raise ValueError(
                    f"stage {stage.name}: global_batch {stage.global_batch} is no multiple of "
                    f"per_device_batch {together // self.processes} (sequences of share_prefix={self.share_of(stage)})"
                    + (f" in each of {self.processes} processes" if self.processes > 1 else "")
                )
            if self.processes > 1 and stage.method not in _PARALLEL:
                raise ValueError(
                    f"stage {stage.name}: {stage.method} trains in one process; processes is for {', '.join(_PARALLEL)}"
                )
            if self.sharding != "none" and stage.method not in _SHARDED:
                raise ValueError(
                    f"stage {stage.name}: {stage.method} cannot be divided among processes; sharding is for "
                    f"{', '.join(_SHARDED)}"
                )
        return self

    def _beyond_unsloth(self) -> list[str]:
        """Settings that Unsloth's code cannot follow: it drops the mask that keeps rows of one sequence apart."""
        wrong = {
            "tune": self.tune != "lora",
            "methods": any(stage.method != "sft" for stage in self.stages),
            "share_prefix (to 1)": self.share_prefix > 1,
            "processes": self.processes > 1,
            "quantize (to nf4)": self.quantize == "fp4",
            "lora.dora": self.lora.dora,
        }
        return [name for name, is_wrong in wrong.items() if is_wrong]

    @property
    def soft_prompt(self) -> bool:
        """Whether the stages train a soft prompt instead of what `tune` says."""
        return any(isinstance(stage, PromptTuningStage) for stage in self.stages)

    @property
    def runs_queries(self) -> bool:
        """Whether a stage runs its rows' queries, and so needs their databases."""
        return any(stage.method in _EXECUTES for stage in self.stages)

    @property
    def shards(self) -> int:
        """Parts that the model is divided into, one in each process; 1 when every process holds it whole."""
        return 1 if self.sharding == "none" else self.processes

    def share_of(self, stage: AnyStage) -> int:
        """Rows in one training sequence of `stage`: only its own method can share a prefix."""
        return self.share_prefix if stage.method == "sft" else 1

    def sequences_at_once(self, stage: AnyStage) -> int:
        """Sequences per forward pass: the per-device batch in sequences of `share_of` rows, at least one."""
        return max(1, min(self.per_device_batch, stage.global_batch // self.processes) // self.share_of(stage))

    def accumulated(self, stage: AnyStage) -> int:
        """Forward passes of each process per optimiser step."""
        return stage.global_batch // (self.sequences_at_once(stage) * self.share_of(stage) * self.processes)

    def smaller(self, stage: AnyStage) -> TrainingSpec | None:
        """The same with the next smaller batch that divides the global batch of `stage`; None when it is the least."""
        share = self.share_of(stage)
        for sequences in range(self.sequences_at_once(stage) - 1, 0, -1):
            if stage.global_batch % (sequences * share * self.processes) == 0:
                return self.model_copy(update={"per_device_batch": sequences * share})
        return None
