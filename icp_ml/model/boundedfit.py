"""Fits :mod:`icp_ml.model.bounded`: coefficients, floor and ceiling of the largest posterior."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from icp_ml.model.bounded import BoundedModel, Bounds
from icp_ml.model.columns import Floats
from icp_ml.model.ridge import Design, newton_path

BOUNDED_PENALTIES = (64.0, 16.0, 4.0, 1.0, 0.3, 0.1)
MOST = 0.45
"""Largest floor and gap."""
PRIOR_ACCOUNTS = 20.0
"""Accounts that speak for a floor of 0 and a ceiling of 1 before the data do."""
LEAST = 1e-6
"""Smallest floor and gap."""
_UNIT = 0.1
"""Floor and gap in units that a search finds its way in."""
_START, _ROUNDS = 0.02, 200


def fit_bounded_path(
    X: Floats,
    y: Floats,
    scored: npt.NDArray[np.bool_],
    penalties: tuple[float, ...],
    weights: Floats | None = None,
    directions: npt.NDArray[np.int64] | None = None,
) -> list[BoundedModel]:
    """Fit one model per ridge penalty, strongest first, each started from the one before.

    Coefficients, floor and ceiling are those of the largest posterior: coefficients normal, floor and gap
    exponential with a mean of 1 / :data:`PRIOR_ACCOUNTS`.

    Parameters
    ----------
    X, y, scored, penalties, weights
        As :func:`icp_ml.model.ridge.fit_linear_path`.
    directions
        1 or -1 per encoded column whose coefficient must not be below or above 0, else 0.
    """
    each = np.ones(len(y)) if weights is None else weights
    design = Design.of(X, y, scored, each)
    signs = np.zeros(design.Z.shape[1], dtype=np.int64)
    if directions is not None:
        own = design.signs(directions)
        signs[: len(own)] = own
    limits = [(0.0 if sign > 0 else None, 0.0 if sign < 0 else None) for sign in signs.tolist()]
    first = newton_path(design.Z, y, each, penalties[:1])[0]
    beta = np.where(first * signs < 0, 0.0, first)
    models = []
    for penalty in penalties:
        ridge = np.full(design.Z.shape[1], penalty)
        ridge[-1] = 1e-8
        # Under a strong penalty both ends may be 0, from where a weaker one shouldn't start.
        found = minimize(
            _posterior,
            np.append(beta, [_START / _UNIT, _START / _UNIT]),
            args=(design.Z, y, each, ridge),
            jac=True,
            method="L-BFGS-B",
            bounds=[*limits, *[(LEAST / _UNIT, MOST / _UNIT)] * 2],
            options={"maxiter": _ROUNDS},
        ).x
        beta, (floor, gap) = found[:-2], (_UNIT * found[-2:]).tolist()
        models.append(BoundedModel(design.model(beta), Bounds(floor, gap)))
    return models


def _posterior(found: Floats, Z: Floats, y: Floats, each: Floats, ridge: Floats) -> tuple[float, Floats]:
    """Return the negative log posterior and its gradient; the last two are floor and gap in their unit."""
    beta, (floor, gap) = found[:-2], _UNIT * found[-2:]
    width = 1.0 - floor - gap
    up = expit(Z @ beta)
    chance, other = floor + width * up, gap + width * (1.0 - up)
    loss = -(y * np.log(chance) + (1.0 - y) * np.log(other))
    value = each @ loss + 0.5 * (ridge * beta**2).sum() + PRIOR_ACCOUNTS * (floor + gap)
    pull = each * (chance - y) / (chance * other)
    ends = np.array([pull @ (1.0 - up), -(pull @ up)]) + PRIOR_ACCOUNTS
    slope = Z.T @ (pull * width * up * (1.0 - up)) + ridge * beta
    return float(value), np.append(slope, _UNIT * ends)
