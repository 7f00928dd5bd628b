"""Ridge logistic regression on normal scores: the plain member of the candidate set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, ndtri

from icp_ml.model.columns import Floats
from icp_ml.model.linear import LinearModel, transformed

N_KNOTS = 41
MAX_SCORE = 2.0
BLOCK_ROWS = 65_536
MISSING_SHARE = 0.01
PENALTIES = (256.0, 128.0, 64.0, 32.0, 16.0, 6.0, 2.0)


def fit_linear_path(
    X: Floats,
    y: Floats,
    scored: npt.NDArray[np.bool_],
    penalties: tuple[float, ...],
    weights: Floats | None = None,
    directions: npt.NDArray[np.int64] | None = None,
) -> list[LinearModel]:
    """Fit one model per ridge penalty, strongest first, each started from the one before.

    Parameters
    ----------
    X
        Encoded matrix, NaN = unknown.
    y
        Outcome per row, 0 or 1.
    scored
        True for encoded columns whose values become normal scores (numbers and counts); flags and target
        statistics stay on their own scale.
    penalties
        Ridge penalties on coefficients, descending; the prior variance of a coefficient is 1 / penalty.
    weights
        How much each row counts; None counts all alike.
    directions
        1 or -1 per encoded column whose coefficient must not be below or above 0, else 0. A column whose
        coefficient would be is left out of all models of the path.
    """
    unknown = np.isnan(X)
    share = unknown.mean(axis=0)
    flagged = tuple(int(j) for j in np.flatnonzero(scored & (share >= MISSING_SHARE) & (share < 1)))
    knots = tuple(_knots(X[:, j]) if scored[j] else None for j in range(X.shape[1]))
    Z = np.ones((len(X), X.shape[1] + len(flagged) + 1))
    centre = np.zeros(X.shape[1])
    for j in range(X.shape[1]):
        values = transformed(X[:, j], knots[j])
        known = ~unknown[:, j]
        centre[j] = values[known].mean() if known.any() else 0.0
        Z[:, j] = np.where(known, values - centre[j], 0.0)
    flag_centre = share[list(flagged)]
    for place, j in enumerate(flagged):
        Z[:, X.shape[1] + place] = unknown[:, j] - flag_centre[place]
    n_columns, each = X.shape[1], np.ones(len(y)) if weights is None else weights
    path = np.array(_newton_path(Z, y, each, penalties))
    while directions is not None and (wrong := (path[:, :n_columns] * directions < 0).any(axis=0)).any():
        Z[:, np.flatnonzero(wrong)] = 0.0
        path = np.array(_newton_path(Z, y, each, penalties))
    return [
        LinearModel(
            knots, centre, beta[:n_columns], flagged, flag_centre, beta[n_columns:-1], float(beta[-1])
        )
        for beta in path
    ]


def _newton_path(Z: Floats, y: Floats, each: Floats, penalties: tuple[float, ...]) -> list[Floats]:
    """Ridge-penalised maximum likelihood per penalty; the last column of ones is the unpenalised intercept.

    A Hessian costs far more than a gradient, so each one serves for several damped steps.
    """
    rate = np.clip(each @ y / each.sum(), 1e-6, 1 - 1e-6)
    beta = np.zeros(Z.shape[1])
    beta[-1] = np.log(rate / (1 - rate))
    path = []
    for penalty in penalties:
        ridge = np.full(len(beta), penalty)
        ridge[-1] = 1e-8
        for _ in range(8):
            beta, converged = _steps(Z, y, each, beta, ridge)
            if converged:
                break
        path.append(beta.copy())
    return path


def _steps(design: Floats, y: Floats, each: Floats, beta: Floats, ridge: Floats) -> tuple[Floats, bool]:
    """Take up to eight steps with one Hessian; say whether the last one gained next to nothing."""
    probability = expit(design @ beta)
    weight = each * np.maximum(probability * (1 - probability), 1e-9)
    hessian = np.zeros((design.shape[1], design.shape[1]))
    for start in range(0, len(design), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        # numpy needs half the time for a matrix times itself.
        block = design[rows] * np.sqrt(weight[rows, None])
        hessian += block.T @ block
    hessian[np.diag_indices_from(hessian)] += ridge
    factor = cho_factor(hessian, check_finite=False)
    objective = _objective(design, y, each, beta, ridge)
    for _ in range(8):
        gradient = design.T @ (each * (expit(design @ beta) - y)) + ridge * beta
        step = cho_solve(factor, gradient, check_finite=False)
        size, proposal = 1.0, beta - step
        value = _objective(design, y, each, proposal, ridge)
        while value > objective and size > 1e-3:
            size /= 2
            proposal = beta - size * step
            value = _objective(design, y, each, proposal, ridge)
        if value > objective:
            return beta, True
        gain, beta, objective = objective - value, proposal, value
        if gain <= 1e-7 * max(1.0, abs(objective)):
            return beta, True
    return beta, False


def _objective(design: Floats, y: Floats, each: Floats, beta: Floats, ridge: Floats) -> float:
    log_odds = design @ beta
    return float(each @ (np.logaddexp(0.0, log_odds) - y * log_odds) + 0.5 * (ridge * beta**2).sum())


def _knots(values: Floats) -> tuple[Floats, Floats] | None:
    """Quantiles and their normal scores, half scale so that numbers and flags carry like penalties."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return None
    levels = (np.arange(N_KNOTS) + 0.5) / N_KNOTS
    quantiles = np.quantile(known, levels)
    scores = np.clip(ndtri(levels), -MAX_SCORE, MAX_SCORE) / 2
    unique, start = np.unique(quantiles, return_index=True)
    stop = np.append(start[1:], N_KNOTS)
    mean_scores = np.array([scores[a:b].mean() for a, b in zip(start, stop, strict=True)])
    return unique, mean_scores
