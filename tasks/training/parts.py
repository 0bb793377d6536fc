"""The trainable part of a model: a LoRA adapter, a soft prompt or all weights; made, loaded, compared, written.

A stage starts from the very weights that the stage before wrote: `check_start` compares them tensor by tensor, because
PEFT only warns when it puts a fresh adapter where a trained one was meant.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from infra.errors import NightshiftError, UserError, first_line
from tasks.models.loading import ADAPTER_CONFIG, is_whole_model, load_adapter, load_base
from tasks.training import ranks
from tasks.training.engine import Engine
from tasks.training.sharding import whole, whole_state
from tasks.training.specs.lora import LoraSpec


def start_policy(engine: Engine, before: Path | None) -> Any:
    """The policy to train, as `training.tune` says: from the folder `before`, or fresh."""
    whole = engine.training.tune == "full"
    if before is not None:
        if is_whole_model(before) != whole:
            kind = "all weights of a model" if not whole else "an adapter"
            raise UserError(f"training.tune={engine.training.tune}, but the folder it starts from holds {kind}")
        if engine.training.backend == "unsloth":
            return add_adapter_of_unsloth(engine, before)
        if not whole:
            return load_adapter(engine.base, before, trainable=True)
        model = load_base(before, engine.precision)
        model.config.use_cache = False
        return model.requires_grad_(True)
    if engine.training.backend == "unsloth":
        return add_adapter_of_unsloth(engine, None)
    return engine.base.requires_grad_(True) if whole else add_adapter(engine.base, engine.training.lora)


def add_adapter_of_unsloth(engine: Engine, before: Path | None) -> Any:
    """Unsloth's base with the adapter of `before`, or a fresh one."""
    from tasks.models import unsloth

    training = engine.training
    settings = adapter_settings(engine.base.config, training.lora)
    return unsloth.add_adapter(engine.base, settings, training.gradient_checkpointing, training.seed, before)


def add_adapter(base: Any, lora: LoraSpec) -> Any:
    """`base` with a fresh, trainable LoRA adapter; raises UserError when it has none of the target layers."""
    from peft import LoraConfig, get_peft_model

    task = "SEQ_2_SEQ_LM" if base.config.is_encoder_decoder else "CAUSAL_LM"
    config = LoraConfig(**adapter_settings(base.config, lora), use_dora=lora.dora, task_type=task)
    try:
        return get_peft_model(base, config)
    except ValueError as error:
        raise UserError(f"training.lora does not fit the model: {first_line(error)}") from None


def adapter_settings(config: Any, lora: LoraSpec) -> dict[str, Any]:
    """The recipe's adapter in the names of PEFT's LoraConfig, for a model with this `config`."""
    return {
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.targets if lora.targets == "all-linear" else list(lora.targets),
        "layers_to_transform": list(range(lora.first_layer, config.num_hidden_layers)) if lora.first_layer else None,
        "use_rslora": lora.rslora,
        "bias": "none",
    }


def trainable(model: Any) -> dict[str, Any]:
    """The trainable tensors of a model by name."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def weights_digest(model: Any) -> str:
    """A sha256 of the trainable weights, the same wherever they lie; every process of a divided model must ask."""
    digest = hashlib.sha256()
    for name, tensor in sorted(trainable(model).items()):
        digest.update(name.encode())
        digest.update(whole(tensor.detach()).cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_start(model: Any, folder: Path, what: str) -> None:
    """Every tensor that `folder` holds is in `model` with the same values; raises NightshiftError otherwise."""
    import torch
    from safetensors import safe_open

    here = _saved_names(model)
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - no mapping: it cannot be iterated
                if name not in here or not torch.equal(here[name].detach().cpu(), stored.get_tensor(name)):
                    raise NightshiftError(f"{what} does not start from the weights in {folder.name}: {name} differs")


def _saved_names(model: Any) -> dict[str, Any]:
    """A model's tensors under the names that `save_pretrained` writes."""
    from peft import PeftModel, get_peft_model_state_dict

    return get_peft_model_state_dict(model) if isinstance(model, PeftModel) else model.state_dict()


def save_part(run_model: Any, folder: Path, base_name: str) -> None:
    """Write the trained part into `folder`: an adapter, or the whole model after full fine-tuning.

    Of several processes the first one writes; a divided model is gathered from all of them.
    """
    from peft import PeftModel

    state = whole_state(run_model, trained_only=isinstance(run_model, PeftModel))
    if not ranks.is_first():
        return
    run_model.save_pretrained(folder, **({} if state is None else {"state_dict": state}))
    config = folder / ADAPTER_CONFIG
    if config.is_file():
        # PEFT notes the base model's folder on this machine; a release must not carry it.
        content = json.loads(config.read_text()) | {"base_model_name_or_path": base_name}
        config.write_text(json.dumps(content, indent=2, sort_keys=True))
    (folder / "README.md").unlink(missing_ok=True)
