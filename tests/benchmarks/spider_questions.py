"""Questions that people wrote, for adapters that were not trained on them: rows of Spider, drawn by hash.

Run: `python -m tests.benchmarks.spider_questions spider200.jsonl [COUNT]`, then what it prints. NIGHTSHIFT_REALDATA
names the folder that holds `spider/`, else ../shared/data does. From the same file of rows the same ones are drawn.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

from tests.realdata import SPIDER


def main() -> None:
    """Write the questions and say how they are asked."""
    from tasks.data.dataset import write_examples
    from tasks.data.ingest import read_sources
    from tasks.data.sources import FileSource

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="JSON Lines file to write")
    parser.add_argument("count", type=int, nargs="?", default=200, help="questions drawn")
    given = parser.parse_args()
    if not (SPIDER / "train_spider.jsonl").is_file():
        parser.error(f"no Spider sample at {SPIDER}; set NIGHTSHIFT_REALDATA to the folder that holds spider/")
    rows = read_sources([FileSource(path=str(SPIDER / "train_spider.jsonl"), name="spider")]).examples
    drawn = sorted(rows, key=lambda e: hashlib.sha256(f"{e.row - 1}|{e.question}".encode()).digest())[: given.count]
    write_examples(given.out, [replace(example, database="") for example in drawn])
    databases = len({example.db_id for example in drawn})
    print(f"{len(drawn)} questions about {databases} databases are in {given.out}; now ask an adapter:")
    print(f"nightshift evaluate Production --data {given.out} --databases {SPIDER / 'database'}")


if __name__ == "__main__":
    main()
