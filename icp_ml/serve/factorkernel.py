"""Normal scores and the factor model by numba: the bits of the numpy paths in ``margins`` and ``factors``."""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.model.fasttree.jit import compiled, count_below

ROWS, TILE = 64, 1024


@compiled
def solve(
    z: Any,
    loadings: Any,
    unique: Any,
    known: Any,
    grams: Any,
    sums: Any,
    squares: Any,
    plain: Any,
    scores: Any,
    explained: Any,
) -> None:
    """Write factor scores (factors, rows) and what the factors explain of the squared lengths.

    ``z`` has coordinates one by one; groups of others are ``known`` or not, add ``grams``, and have already
    been added to ``sums``, ``squares`` and ``plain``.
    """
    n, n_coordinates, count = z.shape[0], z.shape[1], len(sums)
    is_known, value = np.zeros(ROWS), np.zeros(ROWS)
    gram = np.zeros((count, count, ROWS))
    for low in range(0, n, ROWS):
        size = min(low + ROWS, n) - low
        gram[:] = 0.0
        for a in range(count):
            gram[a, a, :] = 1.0
        for j in range(n_coordinates):
            for r in range(size):
                x = z[low + r, j]
                is_known[r] = 1.0 if x == x else 0.0
                value[r] = x if x == x else 0.0
            u = unique[j]
            for r in range(size):
                squared = value[r] * value[r]
                squares[low + r] += squared / u
                plain[low + r] += squared
            for a in range(count):
                weight = loadings[j, a] / u
                total = sums[a, low : low + size]
                for r in range(size):
                    total[r] += value[r] * weight
                for b in range(a + 1):
                    _add_known(gram[a, b], is_known, loadings[j, a] * loadings[j, b] / u, size)
        for g in range(len(known)):
            for r in range(size):
                is_known[r] = 1.0 if known[g, low + r] else 0.0
            for a in range(count):
                for b in range(a + 1):
                    _add_known(gram[a, b], is_known, grams[g, a, b], size)
        own = sums[:, low : low + size]
        _eliminate(gram, own, size, scores[:, low : low + size], explained[low : low + size])


@compiled
def _add_known(cell: Any, known: Any, shared: float, size: int) -> None:
    for r in range(size):
        cell[r] += known[r] * shared


@compiled
def _eliminate(gram: Any, sums: Any, size: int, scores: Any, explained: Any) -> None:
    """Solve by the factors L D L' of each matrix, whose lower half is given and overwritten."""
    count = len(sums)
    for a in range(count):
        for b in range(a):
            for r in range(size):
                ratio = gram[a, b, r] / gram[b, b, r]
                for c in range(b + 1, a + 1):
                    # rows after b still hold their entries times the pivot
                    gram[a, c, r] -= ratio * (gram[c, b, r] * gram[b, b, r] if c < a else gram[a, b, r])
                gram[a, b, r] = ratio
    for a in range(count):
        for r in range(size):
            total = sums[a, r]
            for b in range(a):
                total -= gram[a, b, r] * scores[b, r]
            scores[a, r] = total
    for a in range(count - 1, -1, -1):
        for r in range(size):
            total = scores[a, r] / gram[a, a, r]
            for b in range(a + 1, count):
                total -= gram[b, a, r] * scores[b, r]
            scores[a, r] = total
    for r in range(size):
        explained[r] = 0.0
        for a in range(count):
            explained[r] += sums[a, r] * scores[a, r]


@compiled
def interpolate(x: Any, knots: Any, at: Any, slopes: Any, y: Any) -> None:
    """Write ``y`` on the lines between knots, level beyond them; NaN stays."""
    places = np.empty(TILE, dtype=np.int64)
    for low in range(0, len(x), TILE):
        size = min(low + TILE, len(x)) - low
        count_below(knots, x[low : low + size], places[:size])
        for r in range(size):
            value, place = x[low + r], places[r]
            if value != value:
                y[low + r] = value
            elif place == 0 or place == len(knots):
                y[low + r] = at[0] if place == 0 else at[-1]
            else:
                line = slopes[place - 1] * (value - knots[place - 1]) + at[place - 1]
                y[low + r] = min(line, at[place])
