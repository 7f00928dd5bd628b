"""What numba compiles: draws for bands, and step look-up with the bits of ``contributions``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

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
    values: Any,
    totals: Any,
    parts: Any,
    scale: float,
) -> None:
    """Add each table's steps to ``totals`` (width, rows) and the first of them, scaled, to ``parts``.

    Table ``t`` has its thresholds at ``start[t]:start[t + 1]``. A row of ``values`` has the steps of all
    tables, one more each than thresholds, and then what each says of an unknown value. ``parts`` has shape
    (columns, rows), or (0, 0) if they aren't wanted.
    """
    n, width = X.shape[0], totals.shape[0]
    wanted = parts.shape[0] > 0
    places = np.empty(ROWS, dtype=np.int64)
    for low in range(0, n, ROWS):
        high = min(low + ROWS, n)
        for t in range(len(columns)):
            column, first = columns[t], start[t] + t
            unknown = values.shape[1] - len(columns) + t
            cuts = thresholds[start[t] : start[t + 1]]
            for r in range(high - low):
                x = X[low + r, column]
                base, size = 0, len(cuts)
                while size > 1:
                    half = size >> 1
                    base += half if cuts[base + half - 1] < x else 0
                    size -= half
                place = first + base + (1 if cuts[base] < x else 0)
                places[r] = unknown if x != x else place
            for w in range(width):
                total, own = totals[w, low:high], values[w]
                for r in range(high - low):
                    total[r] += own[places[r]]
            if wanted:
                part, own = parts[column, low:high], values[0]
                for r in range(high - low):
                    part[r] += scale * own[places[r]]
