"""The trainer process: `python -m tasks.training.session JOB.json`.

The base model is loaded once and all stages run inside, each from the live model of the one before, which must hold the
very weights that stage wrote. Finished stages (their marker is there) are skipped; a broken one resumes from its last
whole checkpoint. The process ends itself when its parent is gone, so that a killed night leaves no trainer behind, and
a file lock keeps two trainers apart.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from infra.cores import usable_cores
from infra.errors import NightshiftError, UserError
from tasks.models.precision import Precision, Work, choose_precision, installed_kernels, probe_device
from tasks.models.process import child_main, write_atomically
from tasks.models.unsloth import import_unsloth
from tasks.training import ranks
from tasks.training.engine import Engine, Method, Run, Trained
from tasks.training.fitting import fit_batch, release_memory, take_less
from tasks.training.job import ADAPTER, ENDED, PROGRESS, STAGE_MARKER, StageJob, StageResult, TrainingJob, read_result
from tasks.training.memory import forget_peak, peak_memory
from tasks.training.methods import find_method
from tasks.training.preflight import check_adapter, lengths, show_example
from tasks.training.rungs import Watch


def run_session(job: TrainingJob, work: Path) -> None:
    """Run every unfinished stage of `job` below the folder `work`."""
    if job.training.backend == "unsloth":
        import_unsloth(probe_device())  # before transformers, which it patches
    import torch
    from transformers import set_seed

    engine = Engine(job, work, training_precision(job))
    ranks.begin(job.training.processes, cpu=probe_device().kind == "cpu", sharded=job.training.shards > 1)
    torch.set_num_threads(max(1, usable_cores() // ranks.count()))
    live: dict[Path, Any] = {}  # the policy in memory, by the folder it was written to
    for stage in job.stages:
        folder = work / stage.folder
        if read_result(folder) is not None:
            continue
        method, started = find_method(stage.spec.method), time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        engine.fitted, model = None, None
        while model is None:
            set_seed(job.training.seed)
            model = _starting_model(engine, method, stage, live)
            try:
                _train_stage(engine, method, stage, model, started)
            except RuntimeError as error:
                if ranks.count() > 1:
                    raise  # the others wait within their step: the launcher ends them
                take_less(engine, stage, error)
                live, model = {}, None  # what broke off holds half a step: all is loaded anew
            if model is None:
                release_memory()
        ranks.wait_for_all()  # the first process has written the stage
        if job.training.shards > 1:
            engine.drop_base()  # a divided model cannot be divided again: the next stage loads what this one wrote
        elif stage.spec.yields == "policy":
            live = {folder / ADAPTER: model}


def training_precision(job: TrainingJob) -> Precision:
    """What this machine's hardware and the kernels it has make of the job."""
    from transformers import AutoConfig

    from tasks.models.families import family_of

    spec = job.training
    work = Work(
        trains_all=spec.tune == "full" and not spec.soft_prompt,
        float16=family_of(AutoConfig.from_pretrained(job.base)).float16,
        mask_matrix=any(spec.share_of(stage.spec) > 1 for stage in job.stages),
    )
    return choose_precision(probe_device(), work, installed_kernels())


def _starting_model(engine: Engine, method: Method, stage: StageJob, live: dict[Path, Any]) -> Any:
    """The model that `stage` trains: live or loaded, its weights are those of the folder it starts from."""
    from tasks.training.parts import check_start

    before = engine.work / stage.before / ADAPTER if stage.before else Path(engine.job.start or "")
    if stage.spec.yields == "reward" or not (stage.before or engine.job.start):
        return method.start(engine, stage, None)
    model = live[before] if before in live else method.start(engine, stage, before)
    check_start(model, before, f"stage {stage.spec.name}")
    return model


def _train_stage(engine: Engine, method: Method, stage: StageJob, model: Any, started: float) -> None:
    from tasks.training.parts import trainable, weights_digest

    folder = engine.work / stage.folder
    watch = Watch(engine.job.rungs if stage == engine.job.stages[-1] else ())

    def progress(step: int, steps: int, loss: float | None) -> None:
        if loss is None:
            return
        write_atomically(folder / PROGRESS, {"step": step, "steps": steps, "loss": loss})
        if (ended := watch.see(step, steps, loss)) is not None:
            write_atomically(folder / ENDED, ended.model_dump(mode="json"))
            raise NightshiftError(ended.why)

    check_adapter(model)
    prepared = method.prepare(engine, stage, model)
    if not prepared.train.rows:
        raise UserError(f"stage {stage.spec.name}: no row fits training.max_length={engine.training.max_length}")
    estimate = fit_batch(engine, stage, model, prepared)
    forget_peak()
    run = Run(engine, stage, model, prepared.train.rows, prepared.validation, folder, progress)
    untrained = weights_digest(model)
    trained = method.train(run)
    check_adapter(model)
    _check_learning(trained, weights_digest(model) != untrained, stage.spec.name)
    # The adapter is written beside its final place and renamed: the folder is either absent or whole.
    making = folder / f"{ADAPTER}.tmp"
    if ranks.is_first():
        shutil.rmtree(making, ignore_errors=True)
    method.save(run, making)
    if not ranks.is_first():
        return
    engine.tokenizer.save_pretrained(making)
    (making / "prompt.json").write_text(engine.job.prompt.model_dump_json(indent=2))
    shutil.rmtree(folder / ADAPTER, ignore_errors=True)
    making.rename(folder / ADAPTER)
    result = StageResult(
        name=stage.spec.name,
        method=stage.spec.method,
        fingerprint=stage.fingerprint,
        rows=len(prepared.train.rows),
        dropped=prepared.train.dropped,
        tables_dropped=prepared.train.tables_dropped,
        steps=trained.steps,
        tokens=prepared.train.tokens,
        seconds=round(time.perf_counter() - started, 2),
        resumed_from=trained.resumed_from,
        curve=trained.curve,
        eval_loss=trained.eval_loss,
        trainable=sum(tensor.numel() for tensor in trainable(model).values()),
        peak_memory_mb=round(peak_memory() / 2**20, 1),
        memory_estimate_mb=round(estimate / 2**20, 1),
        precision=engine.precision.weights,
        device=probe_device().name,
        metrics=prepared.metrics | trained.metrics | {"batch": float(engine.training.sequences_at_once(stage.spec))},
        lengths=lengths(prepared.train.rows),
        example=show_example(prepared.train.rows[0], engine.tokenizer),
    )
    write_atomically(folder / STAGE_MARKER, result.model_dump(mode="json"))
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def _check_learning(trained: Trained, changed: bool, name: str) -> None:
    """A stage that ran no step, lost its loss or changed no weight has not trained, whatever it reports."""
    if trained.steps == 0 or not trained.curve:
        raise NightshiftError(f"stage {name} ran no optimiser step")
    if any(loss != loss for _, loss in trained.curve):
        raise NightshiftError(f"stage {name}: the training loss became not a number")
    if not changed:
        raise NightshiftError(f"stage {name} changed no weight: nothing was learnt")


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
    """Run the job file `path` inside its folder, alone; of several processes the first one holds the lock."""
    lock = _lock(path.parent) if ranks.is_first() else None
    run_session(TrainingJob.model_validate_json(path.read_text()), path.parent)
    if lock is not None:
        lock.close()


if __name__ == "__main__":
    raise SystemExit(child_main(run, sys.argv))
