"""What differs between two runs besides what was studied: why their difference may have another cause.

A comparison of methods whose learning rates were searched with different effort, that saw other data, another prompt,
another base model, more tokens or another seed, says little about the methods. Each such difference is named. What
cannot change what is learnt (batches per device, checkpoints) is passed over, and LoRA's alpha counts as the scale it
gives: alpha / r, or alpha / sqrt(r) where the rank stabilises it. Limits: it sees settings, not causes; two runs
without a named difference were treated alike as far as their recipes say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.evaluation.runs import Run

TOKENS_APART = 0.05  # share by which trained tokens may differ
_NO_MATTER = ("save_steps", "upload_every", "per_device_batch", "gradient_checkpointing", "name")
_ALPHA, _SCALE = "training.lora.alpha", "training.lora.scale"
_RATE = "learning_rate"


def confounds(run: Run, reference: Run, varies: Sequence[str]) -> list[str]:
    """Each difference of `run` from `reference` beyond the paths in `varies` (and all below them), as a phrase."""
    found = []
    for name, ours, theirs in (
        ("training data", run.data_fingerprint, reference.data_fingerprint),
        ("prompt", run.prompt_fingerprint, reference.prompt_fingerprint),
    ):
        if ours and theirs and ours != theirs:
            found.append(f"another {name}")
    trained = run.candidates > 0 and reference.candidates > 0
    mine, others = _told(run.settings, trained), _told(reference.settings, trained)
    if mine.get("model") != others.get("model") and not _studied("model", varies):
        found.append(f"base model {_short(mine.get('model'))} against {_short(others.get('model'))}")
    if not trained:  # a model as it came has no settings of training to differ in
        return found
    rates_studied = any(path.endswith(_RATE) for path in varies)
    if not rates_studied:
        found += _effort(run, reference, mine, others)
    if run.tokens and reference.tokens and not _near(run.tokens, reference.tokens):
        found.append(f"{run.tokens:,} trained tokens against {reference.tokens:,}")
    for path in sorted(mine.keys() | others.keys()):
        if path == "model" or mine.get(path) == others.get(path) or _studied(path, varies):
            continue
        if path.endswith(_RATE) and not rates_studied and _rates(mine) != _rates(others):
            continue  # told with the effort
        found.append(f"{_plain(path)} {_show(mine.get(path))} against {_show(others.get(path))}")
    return found


def _effort(run: Run, reference: Run, mine: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """What stands between the two runs' learning rates."""
    if run.candidates != reference.candidates:
        return [f"{_count(run.candidates)} tried against {reference.candidates}"]
    ours, theirs = _rates(mine), _rates(others)
    if ours != theirs and run.candidates == 1:
        return [f"learning rate {_show_all(ours)} against {_show_all(theirs)}, searched for neither"]
    return []


def _told(settings: Mapping[str, Any], trained: bool) -> dict[str, Any]:
    """The settings that can matter, alpha as a scale."""
    kept = {
        path: value
        for path, value in settings.items()
        if path == "model" or (trained and path.rpartition(".")[2] not in _NO_MATTER)
    }
    rank, alpha = kept.get("training.lora.r"), kept.get(_ALPHA)
    if kept.get("training.tune") == "full":
        return {path: value for path, value in kept.items() if not path.startswith("training.lora.")}
    if rank and alpha:
        del kept[_ALPHA]
        kept[_SCALE] = alpha / (math.sqrt(rank) if kept.get("training.lora.rslora") else rank)
    return kept


def _studied(path: str, varies: Iterable[str]) -> bool:
    path = _ALPHA if path == _SCALE else path
    return any(path == one or path.startswith(f"{one}.") for one in varies)


def _rates(settings: Mapping[str, Any]) -> list[float]:
    """The learning rates of the policy's stages in order; stages that go on with the one before's count once."""
    rates = [
        value for path, value in sorted(settings.items()) if path.endswith(_RATE) and not _is_judge(path, settings)
    ]
    return [rate for rate, _ in itertools.groupby(rates)]


def _is_judge(path: str, settings: Mapping[str, Any]) -> bool:
    """Whether `path` lies in a stage that trains a reward model."""
    return settings.get(f"{path.rpartition('.')[0]}.method") == "reward"


def _near(one: int, two: int) -> bool:
    return abs(one - two) <= TOKENS_APART * max(one, two)


def _count(candidates: int) -> str:
    return "1 setting" if candidates == 1 else f"{candidates} settings"


def _plain(path: str) -> str:
    """`training.stages.0.max_steps` as `stage 1 max steps`, `training.lora.r` as `LoRA r`."""
    parts = path.removeprefix("training.").split(".")
    if parts[0] == "stages" and len(parts) > 2:
        parts = [f"stage {int(parts[1]) + 1}", *parts[2:]]
    elif parts[0] == "lora":
        parts = ["LoRA", *parts[1:]]
    return " ".join(parts).replace("_", " ")


def _show(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _show_all(values: Sequence[float]) -> str:
    return " and ".join(_show(value) for value in values) or "none"


def _short(reference: Any) -> str:
    """A model reference without its checksum."""
    return str(reference).partition("#")[0]
