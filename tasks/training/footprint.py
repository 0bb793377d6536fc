"""What one training step needs of a device's memory, computed from the model's shape.

The rules count what PyTorch keeps: weights, what is trained with its gradients and optimiser state, what the forward
pass saves for the backward pass (operation by operation, for the decoder families of `tasks.models.shape`), and the
logits of the positions that have a loss. They are checked against PyTorch's memory tracker at true sizes
(tests/tasks/training/test_footprint.py). Before a model is loaded its weights follow from its shape; the trainer tells
the bytes it has counted. Limits: the allocator's fragmentation and the CUDA context are the caller's to add; families
outside the table are computed as the decoder that is most like them, and not held to the tracker; what several
processes need follows from how PyTorch's DDP and FSDP2 work and was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tasks.models.attention import LONGEST
from tasks.models.families import PRODUCTS
from tasks.models.precision import Precision
from tasks.models.shape import ModelShape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GIB = 1024**3
# A weight of 4 bits with its share of the quantisation constants (QLoRA, arXiv:2305.14314, double quantisation).
BYTES_NF4 = 0.516
_STATE = {"adamw_8bit": 2, "paged_adamw_8bit": 2}  # bytes of the optimiser's averages a weight; else two in float32


@dataclass(frozen=True, slots=True)
class Step:
    """One forward and backward pass: `sequences` of `length` tokens, `answers` positions that have a loss.

    `frozen_bytes` and `counted` are the bytes of frozen and the number of trained weights of a model that is loaded.
    """

    shape: ModelShape
    precision: Precision
    sequences: int
    length: int
    answers: int
    tune: Literal["lora", "full"] = "lora"
    rank: int = 16
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    first_layer: int = 0
    quantized: bool = False
    checkpointing: bool = False
    optimizer: str = "adamw"
    beside: int = 0  # bytes of frozen weights held beside the model: a reference, a reward model
    frozen_bytes: int | None = None
    counted: int | None = None
    processes: int = 1  # that train together, each on a device of its own
    shards: int = 1  # parts that the model is divided into among them

    @property
    def tokens(self) -> int:
        """Tokens of one pass."""
        return self.sequences * self.length

    @property
    def trained(self) -> int:
        """Weights that are trained, always in float32."""
        if self.counted is not None:
            return self.counted
        if self.tune == "full":
            return self.shape.parameters
        sizes = self.shape.linear_sizes
        each = sum(self.rank * (sizes[name][0] + sizes[name][1]) for name in self.targets)
        return each * (self.shape.layers - self.first_layer)

    @property
    def averages(self) -> int:
        """Bytes of the optimiser's state."""
        return _STATE.get(self.optimizer, 8) * self.trained


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by what they hold, at the moment of the peak."""

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """The peak."""
        return self.weights + self.adapter + self.gradients + self.optimiser + self.activations + self.logits


def step_memory(step: Step) -> Memory:
    """The peak of one step of `step.tune`, from the second step on, when the optimiser's state exists.

    With several processes it is that of each.
    """
    trained = step.trained
    full = step.tune == "full"
    weights = step.beside + (4 * trained if full else frozen_weights(step))
    adapter = 0 if full else 4 * trained
    forward = Memory(weights, adapter, 0, step.averages, _activations(step), _logits(step))
    # When activations are gone, all gradients are there; that of tied embeddings comes from both ends, to be added up.
    twice = 2 * 4 * step.shape.vocabulary * step.shape.hidden if full and step.shape.tied else 0
    update = Memory(weights, adapter, 4 * trained + twice, step.averages, 0, 0)
    # On the way back gradients grow as activations go: half of each is the middle of that way.
    middle = Memory(weights, adapter, 2 * trained, step.averages, forward.activations // 2, 0)
    moments = [forward, update, middle]
    if step.checkpointing:
        # Logits are gone when the first layer is computed again.
        again = forward.activations + _layer_bytes(step)
        moments.append(Memory(weights, adapter, 0, step.averages, again, 0))
    moments = [_of_each(step, memory) for memory in moments]
    if step.shards > 1:
        moments.append(Memory(weights, adapter, 0, 0, 0, 0))  # as it is loaded, before it is divided
    return max(moments, key=lambda memory: memory.total)


def _of_each(step: Step, memory: Memory) -> Memory:
    """What each of several processes holds of what one would hold."""
    if step.shards == 1:
        # DDP copies gradients into buckets that it sends, and keeps them.
        buckets = 4 * step.trained if step.processes > 1 else 0
        return replace(memory, gradients=memory.gradients + buckets)
    shape, size = step.shape, _working(step)
    # Whole are the embeddings, and two layers: the one that is computed and the one that is fetched meanwhile.
    gathered = shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + 2 * shape.linear_parameters // shape.layers
    gradients = 4 * gathered if step.tune == "full" else 0
    return replace(
        memory,
        weights=memory.weights // step.shards + size * gathered,
        adapter=memory.adapter // step.shards,
        gradients=memory.gradients // step.shards + gradients,
        optimiser=memory.optimiser // step.shards,
    )


def frozen_weights(step: Step) -> int:
    """Bytes of the base model as it is held while an adapter on it is trained."""
    if step.frozen_bytes is not None:
        return step.frozen_bytes
    size = BYTES[step.precision.weights]
    if not step.quantized:
        return size * step.shape.parameters
    rest = step.shape.parameters - step.shape.linear_parameters
    return int(BYTES_NF4 * step.shape.linear_parameters + size * rest)


def _activations(step: Step) -> int:
    """What the forward pass keeps for the backward pass, all layers together."""
    trained_layers = step.shape.layers - (0 if step.tune == "full" else step.first_layer)
    layer = _layer_bytes(step)
    stream = (4 if step.tune == "full" else _working(step)) * step.shape.hidden * step.tokens
    if step.checkpointing:
        return (trained_layers + 1) * stream
    kept = trained_layers * layer + stream
    if step.tune == "full" and step.precision.autocast is not None and step.shards == 1:
        # Autocast's copies of the weights live as long as the graph that refers to them.
        kept += BYTES[step.precision.autocast] * step.shape.linear_parameters
    return kept


def _working(step: Step) -> int:
    """Bytes of a number in matrix products."""
    return BYTES[step.precision.autocast or step.precision.weights]


def _layer_bytes(step: Step) -> int:
    """Bytes that one layer saves."""
    shape, size = step.shape, _working(step)
    full = step.tune == "full"
    # Two norms work in float32 and save their input; trained, they save their output, too. Both feed matrix products.
    norms = 2 * shape.hidden * (4 + size + (4 if full else 0))
    # Fused attention: queries, keys and values (repeated to the number of query heads), output, one float32 a head.
    attention = 4 * size * shape.queries + 4 * shape.heads
    if shape.qk_norm:
        attention += (4 + (size if full else 0)) * (shape.queries + shape.keys)
    # gate, silu(gate), up, and their product, which goes into the last matrix product.
    gated = 4 * size * shape.intermediate
    token = norms + attention + gated + (0 if full else size * step.rank * len(step.targets))
    return token * step.tokens + _scores(step)


def _scores(step: Step) -> int:
    """Bytes of a layer's attention matrix, by kernels that keep it: the softmax, eager's in float32 and once more."""
    kernel, size = step.precision.attention, _working(step)
    number = step.sequences * step.shape.heads * step.length**2
    if kernel == "eager":
        return number * (4 if size == 4 else 4 + size)
    return number * size if kernel == PRODUCTS and step.length <= LONGEST else 0


def _logits(step: Step) -> int:
    """Log-probabilities, the gradient of the loss and that of the logits, each in float32, at the loss's positions."""
    return 3 * 4 * step.answers * step.shape.vocabulary


def answering_memory(shape: ModelShape, precision: Precision, batch: int, prompt: int, answer: int) -> Memory:
    """Generation: weights, the cache of keys and values, and while prompts are read one layer's arithmetic.

    `batch` prompts of `prompt` tokens get answers of `answer` tokens; an adapter's own weights are too few to count.
    """
    size = BYTES[precision.autocast or precision.weights]
    cache = 2 * shape.layers * shape.keys * (prompt + answer) * batch * size
    reading = batch * prompt * size * (3 * shape.intermediate + 2 * shape.hidden)
    scores = batch * shape.vocabulary * (size + 4)
    return Memory(BYTES[precision.weights] * shape.parameters, 0, 0, 0, cache + reading, scores)
