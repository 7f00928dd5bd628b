"""How candidates are combined: convex weights on log-odds, and only if the gain is more than noise."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from icp_ml.model.calibration import fit_calibration, log_loss_rows
from icp_ml.model.columns import Floats, Ints

STEPS = 10


def choose_weights(log_odds: Floats, y: Floats, codes: Ints) -> Floats:
    """Return convex weights over candidates.

    All weights on a grid of tenths are tried on out-of-fold log-odds. A mixture is taken only if its log loss
    beats the best single candidate's by more than one standard error of the paired difference, by accounts.

    Parameters
    ----------
    log_odds
        Out-of-fold log-odds, shape (candidates, rows).
    y
        Outcome per row, 0 or 1.
    codes
        Account code per row.
    """
    n_candidates = len(log_odds)
    singles = [calibrated_loss(row, y, codes) for row in log_odds]
    best = int(np.argmin([loss.mean() for loss in singles]))
    weights = np.zeros(n_candidates)
    weights[best] = 1.0
    if n_candidates == 1:
        return weights
    chosen, chosen_loss = weights, singles[best]
    for mixture in _simplex(n_candidates):
        loss = calibrated_loss(_mix(mixture, log_odds), y, codes)
        if loss.mean() < chosen_loss.mean():
            chosen, chosen_loss = mixture, loss
    gain = singles[best] - chosen_loss
    return chosen if gain.mean() > standard_error(gain, codes) else weights


def standard_error(values: Floats, codes: Ints) -> float:
    """Return the standard error of a mean over rows whose groups, not rows, are independent."""
    n_groups = int(codes.max()) + 1
    sums = np.bincount(codes, weights=values - values.mean(), minlength=n_groups)
    return float(np.sqrt((sums**2).sum()) / len(values))


def calibrated_loss(log_odds: Floats, y: Floats, codes: Ints) -> Floats:
    """Return the log loss of each row after calibration, which is what a choice has to be judged by."""
    return log_loss_rows(y, fit_calibration(log_odds, y, codes).apply(log_odds))


def _mix(weights: Floats, log_odds: Floats) -> Floats:
    return np.asarray(np.tensordot(weights, log_odds, axes=1), dtype=np.float64)


def _simplex(n_candidates: int) -> list[Floats]:
    """All weight vectors in tenths with at least two candidates."""
    mixtures = []
    for bars in combinations(range(STEPS + n_candidates - 1), n_candidates - 1):
        edges = np.array([-1, *bars, STEPS + n_candidates - 1])
        parts = np.diff(edges) - 1
        if (parts > 0).sum() > 1:
            mixtures.append(parts / STEPS)
    return mixtures
