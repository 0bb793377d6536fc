"""Exact answers for 0/1 outcomes, where the bootstrap alone would promise too much.

With few discordant examples (3 wins, no loss) the percentile bootstrap is surer than it may be: it has never seen the
losses that chance would have brought. Two classic tests bound the error at every size: the sign test on the discordant
pairs (McNemar 1947, exact) for "better", and Tango's score test (1998) for "not worse by more than a margin".
"""

from __future__ import annotations

import math


def chance_of_as_many_wins(wins: int, losses: int) -> float:
    """How likely `wins` or more of `wins + losses` discordant pairs are when neither model is better; 1.0 for none.

    A gate that asks for at most `alpha` promotes an equal model in at most a share `alpha` of nights, exactly.
    """
    n = wins + losses
    return sum(math.comb(n, k) for k in range(wins, n + 1)) / 2**n


def margin_score(wins: int, losses: int, n: int, margin: float) -> float:
    """Tango's z for "the true difference is above -margin", of `n` pairs with `wins` and `losses`; higher is surer.

    The share of losses q under the border case maximises its likelihood: 2n q^2 - (2nM + w(1-M) + l(1+M)) q + lM(1+M)
    = 0 with M the margin, larger root. Infinite when the border case cannot vary at all (a margin of 1).
    """
    linear = 2 * n * margin + wins * (1 - margin) + losses * (1 + margin)
    root = math.sqrt(max(0.0, linear**2 - 8 * n * losses * margin * (1 + margin)))
    q = (linear + root) / (4 * n)
    variance = n * (2 * q - margin - margin**2)
    return math.inf if variance <= 0 else (wins - losses + n * margin) / math.sqrt(variance)
