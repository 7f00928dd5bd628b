"""How candidates are combined: convex weights on log-odds, pulled towards the usual mixture."""

from __future__ import annotations

from operator import itemgetter

import numpy as np

from icp_ml.model.calibration import fit_calibration, log_loss_rows
from icp_ml.model.columns import Floats, Ints

STEPS = 12
MOST_ROWS = 50_000
PULL = 6.0
"""Nats that a weight vector at distance 1 from the usual one has to gain."""
EARNED = 2.0
"""Nats that a candidate without usual weight has to gain, times its weight: it also costs time to score."""
SMALL, WORTH = 0.2, 1.0
"""A weight up to SMALL that gains less than WORTH nats isn't worth the time that it takes to score."""


def choose_weights(
    log_odds: Floats, y: Floats, codes: Ints, usual: Floats, weights: Floats | None = None
) -> Floats:
    """Return convex weights over candidates.

    They minimise the out-of-fold log loss, summed over accounts, plus :data:`PULL` times the squared distance
    from the usual weights and :data:`EARNED` times the weight of others: with few accounts what looks best is
    mostly luck and the errors of candidates partly cancel, with many the data speak. Weight moves from one
    candidate to another in twelfths or a little less, for as long as the best such move gains; small weights
    that gain next to nothing are dropped.

    Parameters
    ----------
    log_odds
        Out-of-fold log-odds, shape (candidates, rows).
    y
        Outcome per row, 0 or 1.
    codes
        Account code per row.
    usual
        Which candidates share the weight alike where nothing speaks for others, 1 or 0 each.
    weights
        How much each row counts; None counts all alike.
    """
    n_accounts = int(codes.max()) + 1
    few = judges(len(y))
    log_odds, y, codes = log_odds[:, few], y[few], codes[few]
    weights = None if weights is None else weights[few]
    start = usual / usual.sum()
    total = int(usual.sum()) * -(-STEPS // int(usual.sum()))

    def loss(units: Ints | Floats) -> float:
        shares = units / total
        mixed = np.tensordot(shares, log_odds, axes=1)
        price = PULL * ((shares - start) ** 2).sum() + EARNED * shares[usual == 0].sum()
        return n_accounts * float(calibrated_loss(mixed, y, codes, weights).mean()) + float(price)

    best = np.rint(start * total).astype(np.int64)
    least = loss(best)
    while True:
        tried = [(loss(units), units) for units in _moves(best)]
        lower, units = min(tried, key=itemgetter(0), default=(least, best))
        if lower >= least:
            break
        least, best = lower, units
    for smallest in np.argsort(best, kind="stable"):
        rest = np.where(np.arange(len(best)) == smallest, 0, best)
        if 0 < best[smallest] <= total * SMALL and loss(rest * total / rest.sum()) < least + WORTH:
            best = rest
    return np.asarray(best / best.sum(), dtype=np.float64)


def judges(n_rows: int) -> slice:
    """Return which rows a choice is judged on: what 50,000 of them can't tell makes no difference."""
    return slice(None, None, -(-n_rows // MOST_ROWS))


def _moves(units: Ints) -> list[Ints]:
    """Every way to move one unit of weight from a candidate to another."""
    one = np.eye(len(units), dtype=np.int64)
    givers = np.flatnonzero(units > 0)
    return [units - one[giver] + taken for giver in givers for taken in np.delete(one, giver, axis=0)]


def calibrated_loss(log_odds: Floats, y: Floats, codes: Ints, weights: Floats | None = None) -> Floats:
    """Return the log loss of each row after calibration, which is what a choice has to be judged by.

    With weights, losses are scaled so that their plain mean is the weighted one.
    """
    losses = log_loss_rows(y, fit_calibration(log_odds, y, codes, weights).apply(log_odds))
    return losses if weights is None else losses * (weights * (len(y) / weights.sum()))
