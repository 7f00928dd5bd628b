"""Ridge logistic regression on normal scores: the plain member of the candidate set.

Normal scores stand any tail. Where a number says more as it is than by its rank (minutes of support, of which
most accounts have none), it counts as it is too, up to its outer values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
OUTER_SHARE, OUTER_ROWS = 0.005, 5
"""Share of the known values, and number of rows, beyond which a number as it is doesn't grow."""
PROBE = 16.0
"""Penalty of the normal scores beside which a number as it is has to say more."""
TELLING = 2.5
"""Least score statistic, in standard errors, of a number that counts as it is."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A number as it is: standardised at half scale, as normal scores are, and flat beyond two ends."""

    column: int
    low: float
    high: float
    mean: float
    scale: float

    def of(self, values: Floats) -> Floats:
        return (np.clip(values, self.low, self.high) - self.mean) / self.scale

    def merged(self, model: LinearModel, coefficient: float) -> LinearModel:
        """Return the model with this line added to the normal scores of its column."""
        own = model.knots[self.column]
        if own is None or coefficient == 0.0:
            return model
        at = np.union1d(own[0], [self.low, self.high])
        scores = model.coefficients[self.column] * (transformed(at, own) - model.centre[self.column])
        knots, centre = list(model.knots), model.centre.copy()
        coefficients = model.coefficients.copy()
        knots[self.column] = at, scores + coefficient * self.of(at)
        centre[self.column], coefficients[self.column] = 0.0, 1.0
        return replace(model, knots=tuple(knots), centre=centre, coefficients=coefficients)


@dataclass(frozen=True, eq=False, slots=True)
class Design:
    """What a regression on normal scores sees of an encoded matrix.

    Parameters
    ----------
    knots, centre, flagged, flag_centre
        As in :class:`icp_ml.model.linear.LinearModel`.
    lines
        Numbers that count as they are too.
    Z
        One column per line, encoded column and missing flag, all centred, then a column of ones.
    """

    knots: tuple[tuple[Floats, Floats] | None, ...]
    centre: Floats
    flagged: tuple[int, ...]
    flag_centre: Floats
    lines: tuple[_Line, ...]
    Z: Floats

    @classmethod
    def of(cls, X: Floats, y: Floats, scored: npt.NDArray[np.bool_], each: Floats) -> Design:
        """Make the columns; see :func:`fit_linear_path`."""
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
        lines = tuple(_telling(X, Z, y, each, scored))
        own = [np.where(unknown[:, line.column], 0.0, line.of(X[:, line.column])) for line in lines]
        return cls(knots, centre, flagged, flag_centre, lines, np.column_stack([*own, Z]))

    def signs(self, directions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the directions of the columns of ``Z`` that have any, which come first."""
        return np.concatenate([directions[[line.column for line in self.lines]], directions])

    def model(self, sizes: Floats) -> LinearModel:
        """Return the model of one coefficient per column of ``Z``."""
        ends = [len(self.lines), len(self.lines) + len(self.centre)]
        extra, beta, flags = np.split(sizes[:-1], ends)
        model = LinearModel(
            self.knots, self.centre, beta, self.flagged, self.flag_centre, flags, float(sizes[-1])
        )
        for line, coefficient in zip(self.lines, extra.tolist(), strict=True):
            model = line.merged(model, coefficient)
        return model


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
    each = np.ones(len(y)) if weights is None else weights
    design = Design.of(X, y, scored, each)
    path = np.array(newton_path(design.Z, y, each, penalties))
    if directions is not None:
        signs = design.signs(directions)
        while (wrong := (path[:, : len(signs)] * signs < 0).any(axis=0)).any():
            design.Z[:, np.flatnonzero(wrong)] = 0.0
            path = np.array(newton_path(design.Z, y, each, penalties))
    return [design.model(sizes) for sizes in path]


def _telling(X: Floats, Z: Floats, y: Floats, each: Floats, scored: npt.NDArray[np.bool_]) -> list[_Line]:
    """Return the numbers that say as they are what the normal scores of all columns don't.

    By the score test of the column, less what its own normal scores and the intercept say of it.
    """
    lines = [line for j in np.flatnonzero(scored).tolist() if (line := _line(j, X[:, j])) is not None]
    if not lines:
        return []
    beta = newton_path(Z, y, each, (PROBE,))[-1]
    chance = expit(Z @ beta)
    rest, curve = each * (y - chance), each * chance * (1.0 - chance)
    telling = []
    for line in lines:
        known = ~np.isnan(X[:, line.column])
        basis = np.column_stack([np.ones(int(known.sum())), Z[known, line.column]])
        values, own = line.of(X[known, line.column]), curve[known]
        gram = basis.T @ (basis * own[:, None])
        alone = values - basis @ np.linalg.lstsq(gram, basis.T @ (own * values), rcond=None)[0]
        error = np.sqrt((each[known] * own) @ alone**2)
        if abs(alone @ rest[known]) > TELLING * max(float(error), 1e-9):
            telling.append(line)
    return telling


def _line(column: int, values: Floats) -> _Line | None:
    known = values[np.isfinite(values)]
    if len(known) <= 2 * OUTER_ROWS:
        return None
    share = max(OUTER_SHARE, OUTER_ROWS / len(known))
    low, high = (float(end) for end in np.quantile(known, [share, 1.0 - share]))
    inside = np.clip(known, low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(inside.std())
    # A number of two values is a line by its normal scores too.
    if not 0.0 < spread < np.inf or len(np.unique(inside)) <= 2:
        return None
    return _Line(column, low, high, float(inside.mean()), 2.0 * spread)


def newton_path(Z: Floats, y: Floats, each: Floats, penalties: tuple[float, ...]) -> list[Floats]:
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
