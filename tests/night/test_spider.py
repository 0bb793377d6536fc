"""A night on Spider's layout: rows, tables.json and database files, with the tiny model (a minute or two)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import nightshift

SMALL = [
    "model=random:llama-tiny",
    "data.sources.1.train_per_database=2",
    "data.splits.validation_share=0.02",  # a long validation split takes the tiny model long
    "prompt.max_tokens=3000",  # the byte tokenizer needs a token a character
    "training.max_length=3500",
    "training.lora={r: 4, alpha: 8}",
    *(f"training.stages.{stage}.data.max_samples=8" for stage in range(3)),
    "evaluation.max_samples=30",
    "evaluation.max_new_tokens=8",
    "gates=[{metric: execution_accuracy, min: 0.0}]",
]


@pytest.mark.night
def test_a_night_on_spider_is_tested_on_databases_it_never_saw(project: Path, real_data: Path) -> None:
    spider = real_data / "spider"
    options = [part for setting in (f"data.sources.0.path={spider}", *SMALL) for part in ("--set", setting)]
    code, outcome = nightshift(project, "retrain", "spider", *options)
    assert (code, outcome["outcome"]) == (0, "promoted")
    store = project / ".nightshift" / "store"
    (manifest,) = (json.loads(path.read_text()) for path in store.glob("datasets/*/manifest.json"))
    accounting = manifest["accounting"]
    generated = manifest["sources"]["train"]["synthetic"]
    assert generated > 100
    assert accounting["rows"] - 3000 in range(generated, generated + 8)  # but for those that are like a test row
    assert accounting["quarantined"] == 3
    assert manifest["sources"]["test"].keys() == {"spider"}
    assert len(set(manifest["databases"].values())) == 3
    (folder,) = store.glob("datasets/*/")
    rows = {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "validation", "test")
    }
    assert not {row["db_id"] for row in rows["train"]} & {row["db_id"] for row in rows["test"]}
    assert {row["database"] for row in rows["train"]} == {""}
    assert all((store / row["database"]).is_file() for row in rows["test"])
    learned = [row["sql"] for row in rows["train"] if row["source"] == "spider"]
    assert sum("T1." in sql for sql in learned) < 0.03 * len(learned)  # where a table is read twice
    assert sum("  " in sql for sql in learned) < 0.01 * len(learned)  # within a text
    assert any(" AS T1" in row["sql"] for row in rows["test"])  # what answers are judged by stays as it came
    assert str(spider) not in json.dumps([row["database"] for row in rows["test"]])
    # Gold has rows: it ran on the database files, not on empty tables made from the schema.
    database_of = {row["id"]: row["db_id"] for row in rows["test"]}
    for path in store.glob("scorecards/*.json"):
        card = json.loads(path.read_text())
        assert card["gold"]["ok"] >= 25
        # A sample of the test rows is about most of their databases, not about the first ones of the file.
        assert len({database_of[example["id"]] for example in card["examples"]}) >= 8
