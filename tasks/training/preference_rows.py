"""Preference pairs as token ids: the prompt of evaluation, and both answers closed by the same end token."""

from __future__ import annotations

from collections.abc import Sequence

from infra.errors import NightshiftError, UserError
from tasks.data.prompts import Prompter
from tasks.data.schema import PromptTooLong
from tasks.sql.features import features
from tasks.sql.parse import parse
from tasks.training.pairs import Pair
from tasks.training.preflight import Tokenised


def tokenise_pairs(pairs: Sequence[Pair], prompter: Prompter, max_length: int, max_dropped_share: float) -> Tokenised:
    """Rows of `prompt_ids`, `chosen_ids` and `rejected_ids`; pairs with an answer too long are dropped, never cut.

    Raises UserError when more than `max_dropped_share` of them are, NightshiftError when answers do not end alike.
    """
    rows, dropped, tables_dropped, end = [], 0, 0, prompter.end_ids[0]
    for pair in pairs:
        parsed = parse(pair.chosen, pair.dialect)
        keep = features(parsed.tree).tables if parsed.tree is not None else ()
        try:
            rendered = prompter.fit(pair.schema, pair.question, pair.evidence, keep)
        except PromptTooLong:
            dropped += 1
            continue
        prompt, chosen, rejected = (
            prompter.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (rendered.text, prompter.completion(pair.chosen), prompter.completion(pair.rejected))
        )
        if len(prompt) + max(len(chosen), len(rejected)) > max_length:
            dropped += 1
            continue
        if chosen == rejected or chosen[-1] != end or rejected[-1] != end:
            raise NightshiftError(f"preflight: the answers of pair {pair.id} do not differ, or do not both end")
        tables_dropped += rendered.dropped
        rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    if dropped > max_dropped_share * len(pairs):
        raise UserError(
            f"{dropped} of {len(pairs)} pairs are longer than training.max_length={max_length} tokens; "
            "raise it, lower prompt.max_tokens, or raise training.max_dropped_share"
        )
    total = sum(2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in rows)
    return Tokenised(rows, dropped, total, tables_dropped, end)
