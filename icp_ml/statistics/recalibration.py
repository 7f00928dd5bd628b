"""How far log-odds are from calibrated: the slope and the shift that would make them right, with errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Floats = npt.NDArray[np.float64]

_STEPS = 60


def calibration_slope(y: Floats, log_odds: Floats, accounts: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the slope of the outcome on the log-odds, and its standard error over accounts.

    NaN where it can't be told: one outcome only, or the same log-odds everywhere.

    Notes
    -----
    Cox (1958), *Biometrika* 45; errors by Liang and Zeger (1986), *Biometrika* 73.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> f = rng.normal(size=4000)
    >>> y = (rng.random(4000) < 1 / (1 + np.exp(-f))).astype(float)
    >>> [round(value, 1) for value in calibration_slope(y, 2 * f, np.arange(4000))]
    [0.5, 0.0]
    """
    if not 0.0 < y.mean() < 1.0 or np.ptp(log_odds) < 1e-9:
        return float("nan"), float("nan")
    spread = float(log_odds.std())
    design = np.column_stack([np.ones(len(y)), (log_odds - log_odds.mean()) / spread])
    weights, covariance = _logistic(y, design, np.zeros(len(y)), accounts)
    return float(weights[1] / spread), float(np.sqrt(covariance[1, 1]) / spread)


def calibration_intercept(y: Floats, log_odds: Floats, accounts: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the shift of log-odds that makes the mean right, and its standard error over accounts."""
    if not 0.0 < y.mean() < 1.0:
        return float("nan"), float("nan")
    weights, covariance = _logistic(y, np.ones((len(y), 1)), log_odds, accounts)
    return float(weights[0]), float(np.sqrt(covariance[0, 0]))


def _logistic(y: Floats, design: Floats, offset: Floats, accounts: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Fit by Newton's method; return coefficients and their covariance, clustered by account."""
    weights = np.zeros(design.shape[1])
    ridge = 1e-9 * np.eye(design.shape[1])
    for _ in range(_STEPS):
        chance = expit(offset + design @ weights)
        bread = design.T @ (design * (chance * (1.0 - chance))[:, None]) + ridge
        step = np.clip(np.linalg.solve(bread, design.T @ (y - chance)), -1.0, 1.0)
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    codes = np.unique(accounts.astype(str), return_inverse=True)[1]
    residual = y - expit(offset + design @ weights)
    scores = np.stack([np.bincount(codes, column * residual) for column in design.T], axis=1)
    inverse = np.linalg.inv(bread)
    return weights, inverse @ (scores.T @ scores) @ inverse
