"""Metrics of one model on one fold; needs numpy, pandas and scikit-learn only."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

BINS = 10
Z90 = 1.6448536269514722


def judged(y: np.ndarray, said: np.ndarray, true: np.ndarray | None = None, base: float = 0.5) -> dict:
    """Return AUC, log loss, Brier score, calibration error and slope with its 90 % interval.

    With the ``true`` chances also the share of the oracle's log-loss skill over the training ``base`` rate.
    """
    said = np.clip(np.asarray(said, dtype=float), 1e-6, 1 - 1e-6)
    slope, error = calibration_slope(y, said)
    found = {
        "auc": roc_auc_score(y, said),
        "log_loss": log_loss(y, said),
        "brier": brier_score_loss(y, said),
        "ece": calibration_error(y, said),
        "slope": slope,
        "slope_low": slope - Z90 * error,
        "slope_high": slope + Z90 * error,
    }
    if true is not None:
        constant, oracle = expected_log_loss(true, np.full(len(true), base)), expected_log_loss(true, true)
        found["skill"] = (constant - expected_log_loss(true, said)) / (constant - oracle)
    return {name: round(float(value), 6) for name, value in found.items()}


def expected_log_loss(true: np.ndarray, said: np.ndarray) -> float:
    """Return the log loss expected where outcomes are drawn with the ``true`` chances."""
    said = np.clip(said, 1e-6, 1 - 1e-6)
    return float(-(true * np.log(said) + (1 - true) * np.log(1 - said)).mean())


def calibration_error(y: np.ndarray, said: np.ndarray) -> float:
    """Return the mean distance of said and observed rates over tenths of the scores."""
    parts = np.array_split(np.argsort(said, kind="stable"), BINS)
    return float(sum(abs(y[p].mean() - said[p].mean()) * len(p) for p in parts if len(p)) / len(y))


def calibration_slope(y: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    """Return the slope of a logistic regression of the outcome on the said log-odds, and its error."""
    x = np.log(said) - np.log1p(-said)
    if x.std() < 1e-9:
        return float("nan"), float("nan")
    design = np.column_stack([np.ones(len(x)), x])
    beta = np.array([0.0, 1.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        hessian = (design * (p * (1 - p) + 1e-10)[:, None]).T @ design
        step = np.linalg.solve(hessian, design.T @ (y - p))
        beta = beta + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[1]), float(np.sqrt(np.linalg.inv(hessian)[1, 1]))
