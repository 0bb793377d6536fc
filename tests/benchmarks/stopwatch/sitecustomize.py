"""Python runs this file at every start when its folder is on PYTHONPATH: the stopwatch of `tests.benchmarks.overhead`.

Seconds of the main thread by what it does, each counted once: the innermost measured call has them. Calls of the
project are wrapped as soon as their module is imported. At the end the process leaves a line in STOPWATCH_FILE.
"""

from __future__ import annotations

import atexit
import builtins
import functools
import importlib
import json
import os
import sys
import threading
import time
from collections import defaultdict

WRAPPED = {
    "flows.prepare": {"validate_sources.fn": "data", "build_dataset.fn": "data"},
    "flows.train": {"plan": "training", "fetch_model": "training", "restore_stages": "training"},
    "tasks.models.process": {"ModelProcess.wait": "model", "ModelProcess.__init__": "model"},
    "flows.evaluate": {"answer": "evaluation", "judge": "evaluation", "find_candidates": "evaluation"},
    "infra.s3": {"S3Store.read": "store", "S3Store.write": "store", "S3Store.list": "store", "S3Store.create": "store"},
    "httpx": {"Client.send": "Prefect API"},
    "flows.embedded": {"_Start.finish": "Prefect server start"},
    "requests": {"Session.request": "MLflow"},
    "mlflow.store.tracking.sqlalchemy_store": {"SqlAlchemyStore.*": "MLflow"},
    "mlflow.store.model_registry.sqlalchemy_store": {"SqlAlchemyStore.*": "MLflow"},
}


class Stopwatch:
    """Exclusive seconds by label, of the thread that made it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.running: list[str] = ["rest"]
        self.since = time.perf_counter()
        self.thread = threading.get_ident()

    def switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def around(self, call, label):
        """`call`, counted under `label`."""

        @functools.wraps(call)
        def counted(*args, **more):
            if threading.get_ident() != self.thread:
                return call(*args, **more)
            self.switch()
            self.running.append(label)
            try:
                return call(*args, **more)
            finally:
                self.switch()
                self.running.pop()

        return counted


watch = Stopwatch()
_import, _import_module, _sleep = builtins.__import__, importlib.import_module, time.sleep
_waiting = dict(WRAPPED)


def _wrap_what_came() -> None:
    for name in [name for name in _waiting if name in sys.modules]:
        module = sys.modules[name]
        if getattr(getattr(module, "__spec__", None), "_initializing", False):
            continue
        for path, label in _waiting.pop(name).items():
            *parents, last = path.split(".")
            holder = functools.reduce(getattr, parents, module)
            names = [n for n in vars(holder) if not n.startswith("_") and callable(vars(holder)[n])]
            for attribute in names if last == "*" else [last]:
                setattr(holder, attribute, watch.around(getattr(holder, attribute), label))


def _counted_import(original):
    def call(*args, **more):
        if threading.get_ident() != watch.thread or watch.running[-1] == "imports":
            return original(*args, **more)
        watch.switch()
        watch.running.append("imports")
        try:
            return original(*args, **more)
        finally:
            watch.switch()
            watch.running.pop()
            if _waiting:
                _wrap_what_came()

    return call


def _report() -> None:
    watch.switch()
    line = {"pid": os.getpid(), "command": " ".join(sys.argv)[-120:], "began": BEGAN, "ended": time.time()}
    line |= {"run": os.environ.get("PREFECT__FLOW_RUN_ID", ""), "seconds": dict(watch.seconds)}
    with open(os.environ["STOPWATCH_FILE"], "a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


if "STOPWATCH_FILE" in os.environ:
    BEGAN = time.time()
    builtins.__import__ = _counted_import(_import)
    importlib.import_module = _counted_import(_import_module)
    time.sleep = watch.around(_sleep, "sleep")
    atexit.register(_report)
