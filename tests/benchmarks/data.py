"""Rows a second of ingest, validation and split, with memory and the share of each step.

Every size runs in a process of its own, so that its peak memory is its own. The rows are generated questions over some
sixty databases, each with its schema and rows as JSONL carries them: every gold query is executed. "quiet" is what the
CPU time used would give on free cores, one to `--cores` of them;
wall time depends on who else works on the machine. Figures of different machines do not compare.

    python -m tests.benchmarks.data 10000 100000
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

SIZES = (10_000, 100_000)
MADE = 10_000  # rows that are really different; a larger file repeats them over renamed databases


@dataclass
class Step:
    """What one step took: seconds on the clock, and of CPU in this process and its workers."""

    name: str
    wall: float
    cpu: float


def write_rows(path: Path, count: int) -> None:
    """Write `count` generated rows."""
    from tasks.data.synthetic.generate import GenerateSpec, generate

    wanted = min(count, MADE)
    examples = generate(
        GenerateSpec(train_per_database=wanted // 55 + 20, test_per_database=0, validation_per_database=0)
    )
    examples.sort(
        key=lambda example: example.id.rpartition("-")[2].zfill(6)
    )  # databases mixed, as a shuffled file has them
    with path.open("w", encoding="utf-8") as handle:
        written = round_ = 0
        while written < count:
            for example in examples[: count - written]:
                row = example.to_row()
                for name in ("file", "row", "difficulty", "tags", "source"):
                    row.pop(name)  # so that difficulty is computed and the split is a hash, as for rows of others
                row |= {"id": f"{row['id']}-{round_}", "db_id": f"{row['db_id']}{round_}"}
                if round_:
                    row["schema"] += f"\nCREATE TABLE round_{round_} (id INTEGER);"
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")
                written += 1
            round_ += 1


def measure(path: Path) -> dict[str, Any]:
    """Run the steps over a file; how long each took and the peak of memory."""
    import validation.run as run
    from tasks.data.build import divide
    from tasks.data.ingest import read_sources
    from tasks.data.sources import FileSource
    from tasks.data.spec import DataSpec
    from validation.spec import ValidationSpec

    steps: list[Step] = []
    source = FileSource(path=str(path))

    def timed(name: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), _cpu()
        result = work()
        steps.append(Step(name, time.perf_counter() - wall, _cpu() - cpu))
        return result

    plain = run.feature_rows
    run.feature_rows = lambda *a, **k: timed("features: parse, build, run gold", lambda: plain(*a, **k))
    read = timed("ingest: read, map, difficulty", lambda: read_sources([source]))
    undrawn = sum(left.rows for left in read.undrawn)
    spec = ValidationSpec()
    checked = timed("expectations (Great Expectations)", lambda: run.validate_examples(read.examples, read.bad, spec))
    outer = steps.pop()
    inner = [steps.pop() for _ in range(len(steps) - 1)]  # one for each chunk
    features = Step(inner[0].name, sum(step.wall for step in inner), sum(step.cpu for step in inner))
    steps += [features, Step(outer.name, outer.wall - features.wall, outer.cpu - features.cpu)]

    def split() -> dict[str, int]:
        divided = divide(checked.kept, DataSpec(sources=(source,)), {})
        return {name: len(part) for name, part in divided.splits.items()}

    counts = timed("split: duplicates, databases, contamination, mixture", split)
    return {
        "rows": checked.rows + undrawn,
        "undrawn": undrawn,
        "kept": len(checked.kept),
        "splits": counts,
        "steps": [vars(step) for step in steps],
        "memory_mb": (_peak(resource.RUSAGE_SELF) + _peak(resource.RUSAGE_CHILDREN)) / 1024,
    }


def _cpu() -> float:
    used = psutil.Process().cpu_times()
    return used.user + used.system + used.children_user + used.children_system


def _peak(who: int) -> float:
    return resource.getrusage(who).ru_maxrss


def compiled() -> bool:
    """Whether sqlglot runs as machine code."""
    import sqlglot.parser

    return not str(sqlglot.parser.__file__).endswith(".py")


def show(result: dict[str, Any], cores: int) -> None:
    """Print one size's table."""
    rows, steps = result["rows"], result["steps"]
    wall, cpu = sum(step["wall"] for step in steps), sum(step["cpu"] for step in steps)
    table = Table(title=f"{rows:,} rows, sqlglot {'compiled' if compiled() else 'pure'}, {result['memory_mb']:,.0f} MB")
    for name in ("step", "seconds", "CPU s", "share", "rows/s"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in steps:
        share = step["cpu"] / cpu
        rate = rows / step["wall"]
        table.add_row(step["name"], f"{step['wall']:.1f}", f"{step['cpu']:.1f}", f"{share:.0%}", f"{rate:,.0f}")
    table.add_row("all", f"{wall:.1f}", f"{cpu:.1f}", "100%", f"{rows / wall:,.0f}")
    table.add_row(
        f"all, quiet machine, 1 to {cores} cores", "", "", "", f"{rows / cpu:,.0f} to {cores * rows / cpu:,.0f}"
    )
    console = Console()
    console.print(table)
    console.print(f"kept {result['kept']:,}; beyond max_rows {result['undrawn']:,}; splits {result['splits']}")


def main() -> None:
    """Measure every size given (10,000 and 100,000 when none is) and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(json.dumps(measure(options.file)))
        return
    if importlib.util.find_spec("great_expectations") is None:
        raise SystemExit("great_expectations is not installed: run make setup")
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder:
        for size in options.sizes:
            path = Path(folder) / f"rows-{size}.jsonl"
            write_rows(path, size)
            command = [sys.executable, "-m", "tests.benchmarks.data", "--file", str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            show(json.loads(done.stdout.splitlines()[-1]), options.cores)
            path.unlink()


if __name__ == "__main__":
    main()
