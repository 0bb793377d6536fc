"""A model divided among the trainer's processes by FSDP2 (PyTorch documentation, `fully_shard`).

Each process holds its part of every weight, gradient and average of the optimiser, and a layer is whole only while it
is computed. transformers and accelerate divide the model when training begins; here is what the engine has to know of
it: how to ask for it, and how weights are read. Limit: until training begins every process holds the model whole, so
that its weights alone must fit on one GPU.
"""

from __future__ import annotations

from typing import Any

from infra.errors import NightshiftError
from tasks.models.precision import Precision
from tasks.training.spec import TrainingSpec


def arguments(training: TrainingSpec) -> dict[str, Any]:
    """What transformers' TrainingArguments are told about sharding; nothing when there is none."""
    return {} if training.shards == 1 else {"fsdp": True, "fsdp_config": {"version": 2}}


def prepare(config: Any, precision: Precision) -> None:
    """Let the divided model compute as autocast would: products in 16 bits, gradients added up in float32.

    accelerate adds them up in 16 bits where it is not told otherwise, and rounds what the model returns, the loss, to
    16 bits. `config` are the trainer's arguments; call it between their making and the trainer's.
    """
    if not config.fsdp_plugin_args:
        return
    import torch
    from accelerate import DistributedType, PartialState
    from torch.distributed.fsdp import MixedPrecisionPolicy

    state = PartialState()
    if state.device.type == "cpu":
        # On CPUs accelerate passes over what it is told about FSDP, without a word, though PyTorch divides there, too:
        # it looks at the kind of its processes alone, which the trainer's arguments have found out anew.
        state.distributed_type = DistributedType.MULTI_GPU
    if precision.autocast:
        half = getattr(torch, precision.autocast)
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
        config.fsdp_plugin_args["mixed_precision_policy"] = policy


def is_divided(model: Any) -> bool:
    """Whether a process holds only a part of `model`."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def check_divided(model: Any, shards: int) -> None:
    """Raise NightshiftError when a model that was to be divided is not: accelerate only passes over what it lacks."""
    if shards > 1 and not is_divided(model):
        raise NightshiftError(f"training.sharding: the model was not divided into {shards} parts; set sharding: none")


def give_up_gathered(model: Any) -> None:
    """Let each process hold its own part alone again, in float32, and read no copy in 16 bits of what is trained.

    A forward pass without a backward pass, as in an evaluation, leaves the embeddings and the head whole.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def own_part(tensor: Any) -> Any:
    """What this process holds of a tensor: a part, or all of it."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Any) -> Any:
    """The whole tensor; every process must ask for it, in the same order."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_state(model: Any, trained_only: bool) -> dict[str, Any] | None:
    """All weights of a divided model (or what is trained alone) on the CPU of the first process, elsewhere nothing.

    Every process must ask. None for a model that is not divided: its own state is whole.
    """
    if not is_divided(model):
        return None
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=trained_only)
    state = get_model_state_dict(model, options=options)
    for name in model.all_tied_weights_keys:
        state.pop(name, None)  # gathered apart from the other it would be written, too
    return state
