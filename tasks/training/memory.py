"""What a stage will need of memory and disk, estimated before it starts, and what it did need.

Memory = weights + gradients and optimiser state of what is trained + activations + scores over the vocabulary. The
activations are those of Korthikanti et al. 2022 (arXiv:2205.05198), 34 bytes a token, layer and unit of width in 16
bits, without the attention matrix, which today's kernels do not keep (eager attention and plain products do).

Limits: the estimate knows neither fragmentation nor a kernel's own buffers; the measured peak beside it says how far it
was off.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError
from tasks.models.attention import LONGEST
from tasks.models.families import PRODUCTS
from tasks.training.spec import AnyStage, TrainingSpec

_ACTIVATION_BYTES = 34  # a token, layer and unit of width, in 16 bits
_CHECKPOINT_BYTES = 2  # with gradient checkpointing: the layer's input alone
_STATE_BYTES = {"adamw_8bit": 2, "paged_adamw_8bit": 2}  # of the optimiser, a trained weight; 8 for the others
_CHECKPOINTS = 3  # two are kept while a third is written


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides about memory: bytes of the weights, trained weights, layers, width, vocabulary, and heads where the
    attention matrix is kept, for sequences of up to `kept_length` tokens."""

    weight_bytes: int
    trained: int
    layers: int
    width: int
    vocabulary: int
    heads: int = 0
    kept_length: int = sys.maxsize


def shape_of(model: Any) -> Shape:
    """The shape of a loaded model with its trainable part."""
    config, parameters = model.config, list(model.parameters())
    layers = config.num_hidden_layers * (2 if config.is_encoder_decoder else 1)
    attention = config._attn_implementation
    return Shape(
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        layers=layers,
        width=config.hidden_size,
        vocabulary=config.vocab_size,
        heads=config.num_attention_heads if attention in ("eager", PRODUCTS) else 0,
        kept_length=LONGEST if attention == PRODUCTS else sys.maxsize,
    )


def estimate_memory(shape: Shape, stage: AnyStage, training: TrainingSpec, longest: int, taught: int) -> int:
    """Bytes that a stage needs at its peak: `longest` tokens in its longest sequence, `taught` of them in answers.

    With several processes it is that of each. Of a divided model the embeddings and two layers are whole at a time; all
    of it is while it is loaded.
    """
    state = 4 + _STATE_BYTES.get(stage.optimizer, 8)  # the gradient in float32, and the optimiser's averages
    at_once = training.sequences_at_once(stage)
    unit = shape.width * longest * at_once
    matrix = at_once * longest**2 if longest <= shape.kept_length else 0
    whole = _ACTIVATION_BYTES * unit + 2 * shape.heads * matrix
    if training.gradient_checkpointing:
        activations = _CHECKPOINT_BYTES * unit * shape.layers + whole  # one layer is computed again at a time
    else:
        activations = whole * shape.layers
    scores = 2 * 4 * shape.vocabulary * taught * at_once  # in float32, with their gradient
    held = shape.weight_bytes + state * shape.trained
    if training.shards > 1:
        gathered = 4 * 2 * shape.vocabulary * shape.width + 2 * shape.weight_bytes // shape.layers
        return max(shape.weight_bytes, held // training.shards + gathered + activations + scores)
    buckets = 4 * shape.trained if training.processes > 1 else 0  # DDP's, beside the gradients
    return held + buckets + activations + scores


def device_memory(model: Any) -> int:
    """Bytes of the device that the model lies on: the GPU's, else the machine's."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)


def check_room(name: str, estimate: int, available: int, shape: Shape, folder: Path) -> None:
    """Raise UserError when a stage will not fit into memory, or its checkpoints not onto the disk."""
    if estimate > available:
        raise UserError(
            f"stage {name} needs about {_gb(estimate)} of memory in its smallest batches and there are "
            f"{_gb(available)}; lower training.max_length, or set training.gradient_checkpointing"
        )
    needed, free = _CHECKPOINTS * shape.trained * 12, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"stage {name} needs about {_gb(needed)} of disk for checkpoints and there are {_gb(free)} free"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory is used up; not all of PyTorch's errors for it have a class."""
    import torch

    told = ("out of memory", "ALLOC_FAILED", "can't allocate memory")  # of CUDA, of cuBLAS, of PyTorch on a CPU
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in told)


def forget_peak() -> None:
    """Start a new measurement; on a CPU the peak is the process's own and cannot be reset."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> int:
    """Bytes held at most: of the GPU where there is one, else by this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
