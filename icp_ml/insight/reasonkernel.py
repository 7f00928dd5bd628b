"""The choice of reasons by numba: the columns that the numpy path in ``reasons`` chooses, ties and all."""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.model.fasttree.jit import compiled

ROWS = 64
_UNIT = 1e9


@compiled
def largest(values: Any, least: float, chosen: Any) -> None:
    """Write the columns of the largest contributions, then of the smallest, -1 where there are fewer.

    ``chosen`` has shape (rows, 2 * count).
    """
    count, width = chosen.shape[1] // 2, values.shape[1]
    bar, rounded, columns = np.empty(2), np.empty(2 * count), np.empty(2 * count, dtype=np.int64)
    # Columns lie a power of two apart, where a cache keeps few of them at a time: a tile lies together.
    tile = np.empty((ROWS, width))
    for low in range(0, len(chosen), ROWS):
        size = min(low + ROWS, len(chosen)) - low
        for j in range(width):
            for r in range(size):
                tile[r, j] = values[low + r, j]
        for r in range(size):
            columns[:], rounded[:], bar[:] = -1, -np.inf, least - 2.0 / _UNIT
            for j in range(width):
                amount = abs(tile[r, j])
                side = 1 if tile[r, j] < 0.0 else 0
                if amount <= bar[side]:
                    continue
                # After those that round to the same amount, the smallest falls out.
                own, first, place = np.rint(amount * _UNIT) / _UNIT, side * count, (side + 1) * count - 1
                if own <= rounded[place]:
                    continue
                while place > first and rounded[place - 1] < own:
                    rounded[place], columns[place] = rounded[place - 1], columns[place - 1]
                    place -= 1
                rounded[place], columns[place] = own, j
                last = columns[first + count - 1]
                if last >= 0:
                    bar[side] = abs(tile[r, last])
            for place in range(2 * count):
                column = columns[place]
                chosen[low + r, place] = column if column >= 0 and abs(tile[r, column]) >= least else -1


@compiled
def strongest(parts: Any, columns: Any, rows: Any, signs: Any, top: Any, amount: Any) -> None:
    """Write which of the columns speaks most for the sign of each row asked for, and how much."""
    bar = np.empty(len(rows))
    bar[:] = -np.inf
    for k in range(len(columns)):
        column = columns[k]
        for i in range(len(rows)):
            value = signs[i] * parts[rows[i], column]
            if k > 0 and value <= amount[i]:
                continue
            rounded = np.rint(value * _UNIT) / _UNIT
            if rounded > bar[i]:
                bar[i], top[i], amount[i] = rounded, k, value
