"""What numba compiles: draws for bands, and step look-up with the bits of ``contributions``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

from icp_ml.model import gibbs

F = TypeVar("F", bound=Callable[..., Any])
ROWS = 64


def _compiled(function: F) -> F:
    return cast("F", numba.njit(cache=True, nogil=True)(function))


draw = _compiled(gibbs.draw)


@_compiled
def look_up(
    X: Any,
    columns: Any,
    thresholds: Any,
    start: Any,
    steps: Any,
    missing: Any,
    totals: Any,
    parts: Any,
    scale: float,
) -> None:
    """Add each table's steps to ``totals`` (width, rows) and the first of them, scaled, to ``parts``.

    Table ``t`` has its thresholds at ``start[t]:start[t + 1]`` and one row of ``steps`` more than thresholds.
    ``parts`` has shape (columns, rows), or (0, 0) if they aren't wanted.
    """
    n, width = X.shape[0], totals.shape[0]
    wanted = parts.shape[0] > 0
    for low in range(0, n, ROWS):
        high = min(low + ROWS, n)
        for t in range(len(columns)):
            column = columns[t]
            cuts = thresholds[start[t] : start[t + 1]]
            table = steps[start[t] + t : start[t + 1] + t + 1]
            unknown = missing[t]
            for r in range(low, high):
                x = X[r, column]
                if x != x:
                    row = unknown
                else:
                    base, size = 0, len(cuts)
                    while size > 1:
                        half = size >> 1
                        base += half if cuts[base + half - 1] < x else 0
                        size -= half
                    row = table[base + (1 if cuts[base] < x else 0)]
                for w in range(width):
                    totals[w, r] += row[w]
                if wanted:
                    parts[column, r] += scale * row[0]
