"""LoRA's factor before B instead of after it: the same loss and gradients, to the bit where the factor allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tasks.training.inner_scale import scale_inside


def adapted(path: Path, alpha: int, **more: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
    targets = ["q_proj", "v_proj", "down_proj"]
    lora = LoraConfig(r=4, lora_alpha=alpha, target_modules=targets, init_lora_weights=False, **more)
    return get_peft_model(model, lora)


def step(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    ids = torch.arange(5, 37).reshape(2, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), grads


@pytest.mark.parametrize("alpha", [8, 2, 6])
def test_loss_and_gradients_are_those_of_peft(tiny_model: Path, alpha: int) -> None:
    model = adapted(tiny_model, alpha)
    loss, grads = step(model)
    with scale_inside(model):
        replaced = sum("forward" in module.__dict__ for module in model.modules())
        found, theirs = step(model)
    layers = model.config.num_hidden_layers
    assert replaced == 3 * layers
    assert grads.keys() == theirs.keys()
    assert len(grads) == 6 * layers
    if alpha == 6:  # 1.5 rounds
        assert float(found) == pytest.approx(float(loss), rel=1e-2)
    else:
        assert torch.equal(found, loss)
        assert all(torch.equal(grads[name], theirs[name]) for name in grads)
    assert not any("forward" in module.__dict__ for module in model.modules())  # as before


def test_what_is_not_plain_lora_stays_as_it_is(tiny_model: Path) -> None:
    for more in ({"use_dora": True}, {"lora_bias": True}):
        model = adapted(tiny_model, 8, **more)
        with scale_inside(model):
            assert not any("forward" in module.__dict__ for module in model.modules())


def test_a_switched_off_adapter_stays_off(tiny_model: Path) -> None:
    model = adapted(tiny_model, 8)
    ids = torch.arange(5, 21).reshape(1, 16)
    with scale_inside(model), torch.no_grad():
        on = model(input_ids=ids).logits
        with model.disable_adapter():
            off = model(input_ids=ids).logits
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(off, base(input_ids=ids).logits)
    assert not torch.equal(on, off)
