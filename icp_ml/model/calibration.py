"""Sigmoid calibration of out-of-fold log-odds: a slope and an intercept, and how sure we are of both.

Calibrated log-odds are ``slope × log-odds + intercept``: contributions scale with the slope, sums stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from icp_ml.foreign import Given
from icp_ml.model.columns import Floats, Ints

Z90 = 1.6448536269514722
"""Standard errors on either side of an estimate that make a 90 % interval."""
PRIOR_EVENTS = 0.5
# In units of the slope's variance: one for the slope itself, two for the choices made on the same rows.
SHRINK = 3.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Slope and intercept with their covariance.

    Parameters
    ----------
    slope
        At least 0; 0 where out-of-fold log-odds say no more than the base rate.
    intercept
        Added after scaling.
    covariance
        Covariance of (slope, intercept) by accounts, row by row: (ss, si, is, ii).
    """

    slope: float
    intercept: float
    covariance: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def apply(self, log_odds: Floats) -> Floats:
        """Return calibrated log-odds."""
        return self.slope * log_odds + self.intercept

    def variance(self, log_odds: Floats) -> Floats:
        """Return the variance of calibrated log-odds that comes from the two estimates."""
        ss, si, _, ii = self.covariance
        return np.maximum(ss * log_odds**2 + 2 * si * log_odds + ii, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return {"slope": self.slope, "intercept": self.intercept, "covariance": list(self.covariance)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any] | Given) -> Calibration:
        """Rebuild what :meth:`to_dict` wrote.

        Raises
        ------
        BundleError
            A field is missing, no finite number or out of range.
        """
        given = Given.of(state, "calibration").record("slope", "intercept", "covariance")
        ss, si, is_, ii = given["covariance"].numbers(length=4).tolist()
        return cls(given["slope"].number(low=0.0), given["intercept"].number(), (ss, si, is_, ii))


def log_loss_rows(y: Floats, log_odds: Floats) -> Floats:
    """Return the log loss of each row."""
    return np.asarray(np.logaddexp(0.0, log_odds) - y * log_odds, dtype=np.float64)


def weighted_mean(values: Floats, weights: Floats | None) -> float:
    """Return the mean of ``values``, each counted as often as its weight says."""
    return float(values.mean() if weights is None else weights @ values / weights.sum())


def base_log_odds(y: Floats, weights: Floats | None = None) -> float:
    """Return the log-odds of the mean of ``y``, kept finite."""
    rate = float(np.clip(weighted_mean(y, weights), 0.5 / (len(y) + 1), 1 - 0.5 / (len(y) + 1)))
    return float(np.log(rate) - np.log1p(-rate))


def fit_calibration(log_odds: Floats, y: Floats, codes: Ints, weights: Floats | None = None) -> Calibration:
    """Fit slope and intercept to out-of-fold log-odds.

    The slope has a prior towards 1 worth half an event, can't be negative, and shrinks towards 0 by its own
    uncertainty (1 - 3 variance / slope²), so that scores without skill collapse to the base rate.

    Parameters
    ----------
    log_odds
        Out-of-fold log-odds per row.
    y
        Outcome per row, 0 or 1.
    codes
        Account code per row; rows of one account count as one observation for the covariance.
    weights
        How much each row counts; None counts all alike.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> f = rng.normal(size=4000)
    >>> y = (rng.random(4000) < expit(0.5 * f - 1)).astype(float)
    >>> fitted = fit_calibration(f, y, np.arange(4000))
    >>> round(fitted.slope, 1), round(fitted.intercept, 1)
    (0.5, -1.0)
    """
    start = base_log_odds(y, weights)
    rate, each = weighted_mean(y, weights), np.ones(len(y)) if weights is None else weights
    centre = float(log_odds.mean())
    spread = float(log_odds.var())
    if spread < 1e-12 or not 0 < rate < 1:
        return Calibration(0.0, start)
    centred = log_odds - centre
    rarer = min(rate, 1 - rate)
    prior = min(PRIOR_EVENTS / rarer, float(len(y))) * rarer * (1 - rarer) * spread
    slope, shift, hessian = _newton(centred, y, each, prior, start)
    covariance = _sandwich(centred, y, each, codes, slope, shift, hessian)
    variance = covariance[0, 0]
    if slope <= 0:
        shrunk = 0.0
    else:
        shrunk = slope * max(0.0, 1.0 - SHRINK * variance / slope**2)
    if shrunk != slope:
        shift = _refit_shift(shrunk * centred, y, each, shift)
    # from (slope, shift at the centre) to (slope, intercept at 0)
    turn = np.array([[1.0, 0.0], [-centre, 1.0]])
    turned = turn @ covariance @ turn.T
    entries = (float(turned[0, 0]), float(turned[0, 1]), float(turned[1, 0]), float(turned[1, 1]))
    return Calibration(float(shrunk), float(shift - shrunk * centre), entries)


def _newton(f: Floats, y: Floats, each: Floats, prior: float, start: float) -> tuple[float, float, Floats]:
    """Penalised maximum likelihood of (slope, shift) from slope 0 on, halving steps that lead uphill."""

    def objective(slope: float, shift: float) -> float:
        return float((each * log_loss_rows(y, slope * f + shift)).sum() + 0.5 * prior * (slope - 1.0) ** 2)

    slope, shift, value = 0.0, start, objective(0.0, start)
    hessian = np.eye(2)
    for _ in range(50):
        probability = expit(slope * f + shift)
        weight = each * np.maximum(probability * (1 - probability), 1e-10)
        residual = each * (probability - y)
        gradient = np.array([residual @ f + prior * (slope - 1.0), residual.sum()])
        wf = weight * f
        hessian = np.array([[wf @ f + prior, wf.sum()], [wf.sum(), weight.sum()]])
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-6 and objective(slope - size * step[0], shift - size * step[1]) > value:
            size /= 2
        if size <= 1e-6:
            break
        slope, shift = float(slope - size * step[0]), float(shift - size * step[1])
        gain, value = value - objective(slope, shift), objective(slope, shift)
        if gain < 1e-12 * max(1.0, abs(value)):
            break
    return slope, shift, hessian


def _sandwich(
    f: Floats, y: Floats, each: Floats, codes: Ints, slope: float, shift: float, hessian: Floats
) -> Floats:
    residual = each * (y - expit(slope * f + shift))
    n_groups = int(codes.max()) + 1
    by_group = np.column_stack(
        [
            np.bincount(codes, weights=residual * f, minlength=n_groups),
            np.bincount(codes, weights=residual, minlength=n_groups),
        ]
    )
    bread = np.linalg.inv(hessian)
    return np.asarray(bread @ (by_group.T @ by_group) @ bread, dtype=np.float64)


def _refit_shift(offset: Floats, y: Floats, each: Floats, shift: float) -> float:
    for _ in range(50):
        probability = expit(offset + shift)
        curvature = float((each * probability * (1 - probability)).sum())
        step = float((each * (probability - y)).sum() / max(curvature, 1e-10))
        shift -= float(np.clip(step, -2.0, 2.0))
        if abs(step) < 1e-12:
            break
    return shift
