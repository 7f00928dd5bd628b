"""Lasso-penalised logistic regression along a path of penalties, by coordinate descent.

Each penalised problem is solved by iteratively reweighted least squares; the weighted cross products of the
columns that may matter are made once per iteration, after which the descent costs nothing per row (Friedman,
Hastie & Tibshirani 2010, Journal of Statistical Software 33(1), section 3 and covariance updates; strong
rules: Tibshirani et al. 2012, Journal of the Royal Statistical Society B 74:245).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from icp_ml.model.columns import Floats
from icp_ml.model.contributions import has_numba
from icp_ml.model.linear import newton_path

RIDGE = 1.0
REFIT_RIDGE = 4.0
_LEAST_WEIGHT = 1e-4
_ITERATIONS = 12
_NEAR = 5e-3
_CLOSE = 0.8


def lasso_path(
    design: Floats, y: Floats, each: Floats, penalties: Sequence[float], signs: Floats
) -> list[Floats]:
    """Fit one model per penalty, each started from the one before, and half-way unshrunk.

    The lasso pulls what it keeps towards zero as hard as what it drops. So each model is the mean of the
    lasso's coefficients and of a refit of the kept ones with next to no penalty (relaxed lasso, Meinshausen
    2007, Computational Statistics & Data Analysis 52:374, at its middle).

    Parameters
    ----------
    design
        Columns of about mean 0, the last one all ones: its coefficient isn't penalised.
    y
        Outcome per row, 0 or 1.
    each
        How much each row counts.
    penalties
        Weights of the absolute coefficients, descending.
    signs
        1 or -1 where a coefficient must not be below or above 0, else 0; the last is 0.

    Returns
    -------
    list of ndarray
        Coefficients per penalty.
    """
    rate = np.clip(each @ y / each.sum(), 1e-6, 1 - 1e-6)
    beta = np.zeros(design.shape[1])
    beta[-1] = np.log(rate / (1 - rate))
    path = []
    for penalty in penalties:
        beta = _fit(design, y, each, beta, penalty, signs)
        kept = np.append(np.flatnonzero(beta[:-1]), len(beta) - 1)
        refit = np.zeros(len(beta))
        refit[kept] = newton_path(design[:, kept], y, each, (REFIT_RIDGE,), beta[kept])[0]
        path.append((beta + np.where(refit * signs < 0, 0.0, refit)) / 2)
    return path


def _fit(design: Floats, y: Floats, each: Floats, beta: Floats, penalty: float, signs: Floats) -> Floats:
    beta = beta.copy()
    penalties, ridges = np.full(len(beta), penalty), np.full(len(beta), RIDGE)
    penalties[-1] = ridges[-1] = 0.0
    log_odds, working, moved = design @ beta, np.zeros(len(beta), dtype=bool), np.inf
    for _ in range(_ITERATIONS):
        chance = expit(log_odds)
        gradient = design.T @ (each * (y - chance))
        # What is at zero and has a slope well below the penalty stays there (strong rule, checked each time).
        pulled = (np.abs(gradient) > penalties) & (gradient * signs >= 0)
        if moved < _NEAR and not (pulled & ~working).any():
            break
        working = (beta != 0) | (np.abs(gradient) > _CLOSE * penalties)
        working[-1] = True
        own = np.flatnonzero(working)
        weight = each * np.maximum(chance * (1 - chance), _LEAST_WEIGHT)
        part = design[:, own] * np.sqrt(weight)[:, None]
        cross = part.T @ part
        beta[own] = _descend(cross, gradient[own], beta[own], penalties[own], ridges[own], signs[own])
        before, log_odds = log_odds, design @ beta
        moved = float(np.abs(log_odds - before).max())
    return beta


def _descend(
    cross: Floats, gradient: Floats, beta: Floats, penalties: Floats, ridges: Floats, signs: Floats
) -> Floats:
    if has_numba():
        from icp_ml.model.stepkernel import descend
    else:
        from icp_ml.model.descent import descend
    descend(cross, gradient, beta, penalties, ridges, signs)
    return beta
