"""The trainer process: `python -m tasks.training.session JOB.json`.

The base model is loaded once and all stages run inside, each from the live adapter of the one before. Finished stages
(their marker is there) are skipped; a broken one resumes from its last whole checkpoint. The process ends itself when
its parent is gone, so that a killed night leaves no trainer behind, and a file lock keeps two trainers apart.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from infra.errors import NightshiftError
from tasks.data.dataset import read_examples
from tasks.data.prompts import Prompter
from tasks.models.process import child_main, write_atomically
from tasks.training.job import ADAPTER, PROGRESS, STAGE_MARKER, StageJob, StageResult, TrainingJob, read_result
from tasks.training.preflight import check_adapter, check_rows, tokenise


def run_session(job: TrainingJob, work: Path) -> None:
    """Run every unfinished stage of `job` below the folder `work`."""
    import torch
    from transformers import set_seed

    from tasks.models.loading import load_base, load_tokenizer
    from tasks.models.precision import choose_precision, probe_device

    precision = choose_precision(probe_device())
    tokenizer = load_tokenizer(Path(job.base))
    prompter = Prompter(job.prompt, tokenizer)
    base = load_base(Path(job.base), precision)
    base.config.use_cache = False
    spec = job.training
    validation = tokenise(read_examples(work / job.validation), prompter, spec.max_length, 1.0).rows
    model: Any = None
    torch.set_num_threads(max(1, os.cpu_count() or 1))
    for index, stage in enumerate(job.stages):
        folder = work / stage.folder
        if read_result(folder) is not None:
            continue
        set_seed(spec.seed)
        if model is None:
            model = _starting_adapter(base, job, work, index)
        check_adapter(model)
        _train_stage(model, tokenizer, prompter, job, stage, validation, precision, work)


def _starting_adapter(base: Any, job: TrainingJob, work: Path, index: int) -> Any:
    """A fresh adapter for the first stage, else the one the stage before left."""
    from tasks.models.loading import load_adapter
    from tasks.training.methods.sft import add_adapter

    if index == 0:
        return add_adapter(base, job.training.lora)
    return load_adapter(base, work / job.stages[index - 1].folder / ADAPTER, trainable=True)


def _train_stage(
    model: Any,
    tokenizer: Any,
    prompter: Prompter,
    job: TrainingJob,
    stage: StageJob,
    validation: list[dict[str, list[int]]],
    precision: Any,
    work: Path,
) -> None:
    from tasks.training.methods.sft import train_sft

    folder, started = work / stage.folder, time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    tokenised = tokenise(
        read_examples(work / stage.rows), prompter, job.training.max_length, job.training.max_dropped_share
    )
    check_rows(tokenised, tokenizer)

    def progress(step: int, steps: int, loss: float | None) -> None:
        if loss is not None:
            write_atomically(folder / PROGRESS, {"step": step, "steps": steps, "loss": loss})

    curve, eval_loss, steps, resumed = train_sft(
        model, tokenizer, tokenised.rows, validation, stage.spec, job.training, precision, folder, progress
    )
    check_adapter(model)
    _check_learning(model, curve, steps, stage.spec.name)
    # The adapter is written beside its final place and renamed: the folder is either absent or whole.
    making = folder / f"{ADAPTER}.tmp"
    shutil.rmtree(making, ignore_errors=True)
    model.save_pretrained(making)
    tokenizer.save_pretrained(making)
    (making / "prompt.json").write_text(job.prompt.model_dump_json(indent=2))
    _forget_paths(making, job)
    shutil.rmtree(folder / ADAPTER, ignore_errors=True)
    making.rename(folder / ADAPTER)
    result = StageResult(
        name=stage.spec.name,
        method=stage.spec.method,
        fingerprint=stage.fingerprint,
        rows=len(tokenised.rows),
        dropped=tokenised.dropped,
        tables_dropped=tokenised.tables_dropped,
        steps=steps,
        tokens=tokenised.tokens,
        seconds=round(time.perf_counter() - started, 2),
        resumed_from=resumed,
        curve=curve,
        eval_loss=eval_loss,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        peak_memory_mb=round(_peak_memory_mb(), 1),
        precision=precision.weights,
    )
    write_atomically(folder / STAGE_MARKER, result.model_dump(mode="json"))
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _check_learning(model: Any, curve: list[tuple[int, float]], steps: int, name: str) -> None:
    """A stage that ran no step, lost its loss or left its adapter at zero has not trained, whatever it reports."""
    if steps == 0 or not curve:
        raise NightshiftError(f"stage {name} ran no optimiser step")
    if not all(loss == loss and loss > 0 for _, loss in curve):
        raise NightshiftError(f"stage {name}: the training loss became zero or not a number")
    norm = sum(float(p.detach().abs().sum()) for n, p in model.named_parameters() if "lora_B" in n)
    if norm == 0:
        raise NightshiftError(f"stage {name} left the adapter at zero")


def _forget_paths(adapter: Path, job: TrainingJob) -> None:
    """PEFT notes the base model's folder on this machine; a release must not carry it."""
    config = adapter / "adapter_config.json"
    content = json.loads(config.read_text())
    content["base_model_name_or_path"] = Path(job.base).name
    config.write_text(json.dumps(content, indent=2, sort_keys=True))
    (adapter / "README.md").unlink(missing_ok=True)


def _peak_memory_mb() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2


def _lock(work: Path) -> Any:
    """One trainer a work folder: waits a moment for a predecessor that is ending."""
    import fcntl

    handle = (work / "trainer.lock").open("w")
    for _ in range(40):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            time.sleep(0.25)
    raise NightshiftError("another trainer is working on this night")


def run(path: Path) -> None:
    """Run the job file `path` inside its folder, alone."""
    lock = _lock(path.parent)
    run_session(TrainingJob.model_validate_json(path.read_text()), path.parent)
    lock.close()


if __name__ == "__main__":
    raise SystemExit(child_main(run, sys.argv))
