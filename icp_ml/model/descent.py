"""Coordinate descent on a quadratic with an absolute penalty; numba compiles it where it is installed."""

from __future__ import annotations

from typing import Any

SWEEPS = 200
NEAR = 1e-5


def descend(cross: Any, slope: Any, beta: Any, penalties: Any, ridges: Any, signs: Any) -> None:
    """Minimise b'Cb/2 - (slope at beta)'b + penalties'|b| + ridges'b²/2 in place, started from ``beta``.

    After a sweep over all coefficients those at zero are left out until the others are at rest. ``slope`` is
    the gradient of the log-likelihood at ``beta`` and is overwritten. Where ``signs`` is 1 or -1 no
    coefficient gets below or above 0.
    """
    n = len(beta)
    everyone = True
    for _ in range(SWEEPS):
        largest = 0.0
        for j in range(n):
            if (not everyone and beta[j] == 0.0) or cross[j, j] < 1e-12:
                continue
            pull = slope[j] + cross[j, j] * beta[j]
            size = abs(pull) - penalties[j]
            new = 0.0
            if size > 0.0 and pull * signs[j] >= 0.0:
                new = (size if pull > 0.0 else -size) / (cross[j, j] + ridges[j])
            moved = new - beta[j]
            if moved != 0.0:
                slope -= moved * cross[j]
                beta[j] = new
                largest = max(largest, cross[j, j] * moved * moved)
        if largest < NEAR:
            if everyone:
                return
            everyone = True
        else:
            everyone = False
