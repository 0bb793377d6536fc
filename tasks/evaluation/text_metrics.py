"""How alike two texts are: ROUGE, BLEU and exact match of a predicted query and its gold.

ROUGE follows Lin (2004) with the tokens of the `rouge_score` package (runs of a-z and 0-9, lower-cased), so that its
figures compare with published ones; that makes operators and quotes invisible to it. BLEU and exact match use SQL
tokens; BLEU is `sacrebleu`'s with add-k smoothing, k = 1. Neither package is needed: tests compare with both where they
are installed. Limits: one reference, no stemming, no understanding; `tasks.evaluation.ast_match` knows SQL's grammar.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from tasks.sql.tokens import lexed

_WORD = re.compile(r"[a-z0-9]+")
_AS_WRITTEN = frozenset({"string", "name"})  # a quoted name may be text to SQLite


@lru_cache(maxsize=4096)  # one text is asked for by several metrics in turn
def words(text: str) -> tuple[str, ...]:
    """The words ROUGE counts: runs of letters a-z and digits, lower-cased."""
    return tuple(_WORD.findall(text.lower()))


@lru_cache(maxsize=4096)
def sql_tokens(sql: str) -> tuple[str, ...]:
    """The tokens of a query: words lower-cased, literals and quoted names as written, comments and last `;` gone."""
    found = [text if kind in _AS_WRITTEN else text.lower() for kind, text in lexed(sql)]
    while found and found[-1] == ";":
        found.pop()
    return tuple(found)


def exact_match(gold: str, prediction: str) -> bool:
    """Whether both are the same SQL tokens: spacing, case and comments aside, but never the case of a literal."""
    return gold == prediction or sql_tokens(gold) == sql_tokens(prediction)


def flat_match(gold: str, prediction: str) -> bool:
    """Whether both are the same once lower-cased and without any space, literals too, as some published figures count.

    It takes 'A b' for 'ab': never what a gate should rest on.
    """
    return "".join(gold.lower().split()) == "".join(prediction.lower().split())


def rouge_n(gold: str, prediction: str, n: int) -> float:
    """ROUGE-N's F-measure in [0, 1]: shared word n-grams; 0.0 when either side has none."""
    if gold == prediction:
        return float(len(words(gold)) >= n)
    ours, theirs = words(prediction), words(gold)
    return _f_measure(_shared(ours, theirs, n), _runs(ours, n), _runs(theirs, n))


def rouge_l(gold: str, prediction: str) -> float:
    """ROUGE-L's F-measure in [0, 1]: the longest common subsequence of words."""
    ours, theirs = words(prediction), words(gold)
    if ours == theirs:
        return float(bool(ours))
    return _f_measure(_lcs_length(ours, theirs), len(ours), len(theirs))


def hybrid_score(match: bool, rouge_l: float) -> float:
    """1.0 for an answer whose result matches, else 0.7 of its likeness to gold: a reward that is not all or nothing."""
    return 1.0 if match else 0.7 * rouge_l


def sentence_bleu(gold: str, prediction: str) -> float:
    """BLEU-4 of one query in [0, 1] over SQL tokens (Papineni and others, 2002).

    Beyond single tokens, matches and totals are counted one higher (Lin and Och, 2004): a short query without a
    common run of four tokens would otherwise score 0.
    """
    ours, theirs = sql_tokens(prediction), sql_tokens(gold)
    if not ours or not theirs:
        return 0.0
    if ours == theirs:
        return 1.0
    log_precision = 0.0
    for n in range(1, 5):
        matches, total, extra = _shared(ours, theirs, n), _runs(ours, n), int(n > 1)
        if matches + extra == 0:
            return 0.0
        log_precision += math.log((matches + extra) / (total + extra)) / 4
    brevity = min(0.0, 1 - len(theirs) / len(ours))
    return math.exp(log_precision + brevity)


@lru_cache(maxsize=4096)  # gold is asked for by every model's answer, and by ROUGE and BLEU
def _ngrams(tokens: tuple[str, ...], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _shared(ours: tuple[str, ...], theirs: tuple[str, ...], n: int) -> int:
    """How many runs of `n` tokens both have, each as often as it comes in both."""
    found, wanted = _ngrams(ours, n), _ngrams(theirs, n)
    both = found.keys() & wanted.keys()
    if len(found) == _runs(ours, n) or len(wanted) == _runs(theirs, n):  # one side repeats none
        return len(both)
    return sum(min(found[run], wanted[run]) for run in both)


def _runs(tokens: tuple[str, ...], n: int) -> int:
    return max(0, len(tokens) - n + 1)


def _f_measure(shared: int, ours: int, theirs: int) -> float:
    # 2PR / (P + R) with P = shared / ours and R = shared / theirs
    return 2 * shared / (ours + theirs) if shared else 0.0


def _lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, one big integer a row (Allison and Dix, 1986)."""
    where: dict[str, int] = {}
    for position, token in enumerate(a):
        where[token] = where.get(token, 0) | 1 << position
    row = 0
    for token in b:
        matches = row | where.get(token, 0)
        row = matches & ~(matches - (row << 1 | 1))
    return row.bit_count()
