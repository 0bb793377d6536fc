"""From rows that passed validation to the splits of a dataset: dedupe, divide, decontaminate, mix; all are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.data.dataset import Accounting
from tasks.data.dedupe import CONTAMINATIONS, TestRows, drop_contaminated, drop_duplicates
from tasks.data.example import Example
from tasks.data.feedback_source import databases_of_feedback, hold_failures, remembered
from tasks.data.held import Undrawn
from tasks.data.mixture import Mixed, mix
from tasks.data.spec import DataSpec, source_shares
from tasks.data.splits import SPLITS, assign_splits, split_key


@dataclass(frozen=True, slots=True)
class Divided:
    """The splits, and where the other rows went: ids of `duplicate`, and of contaminated rows by what they share."""

    splits: dict[str, list[Example]]
    assignment: dict[str, str]
    duplicate: list[str]
    contaminated: dict[str, list[str]]
    mixed: Mixed

    @property
    def dropped(self) -> dict[str, list[str]]:
        """Ids of all rows that are in no split, by why they went."""
        met = [id for ids in self.contaminated.values() for id in ids]
        return {"duplicate": self.duplicate, "contaminated": met, "unused": self.mixed.unused}

    def accounting(
        self, rows: int, quarantined: int, reasons: Mapping[str, int], undrawn: Sequence[Undrawn] = ()
    ) -> Accounting:
        """The account of `rows` records, `quarantined` of which never came here, and of the `undrawn` ones."""
        gone = {reason: len(ids) for reason, ids in self.dropped.items()}
        left: Counter[str] = Counter()
        for source in undrawn:
            left[source.source] += source.rows
        return Accounting(
            rows=rows + left.total(),
            undrawn=left.total(),
            undrawn_of=dict(left),
            kept=self.mixed.distinct + sum(len(self.splits[split]) for split in SPLITS if split != "train"),
            quarantined=quarantined,
            reasons=dict(reasons),
            contaminations={reason: len(ids) for reason, ids in self.contaminated.items() if ids},
            **gone,
        )


def divide(examples: Sequence[Example], spec: DataSpec, before: Mapping[str, str]) -> Divided:
    """The splits of `examples`; `before` is last night's assignment.

    Splits come first, so that no repeat of a training row is ever validated or tested on; then training and validation
    are cleaned of what they share with test rows; what is left for training is mixed. Raises UserError for splits or
    weights that contradict the data.
    """
    # Failures held out of training come first, lest a copy in another source takes their place.
    held, others = hold_failures(examples, before)
    unique, duplicates = drop_duplicates([*held, *others])
    barred = {id(example) for example in held}
    held, others = [e for e in unique if id(e) in barred], [e for e in unique if id(e) not in barred]
    assignment = assign_splits(others, spec.splits, databases_of_feedback(others) | dict(before))
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for example in others:
        splits[assignment[split_key(example, spec.splits)]].append(example)
    # Users ask about few databases: a held question bars itself and its like, not all others about its database.
    test = TestRows(splits["test"], spec.decontaminate, by_database=spec.splits.by == "database")
    failures = TestRows(held, spec.decontaminate, by_database=False)
    contaminated: dict[str, list[str]] = {reason: [] for reason in CONTAMINATIONS}
    for split in ("train", "validation"):
        for rows in (test, failures):
            found = drop_contaminated(splits[split], rows)
            splits[split] = found.kept
            for reason, ids in found.dropped.items():
                contaminated[reason] += ids
    splits["test"] += held
    assignment |= remembered(held, splits["train"])
    mixed = mix(splits["train"], spec.mixture, source_shares(spec.sources))
    splits["train"] = mixed.rows
    return Divided(splits, assignment, duplicates, contaminated, mixed)
