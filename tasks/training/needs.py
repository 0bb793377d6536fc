"""What a training needs of a machine beyond what every installation has: so that it can be told before it is tried."""

from __future__ import annotations

from tasks.models.loading import lacks_eight_bit, lacks_four_bit
from tasks.models.precision import probe_device
from tasks.training.spec import TrainingSpec
from tasks.training.specs.stage import EIGHT_BIT


def unmet_by_four_bits() -> str:
    """Why this machine cannot hold weights in four bits, for people; empty when it can."""
    lacking = lacks_four_bit(probe_device())
    return f"weights in 4 bits need {lacking}, which this machine lacks" if lacking else ""


def unmet_needs(training: TrainingSpec) -> str:
    """Why this machine cannot run the training, for people; empty when it can."""
    if training.quantize is not None and (unmet := unmet_by_four_bits()):
        return unmet
    if any(stage.optimizer in EIGHT_BIT for stage in training.stages) and (lacking := lacks_eight_bit(probe_device())):
        return f"optimisers in 8 bits need {lacking}, which this machine lacks"
    return ""
