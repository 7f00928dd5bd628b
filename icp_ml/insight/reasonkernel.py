"""The choice of reasons by numba: the columns that the numpy path in ``reasons`` chooses, ties and all."""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.model.fasttree.jit import compiled

_UNIT = 1e9


@compiled
def largest(values: Any, least: float, chosen: Any) -> None:
    """Write the columns of the largest contributions, then of the smallest, -1 where there are fewer.

    ``chosen`` has shape (rows, 2 * count).
    """
    count = chosen.shape[1] // 2
    best = np.empty(count)
    for r in range(len(chosen)):
        for side in range(2):
            sign, found = 1.0 - 2.0 * side, 0
            columns = chosen[r, side * count : (side + 1) * count]
            for j in range(values.shape[1]):
                if sign * values[r, j] < least - 2.0 / _UNIT:
                    continue
                rounded = sign * np.rint(values[r, j] * _UNIT) / _UNIT
                if found == count and rounded <= best[count - 1]:
                    continue
                place = min(found, count - 1)
                while place > 0 and best[place - 1] < rounded:
                    best[place], columns[place] = best[place - 1], columns[place - 1]
                    place -= 1
                best[place], columns[place] = rounded, j
                found = min(found + 1, count)
            for place in range(count):
                if place >= found or sign * values[r, columns[place]] < least:
                    columns[place] = -1


@compiled
def strongest(parts: Any, columns: Any, rows: Any, signs: Any, top: Any, amount: Any) -> None:
    """Write which of the columns speaks most for the sign of each row asked for, and how much."""
    for i in range(len(rows)):
        bar = -np.inf
        for k in range(len(columns)):
            value = signs[i] * parts[rows[i], columns[k]]
            if k > 0 and value <= amount[i]:
                continue
            rounded = np.rint(value * _UNIT) / _UNIT
            if rounded > bar:
                bar, top[i], amount[i] = rounded, k, value
