"""Draws from the posterior of sparse coefficients; numba compiles it where it is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def draw(
    cross: Any,
    linear: Any,
    odds: Any,
    signs: Any,
    variances: Any,
    uniforms: Any,
    normals: Any,
    skip: int,
    state: Any,
    mean: Any,
) -> None:
    """Draw coefficients b with a Gibbs sampler and leave their posterior mean in ``mean``.

    The log-likelihood is linear'b - b'(cross)b / 2. A coefficient is 0, or with log-odds ``odds`` normal with
    mean 0 and a variance that all share, one of ``variances`` (George & McCulloch 1993, Journal of the
    American Statistical Association 88:881, with a spike at 0). A coefficient with a sign of 1 or -1 is 0
    where the rest would have it on the other side.

    Parameters
    ----------
    uniforms, normals
        Random numbers, shape (sweeps, coefficients + 1) and (sweeps, coefficients): given, so that the draws
        are the same with numba and without.
    skip
        Sweeps before those that count.
    state
        Coefficients and, last, the variance: where the sampler starts, and then where it ended.
    mean
        Filled with the mean over sweeps of each coefficient's expectation given the others.
    """
    sweeps, n = normals.shape
    slope = linear.copy()
    for j in range(n):
        if state[j] != 0.0:
            slope -= state[j] * cross[j]
    chance = variances * 0.0
    mean[:] = 0.0
    for sweep in range(sweeps):
        variance, held, squares = state[n], 0, 0.0
        for j in range(n):
            pull = slope[j] + cross[j, j] * state[j]
            spread = 1.0 / (cross[j, j] + 1.0 / variance)
            centre = spread * pull
            gain = odds[j] + (math.log(spread / variance) + centre * pull) / 2
            share = 0.0 if gain < -40.0 or centre * signs[j] < 0.0 else 1.0 / (1.0 + math.exp(-gain))
            if sweep >= skip:
                mean[j] += share * centre
            new = 0.0
            if uniforms[sweep, j] < share:
                new = centre + math.sqrt(spread) * normals[sweep, j]
                if new * signs[j] < 0.0:
                    new = -new
                held, squares = held + 1, squares + new * new
            if new != state[j]:
                slope -= (new - state[j]) * cross[j]
                state[j] = new
        for v in range(len(variances)):
            chance[v] = -(held * math.log(variances[v]) + squares / variances[v]) / 2
        chance = np.exp(chance - chance.max()).cumsum()
        state[n] = variances[np.searchsorted(chance[:-1], uniforms[sweep, n] * chance[-1])]
    mean /= sweeps - skip
