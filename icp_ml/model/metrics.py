"""Metrics of a score under many weightings at once: one sort, then sums; rows of weights are resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from icp_ml.model.calibration import log_loss_rows
from icp_ml.model.columns import Floats, Ints

METRICS = (
    "auc",
    "log_loss",
    "brier",
    "calibration_intercept",
    "calibration_slope",
    "top_decile_lift",
    *(f"lift_decile_{k}" for k in range(1, 11)),
)
WITH_ERROR = ("auc", "log_loss", "calibration_slope")


def score_metrics(y: Floats, log_odds: Floats, weights: Floats) -> dict[str, Floats]:
    """Return every metric of :data:`METRICS` per row of weights.

    Parameters
    ----------
    y
        Outcome per row, 0 or 1.
    log_odds
        Predicted log-odds per row.
    weights
        Shape (resamples, rows).

    Returns
    -------
    dict
        Name → array of shape (resamples,); NaN where a resample has one outcome only.

    Examples
    --------
    >>> y, f = np.array([0.0, 0, 1, 1]), np.array([-2.0, 0.5, 0.0, 2.0])
    >>> float(score_metrics(y, f, np.ones((1, 4)))["auc"][0])
    0.75
    """
    total = weights.sum(axis=1)
    probability = expit(log_odds)
    intercept, slope = _calibration(y, log_odds, weights)
    lifts = _lifts(y, log_odds, weights)
    return {
        "auc": _auc(y, log_odds, weights),
        "log_loss": weights @ log_loss_rows(y, log_odds) / total,
        "brier": weights @ (probability - y) ** 2 / total,
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "top_decile_lift": lifts[:, 0],
        **{f"lift_decile_{k + 1}": lifts[:, k] for k in range(10)},
    }


def metric_errors(
    y: Floats, log_odds: Floats, codes: Ints, weights: Floats | None = None, names: Sequence[str] = WITH_ERROR
) -> dict[str, tuple[float, float]]:
    """Return metrics of :data:`WITH_ERROR`, each with its standard error over accounts.

    The error is that of the sum of what accounts contribute: DeLong, DeLong & Clarke-Pearson (1988,
    *Biometrics* 44:837) for the AUC, Obuchowski (1997, *Biometrics* 53:567) for several rows per
    account, and Liang & Zeger (1986, *Biometrika* 73:13) for the slope.

    Parameters
    ----------
    y
        Outcome per row, 0 or 1.
    log_odds
        Predicted log-odds per row.
    codes
        Account code per row; rows of one account count as one observation.
    weights
        How much each row counts; None counts all alike.
    names
        Which metrics.

    Examples
    --------
    >>> y, f = np.array([0.0, 0, 1, 1]), np.array([-2.0, 0.5, 0.0, 2.0])
    >>> auc, error = metric_errors(y, f, np.arange(4))["auc"]
    >>> auc, round(error, 3)
    (0.75, 0.354)
    """
    each = np.ones(len(y)) if weights is None else weights
    size = int(codes.max()) + 1
    found = {}
    for name in names:
        value, share = _SHARES[name](y, log_odds, each, codes)
        found[name] = (value, float(np.sqrt((np.bincount(codes, share, size) ** 2).sum())))
    return found


def _auc_shares(y: Floats, score: Floats, each: Floats, codes: Ints) -> tuple[float, Floats]:
    """Return the AUC and what each row contributes to its error."""
    good, bad = each * y, each * (1 - y)
    n_good, n_bad = good.sum(), bad.sum()
    if n_good == 0 or n_bad == 0:
        return float("nan"), np.full(len(y), np.nan)
    place = np.unique(score, return_inverse=True)[1]
    at_good, at_bad = np.bincount(place, good), np.bincount(place, bad)
    # The share of bad rows that a good one beats, and of good rows that beat a bad one; ties count half.
    wins = (np.cumsum(at_bad) - at_bad / 2)[place] / n_bad
    losses = 1 - (np.cumsum(at_good) - at_good / 2)[place] / n_good
    auc = float(good @ wins / n_good)
    # Each outcome has an average of its own to spread about.
    good_share = _widening(codes[y > 0.5]) * good * (wins - auc) / n_good
    return auc, good_share + _widening(codes[y <= 0.5]) * bad * (losses - auc) / n_bad


def _log_loss_shares(y: Floats, f: Floats, each: Floats, codes: Ints) -> tuple[float, Floats]:
    """Return the mean log loss and what each row contributes to its error."""
    losses = log_loss_rows(y, f)
    mean = float(each @ losses / each.sum())
    return mean, _widening(codes) * each * (losses - mean) / each.sum()


def _slope_shares(y: Floats, f: Floats, each: Floats, codes: Ints) -> tuple[float, Floats]:
    """Return the slope of a two-parameter refit and what each row contributes to its error."""
    slope, shift = (float(found[0]) for found in _refit(y, f, each[None]))
    if np.isnan(slope):
        return slope, np.full(len(y), np.nan)
    p = expit(slope * (f - f.mean()) + shift)
    curve = each * p * (1 - p)
    centred = f - curve @ f / curve.sum()
    return slope, _widening(codes) * centred * each * (y - p) / (curve @ centred**2)


def _widening(codes: Ints) -> float:
    """Return the factor on an error that makes up for an average over few accounts."""
    n = int(np.count_nonzero(np.bincount(codes)))
    return float(np.sqrt(n / max(n - 1, 1)))


_SHARES = {"auc": _auc_shares, "log_loss": _log_loss_shares, "calibration_slope": _slope_shares}


def decile_parts(y: Floats, log_odds: Floats, weights: Floats) -> dict[str, Floats]:
    """Return mean prediction and observed rate per tenth of rows, best scores first."""
    total = weights.sum(axis=1, keepdims=True)
    predicted = _decile_sums(expit(log_odds), log_odds, weights) / (total / 10)
    observed = _decile_sums(y, log_odds, weights) / (total / 10)
    return {
        **{f"predicted_{k + 1}": predicted[:, k] for k in range(10)},
        **{f"observed_{k + 1}": observed[:, k] for k in range(10)},
    }


def _tied_sums(values: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted sums of values, and of weights, per distinct score, best first."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sorted_weights = weights[:, order]
    sums = np.add.reduceat(sorted_weights * values[order], starts, axis=1)
    return sums, np.add.reduceat(sorted_weights, starts, axis=1)


def _auc(y: Floats, score: Floats, weights: Floats) -> Floats:
    good, every = _tied_sums(y, score, weights)
    bad = every - good
    n_good, n_bad = good.sum(axis=1), bad.sum(axis=1)
    below = n_bad[:, None] - np.cumsum(bad, axis=1)
    pairs = n_good * n_bad
    wins = (good * (below + 0.5 * bad)).sum(axis=1)
    return np.asarray(np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))


def _decile_sums(values: Floats, score: Floats, weights: Floats) -> Floats:
    """Sum of values per tenth of the weight, best scores first; equal scores share their sum evenly."""
    sums, sizes = _tied_sums(values, score, weights)
    reached, below = np.cumsum(sizes, axis=1), np.cumsum(sums, axis=1)
    result = np.empty((len(weights), 10))
    for b in range(len(weights)):
        edges = np.linspace(0.0, reached[b, -1], 11)
        at_edges = np.interp(edges, np.append(0.0, reached[b]), np.append(0.0, below[b]))
        result[b] = np.diff(at_edges)
    return result


def _lifts(y: Floats, score: Floats, weights: Floats) -> Floats:
    n_good = (weights @ y)[:, None]
    tenth = n_good / 10
    lifts = _decile_sums(y, score, weights)
    return np.asarray(np.divide(lifts, tenth, out=np.full(lifts.shape, np.nan), where=tenth > 0))


def _calibration(y: Floats, f: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Calibration in the large (slope fixed at 1), and the slope of a two-parameter refit."""
    n_good, total = weights @ y, weights.sum(axis=1)
    both = (n_good > 0) & (n_good < total)
    shift = np.zeros(len(weights))
    for _ in range(30):
        p = expit(f + shift[:, None])
        slope = np.maximum((weights * p * (1 - p)).sum(axis=1), 1e-12)
        step = np.clip((n_good - (weights * p).sum(axis=1)) / slope, -2.0, 2.0)
        shift = np.where(both, shift + step, shift)
        if np.abs(step[both]).max(initial=0.0) < 1e-9:
            break
    intercept = np.where(both, shift, np.nan)
    return intercept, _refit(y, f, weights)[0]


def _refit(y: Floats, f: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Slope on centred log-odds and shift that fit best; NaN where outcomes or log-odds don't vary."""
    n_good = weights @ y
    both = (n_good > 0) & (n_good < weights.sum(axis=1))
    if np.ptp(f) < 1e-9:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    centred = f - f.mean()
    slope, shift = np.ones(len(weights)), np.full(len(weights), f.mean())
    for _ in range(50):
        p = expit(slope[:, None] * centred + shift[:, None])
        residual, curve = weights * (y - p), weights * p * (1 - p)
        g0, g1 = residual.sum(axis=1), residual @ centred
        h00, h01, h11 = curve.sum(axis=1), curve @ centred, curve @ centred**2
        det = np.maximum(h00 * h11 - h01**2, 1e-12)
        step1 = np.clip((h00 * g1 - h01 * g0) / det, -1.0, 1.0)
        step0 = np.clip((h11 * g0 - h01 * g1) / det, -2.0, 2.0)
        slope, shift = slope + step1, shift + step0
        if np.abs(np.append(step1[both], step0[both])).max(initial=0.0) < 1e-8:
            break
    return np.where(both, slope, np.nan), np.where(both, shift, np.nan)
