"""One module per training method, found by the `method:` of a stage."""

from __future__ import annotations

from importlib import import_module

from tasks.training.engine import Method

_MODULES = {
    "sft": "tasks.training.methods.sft",
    "prompt_tuning": "tasks.training.methods.prompt_tuning",
    "seq2seq": "tasks.training.methods.seq2seq",
    "reward": "tasks.training.methods.reward",
    "dpo": "tasks.training.methods.dpo",
    "grpo": "tasks.training.methods.grpo",
}


def find_method(name: str) -> Method:
    """The method of that name; its module, which may import torch and TRL, is loaded when it is asked for."""
    return import_module(_MODULES[name]).METHOD
