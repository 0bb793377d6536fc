"""The preference pairs of a stage: training and validation rows with wrong answers from the stage's own origins."""

from __future__ import annotations

from typing import Any

from infra.errors import UserError
from tasks.sql.workers import JudgePool
from tasks.training.endpoint import propose_from_endpoint
from tasks.training.engine import Engine, Prepared
from tasks.training.job import StageJob
from tasks.training.pairs import Pairs, Proposer, build_pairs, propose_edits
from tasks.training.policy_samples import propose_samples
from tasks.training.preference_rows import tokenise_pairs
from tasks.training.specs.pairs import PairSpec

VALIDATION_ROWS = 128  # of which pairs are made: enough to see an accuracy move
_JUDGES = 2


def prepare_pairs(engine: Engine, stage: StageJob, policy: Any) -> Prepared:
    """Pairs of the stage's rows as token ids, checked, with counts of what was tried, kept and dropped.

    `policy` answers for the origin `policy`. Pairs lie in the stage's folder, so that a broken stage makes none again.
    """
    spec: PairSpec = stage.spec.pairs
    training, folder = engine.training, engine.work / stage.folder
    made: dict[str, Proposer] = {
        "policy": propose_samples(policy, engine.prompter, spec, training.seed),
        "rules": propose_edits(spec, training.seed),
    }
    if spec.endpoint is not None:
        made["endpoint"] = propose_from_endpoint(spec.endpoint, folder / "endpoint.jsonl")
    with JudgePool(workers=_JUDGES) as pool:
        found = build_pairs(engine.rows(stage), spec, made, pool.judge, folder / "pairs")
        held_out = build_pairs(engine.validation[:VALIDATION_ROWS], spec, made, pool.judge, folder / "pairs-held-out")
    if not found.pairs:
        raise UserError(
            f"stage {stage.spec.name}: none of its {len(engine.rows(stage))} rows gave a preference pair "
            f"({_shown(found)}); add rows whose gold runs, or origins to `pairs`"
        )
    rows = tokenise_pairs(found.pairs, engine.prompter, training.max_length, training.max_dropped_share)
    validation = tokenise_pairs(held_out.pairs, engine.prompter, training.max_length, 1.0)
    return Prepared(rows, validation.rows, {f"pairs_{fate}": float(n) for fate, n in found.summary().items()})


def _shown(found: Pairs) -> str:
    return ", ".join(f"{count} {fate}" for fate, count in found.summary().items() if count)
