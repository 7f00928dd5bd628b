"""How candidates are combined: convex weights on log-odds, if the gain over the usual is more than noise."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from icp_ml.model.calibration import fit_calibration, log_loss_rows
from icp_ml.model.columns import Floats, Ints

STEPS = 10
MOST_ROWS = 50_000
FEW_ACCOUNTS = 200


def choose_weights(log_odds: Floats, y: Floats, codes: Ints, weights: Floats | None = None) -> Floats:
    """Return convex weights over candidates.

    All weights in tenths, single candidates included, are tried on out-of-fold log-odds. The usual mixture
    stays unless the best of them beats its log loss by over one standard error of the paired difference, by
    accounts: what is chosen among many looks better than it is. Usual is the first candidate alone, and all
    alike where the rarer outcome has few accounts: errors of candidates partly cancel, which counts most
    where each errs most.

    Parameters
    ----------
    log_odds
        Out-of-fold log-odds, shape (candidates, rows); the preferred candidate first.
    y
        Outcome per row, 0 or 1.
    codes
        Account code per row.
    weights
        How much each row counts; None counts all alike.
    """
    # Mixtures differ by far more than 50,000 rows can't tell.
    few = slice(None, None, -(-len(y) // MOST_ROWS))
    log_odds, y, codes = log_odds[:, few], y[few], codes[few]
    weights = None if weights is None else weights[few]
    start = _usual(len(log_odds), y, codes)
    usual = calibrated_loss(_mix(start, log_odds), y, codes, weights)
    chosen, loss = start, usual
    for mixture in _simplex(len(log_odds)):
        tried = calibrated_loss(_mix(mixture, log_odds), y, codes, weights)
        if tried.mean() < loss.mean():
            chosen, loss = mixture, tried
    gain = usual - loss
    return chosen if gain.mean() > standard_error(gain, codes) else start


def _usual(n_candidates: int, y: Floats, codes: Ints) -> Floats:
    rarer = min(len(np.unique(codes[y == outcome])) for outcome in (0.0, 1.0))
    if rarer < FEW_ACCOUNTS:
        return np.full(n_candidates, 1.0 / n_candidates)
    return np.asarray(np.eye(n_candidates)[0], dtype=np.float64)


def standard_error(values: Floats, codes: Ints) -> float:
    """Return the standard error of a mean over rows whose groups, not rows, are independent."""
    n_groups = int(codes.max()) + 1
    sums = np.bincount(codes, weights=values - values.mean(), minlength=n_groups)
    return float(np.sqrt((sums**2).sum()) / len(values))


def calibrated_loss(log_odds: Floats, y: Floats, codes: Ints, weights: Floats | None = None) -> Floats:
    """Return the log loss of each row after calibration, which is what a choice has to be judged by.

    With weights, losses are scaled so that their plain mean is the weighted one.
    """
    losses = log_loss_rows(y, fit_calibration(log_odds, y, codes, weights).apply(log_odds))
    return losses if weights is None else losses * (weights * (len(y) / weights.sum()))


def _mix(weights: Floats, log_odds: Floats) -> Floats:
    return np.asarray(np.tensordot(weights, log_odds, axes=1), dtype=np.float64)


def _simplex(n_candidates: int) -> list[Floats]:
    """All weight vectors in tenths."""
    mixtures = []
    for bars in combinations(range(STEPS + n_candidates - 1), n_candidates - 1):
        edges = np.array([-1, *bars, STEPS + n_candidates - 1])
        mixtures.append((np.diff(edges) - 1) / STEPS)
    return mixtures
