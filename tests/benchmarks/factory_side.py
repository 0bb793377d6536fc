"""Trains by LLaMA-Factory, in its own environment: `python factory_side.py SETTINGS.json`, a list of its arguments.

The last line it prints is JSON: seconds with imports and loading, rows, slots (tokens and padding) and the process's
peak memory in MiB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path


def main(path: str) -> None:
    """Train every stage of the file, one after the other."""
    started = time.perf_counter()
    from llamafactory.train.tuner import run_exp

    rows = slots = 0
    for settings in json.loads(Path(path).read_text()):
        run_exp(dict(settings))
        state = json.loads((Path(settings["output_dir"]) / "trainer_state.json").read_text())
        rows += state["global_step"] * settings["per_device_train_batch_size"]
        slots += state["num_input_tokens_seen"]
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "rows": rows, "slots": slots, "peak_mb": peak}))


if __name__ == "__main__":
    main(sys.argv[1])
