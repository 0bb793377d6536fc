"""One run of many, as comparisons of runs know it: what it was, what it cost, how good it is.

A run is one trial of a sweep, one row of a study or one night. Everything here was measured; what was not is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.evaluation.scorecard import Interval

Outcomes = Mapping[str, Mapping[str, float]]  # run -> example id -> 1 for a right answer, 0 for a wrong one


class Run(BaseModel):
    """One run. Documents of other steps hold more keys than a comparison looks at."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="unique among the runs compared")
    label: str = Field("", description="for people; the name when empty")
    note: str = ""
    method: str = Field("", description="methods of its stages, in order: sft, sft + dpo")
    peft: str = Field("", description="what is trained: all weights, LoRA r 16 on 7 kinds of layers, 20 soft tokens")
    stage: str = Field("", description="stage of a search, empty outside one")
    status: Literal["finished", "failed", "pruned"] = "finished"
    error: str | None = None
    values: dict[str, Any] = Field(default_factory=dict, description="what was set: path of the recipe -> value")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="the resolved model and training of its recipe, by dotted path"
    )
    train_rows: int | None = None
    validation_rows: int | None = None
    candidates: int = Field(1, ge=0, description="settings tried for it, itself included; 0 where nothing is trained")
    initial_loss: float | None = None
    final_loss: float | None = None
    eval_loss: float | None = None
    execution_accuracy: Interval | None = None
    metrics: dict[str, Interval] = Field(default_factory=dict, description="of its scorecard, where it was judged")
    samples_per_second: float | None = Field(None, description="rows trained on a second, from tokens really seen")
    tokens_per_second: float | None = None
    tokens: int | None = Field(None, description="tokens trained on, padding not counted")
    trainable: int | None = Field(None, description="trained weights, counted in the model")
    total_parameters: int | None = None
    peak_memory_mb: float | None = None
    seconds: float | None = None
    steps: int | None = None
    price: float | None = Field(None, description="what its seconds cost, where the recipe has a price an hour")
    device: str = ""
    data_fingerprint: str = ""
    prompt_fingerprint: str = ""
    run_id: str | None = Field(None, description="its MLflow run")
    predictions_key: str | None = Field(None, description="its answers in the store")
    scorecard_key: str | None = Field(None, description="what became of each of them")
    curve: list[tuple[int, float]] = Field(default_factory=list, description="(step, training loss)")

    @property
    def title(self) -> str:
        """What people call it."""
        return self.label or self.name

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == "finished"
