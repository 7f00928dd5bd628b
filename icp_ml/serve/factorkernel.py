"""The sums and the solution of the factor model by numba: the bits of the numpy path in ``factors``."""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.model.fasttree.jit import compiled

ROWS = 64


@compiled
def solve(z: Any, loadings: Any, unique: Any, scores: Any, squares: Any, plain: Any, explained: Any) -> None:
    """Write factor scores (factors, rows), the squared lengths and what the factors explain of them."""
    n, n_coordinates, count = z.shape[0], z.shape[1], loadings.shape[1]
    known, value = np.zeros(ROWS), np.zeros(ROWS)
    sums, gram = np.zeros((count, ROWS)), np.zeros((count, count, ROWS))
    for low in range(0, n, ROWS):
        size = min(low + ROWS, n) - low
        sums[:] = 0.0
        gram[:] = 0.0
        for a in range(count):
            gram[a, a, :] = 1.0
        for j in range(n_coordinates):
            for r in range(size):
                x = z[low + r, j]
                is_known = x == x
                known[r] = 1.0 if is_known else 0.0
                value[r] = x if is_known else 0.0
            u = unique[j]
            for r in range(size):
                squared = value[r] * value[r]
                squares[low + r] += squared / u
                plain[low + r] += squared
            for a in range(count):
                weight = loadings[j, a] / u
                total = sums[a]
                for r in range(size):
                    total[r] += value[r] * weight
                for b in range(a + 1):
                    shared = loadings[j, a] * loadings[j, b] / u
                    cell = gram[a, b]
                    for r in range(size):
                        cell[r] += known[r] * shared
        _eliminate(gram, sums, size, scores[:, low : low + size], explained[low : low + size])


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
