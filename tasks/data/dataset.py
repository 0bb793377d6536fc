"""The dataset: prepared train, validation and test splits as JSONL, with a manifest that accounts for every row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from infra.hashing import fingerprint_of_folder
from tasks.data.example import Example
from tasks.data.mixture import Mixed, SourceDraws
from tasks.data.splits import SPLITS
from tasks.data.strata import EVIDENCE_BUCKETS, evidence_bucket

MANIFEST = "manifest.json"


class Accounting(BaseModel):
    """Where every row went: rows = kept + quarantined + duplicate + contaminated + unused + undrawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    kept: int
    quarantined: int
    duplicate: int
    contaminated: int
    unused: int = Field(0, description="training rows that the mixture did not draw")
    undrawn: int = Field(0, description="rows beyond the max_rows of their source, left out when it was read")
    undrawn_of: dict[str, int] = Field(default_factory=dict, description="source -> its undrawn rows")
    reasons: dict[str, int] = Field(default_factory=dict, description="quarantine reasons and their counts")
    contaminations: dict[str, int] = Field(
        default_factory=dict, description="what contaminated rows share with test rows, and their counts"
    )

    def check(self) -> None:
        """Raise when a row is unaccounted for."""
        told = self.kept + self.quarantined + self.duplicate + self.contaminated + self.unused + self.undrawn
        if told != self.rows:
            raise UserError(f"{self.rows} rows came in but {told} are accounted for")


class Manifest(BaseModel):
    """What a dataset holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    accounting: Accounting
    splits: dict[str, int] = Field(description="rows per split, repeats of the mixture included")
    difficulty: dict[str, dict[str, int]] = Field(description="split -> difficulty -> rows")
    evidence: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="split -> words of evidence, in buckets -> rows"
    )
    sources: dict[str, dict[str, int]] = Field(default_factory=dict, description="split -> source -> rows")
    mixture: dict[str, SourceDraws] = Field(default_factory=dict, description="source -> what it gave to training")
    drawn_shares: dict[str, dict[str, tuple[float, float]]] = Field(
        default_factory=dict,
        description="difficulty and evidence -> value -> share of the training rows before the mixture drew, and after",
    )
    databases: dict[str, str] = Field(description="database (or database and query, in splits by row) -> split")
    domains: dict[str, list[str]] = Field(description="split -> its domains")
    ids: dict[str, list[str]] = Field(description="split -> row ids, each once, with the dropped ones by why they went")

    def summary(self) -> dict[str, Any]:
        """What people and reports want to see; no ids."""
        return self.model_dump(mode="json", exclude={"ids", "databases"})


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples as JSONL."""
    with path.open("w", encoding="utf-8") as handle:
        for example in examples:
            handle.write(json.dumps(example.to_row(), ensure_ascii=False) + "\n")


def read_examples(path: Path) -> list[Example]:
    """Read examples written by `write_examples`."""
    with path.open(encoding="utf-8") as handle:
        return [Example.from_row(json.loads(line)) for line in handle]


def write_dataset(
    folder: Path,
    splits: Mapping[str, Sequence[Example]],
    databases: Mapping[str, str],
    accounting: Accounting,
    dropped: Mapping[str, list[str]],
    mixed: Mixed | None = None,
) -> Manifest:
    """Write the splits and the manifest into `folder`; the fingerprint covers the rows of all splits.

    `mixed` is how the training rows were drawn; with its repeats, they are more than `accounting` keeps.
    """
    accounting.check()
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        write_examples(folder / f"{split}.jsonl", splits[split])
    ids = {split: [e.id for e in splits[split]] for split in SPLITS}
    if mixed:
        ids["train"] = list(dict.fromkeys(mixed.origin(id) for id in ids["train"]))
    manifest = Manifest(
        fingerprint=fingerprint_of_folder(folder, [f"{split}.jsonl" for split in SPLITS]),
        accounting=accounting,
        splits={split: len(splits[split]) for split in SPLITS},
        difficulty={split: _counts(e.difficulty for e in splits[split]) for split in SPLITS},
        evidence={split: _buckets(splits[split]) for split in SPLITS},
        sources={split: _counts(e.source for e in splits[split]) for split in SPLITS},
        mixture=mixed.draws if mixed else {},
        drawn_shares=mixed.shares if mixed else {},
        databases=dict(databases),
        domains={split: sorted({e.domain for e in splits[split] if e.domain}) for split in SPLITS},
        ids=ids | dict(dropped),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    return manifest


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _buckets(examples: Iterable[Example]) -> dict[str, int]:
    found = Counter(evidence_bucket(e.evidence) for e in examples)
    return {bucket: found[bucket] for bucket in EVIDENCE_BUCKETS}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset folder."""
    return Manifest.model_validate_json((folder / MANIFEST).read_text())
