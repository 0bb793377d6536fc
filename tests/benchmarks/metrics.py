"""Every metric together: judged rows a second on the Spider sample, and what texts and statistics take of it.

Run: `python tests/benchmarks/metrics.py [ROWS]`. NIGHTSHIFT_REALDATA names the folder that holds `spider/`, else the
sample is looked for in `../shared/data`. With the package `sqlglotc` installed, sqlglot runs compiled.

Two of five predictions are another query of the same database, one in five is gold written otherwise. Rates are given
by the clock and by processor seconds, all processes together: the second kind holds on a busy machine too.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console
from rich.table import Table
from sqlglot import parser

from tasks.data.example import Example
from tasks.evaluation import text_metrics
from tasks.evaluation.metrics import METRICS, summarise
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.scorecard import Scorecard, Subject
from tasks.evaluation.scorecard_build import build_scorecard
from tasks.evaluation.text_metrics import rouge_l, rouge_n, sentence_bleu
from tests.realdata import SPIDER


def sample(most: int | None) -> tuple[list[Example], list[Prediction]]:
    """Examples of the sample with planted predictions."""
    lines = (SPIDER / "train_spider.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    by_database: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_database[row["db_id"]].append(row["query"])
    chance = random.Random(5)
    examples, predictions = [], []
    for number, row in enumerate(chance.sample(rows, min(most or len(rows), len(rows)))):
        gold, kind = row["query"], number % 5
        answer = gold if kind < 2 else gold.replace(" JOIN ", " INNER JOIN ") + " " if kind == 2 else ""
        answer = answer or chance.choice(by_database[row["db_id"]])
        examples.append(Example(str(number), row["db_id"], row["question"], "", gold))
        predictions.append(Prediction(str(number), answer))
    return examples, predictions


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of processors, this process and the ones it waited for."""
    before, started = os.times(), time.perf_counter()
    run()
    after, ended = os.times(), time.perf_counter()
    return ended - started, sum(after[:4]) - sum(before[:4])


def texts(examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    """ROUGE and BLEU of every pair, as a scorecard has them, with nothing remembered of it."""
    text_metrics.words.cache_clear()
    text_metrics.sql_tokens.cache_clear()
    for example, prediction in zip(examples, predictions, strict=True):
        rouge_l(example.sql, prediction.prediction)
        rouge_n(example.sql, prediction.prediction, 1)
        rouge_n(example.sql, prediction.prediction, 2)
        sentence_bleu(example.sql, prediction.prediction)


def statistics(card: Scorecard) -> None:
    """All intervals of a scorecard, once more."""
    for metric in METRICS:
        summarise(metric, list(card.values(metric).values()))
    for values in card.slices.values():
        for metrics in values.values():
            for metric, interval in metrics.items():
                right = round(interval.value * interval.n)
                summarise(metric, [1.0] * right + [0.0] * (interval.n - right))


def main() -> None:
    """Print the table."""
    if not SPIDER.is_dir():
        print(f"not measured: no Spider sample at {SPIDER}; set NIGHTSHIFT_REALDATA to the folder that holds spider/")
        return
    examples, predictions = sample(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    cards: list[Scorecard] = []

    def score() -> None:
        subject = Subject(role="predictions", name="planted", fingerprint="")
        cards.append(build_scorecard(examples, predictions, subject, "t", databases=SPIDER / "database"))

    compiled = "pure Python" if str(parser.__file__).endswith(".py") else "compiled"
    table = Table("", "rows/s, clock", "rows/s, processor", "share of processor", title=f"{len(examples):,} rows")
    parts: list[tuple[str, Callable[[], object]]] = [
        (f"every metric, sqlglot {compiled}", score),
        ("ROUGE and BLEU of it", lambda: texts(examples, predictions)),
        ("statistics of it", lambda: statistics(cards[0])),
    ]
    whole = 0.0
    for name, run in parts:
        clock, processor = timed(run)
        whole = whole or processor
        rates = (f"{len(examples) / seconds:,.0f}" for seconds in (clock, max(processor, 1e-9)))
        table.add_row(name, *rates, f"{processor / whole:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
