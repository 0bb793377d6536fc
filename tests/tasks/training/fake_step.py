"""One training step on fake tensors: true sizes, no memory, and PyTorch's tracker counting what would be held.

What the trainer does, in miniature: a base model in the precision of the device, a LoRA adapter or all weights in
float32, autocast, loss on the answers' positions alone, AdamW.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AutoConfig, AutoModelForCausalLM

from tasks.models.attention import register_products
from tasks.training.footprint import Step


class WholeTracker(MemTracker):
    """The tracker without its account of each module, which asks frozen weights for gradient hooks that they refuse and
    takes time that grows with the square of the layers; the whole is counted operation by operation all the same."""

    def _nothing(self, *_: Any) -> None:
        return None

    _pre_fw_hook = _post_fw_hook = _pre_bw_hook = _post_bw_hook = _nothing


def fake_peak(config: dict[str, Any], step: Step) -> int:
    """The most bytes that a step holds at once, the optimiser's state of earlier steps included."""
    register_products()
    model = _model(config, step)
    with FakeTensorMode():
        _fill(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, fused=True)
        for weight in trained:
            averages = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
            optimiser.state[weight] = {"step": torch.tensor(0.0), **averages}
        tracker = WholeTracker()
        tracker.track_external(model, optimiser)
        with tracker, disable_input_dtype_casting(model, active=step.tune == "lora"):
            _loss(model, step).backward()
            optimiser.step()
        return max(snapshot["Total"] for snapshot in tracker.get_tracker_snapshot("peak").values())


def _model(config: dict[str, Any], step: Step) -> Any:
    """The model on the meta device: shapes alone."""
    content = dict(config)
    dtype = torch.float32 if step.tune == "full" else getattr(torch, step.precision.weights)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(content.pop("model_type"), **content),
            dtype=dtype,
            attn_implementation=step.precision.attention,
        )
        if step.tune == "lora":
            layers = list(range(step.first_layer, step.shape.layers)) if step.first_layer else None
            lora = LoraConfig(
                r=step.rank, target_modules=list(step.targets), layers_to_transform=layers, task_type="CAUSAL_LM"
            )
            model = get_peft_model(model, lora, low_cpu_mem_usage=True)
    if step.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def _fill(model: nn.Module) -> None:
    """Fake tensors in place of the meta ones; tied weights stay tied, trained ones are float32."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, old in list(module._parameters.items()):
            if old is None:
                continue
            if id(old) not in made:
                dtype = torch.float32 if old.requires_grad else old.dtype
                made[id(old)] = nn.Parameter(torch.empty(old.shape, dtype=dtype), requires_grad=old.requires_grad)
            module._parameters[name] = made[id(old)]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _loss(model: Any, step: Step) -> Any:
    causal = model.get_base_model() if step.tune == "lora" else model
    shape = (step.sequences, step.length)
    ids = torch.zeros(shape, dtype=torch.long)
    mask = torch.ones(step.sequences, 1, step.length, step.length, dtype=torch.bool)
    dtype = getattr(torch, step.precision.autocast) if step.precision.autocast else None
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        hidden = causal.base_model(
            input_ids=ids, attention_mask=mask, position_ids=torch.zeros(shape, dtype=torch.long), use_cache=False
        ).last_hidden_state
        logits = causal.get_output_embeddings()(hidden.reshape(-1, step.shape.hidden)[: step.answers])
    return nn.functional.cross_entropy(logits.float(), torch.zeros(step.answers, dtype=torch.long), reduction="sum")
