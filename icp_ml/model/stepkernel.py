"""What numba compiles: draws for bands, and step look-up and sums with the bits of ``contributions``."""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.model import gibbs
from icp_ml.model.fasttree.jit import compiled, count_below

ROWS = 1024

draw = compiled(gibbs.draw)


@compiled
def _say_of_one_cut(x: Any, cut: float, first: int, unknown: int, own: Any, slope: Any, said: Any) -> None:
    below, over, none = own[first], own[first + 1], own[unknown]
    if len(slope):
        left, right = slope[first], slope[first + 1]
        for r in range(len(x)):
            above = x[r] - cut
            value = over + right * above if x[r] > cut else below + left * above
            said[r] = none if x[r] != x[r] else value
    else:
        for r in range(len(x)):
            said[r] = none if x[r] != x[r] else (over if x[r] > cut else below)


@compiled
def _say(place: Any, above: Any, own: Any, slope: Any, said: Any) -> None:
    for r in range(len(place)):
        said[r] = own[place[r]]
    if len(slope):
        for r in range(len(place)):
            said[r] += slope[place[r]] * above[r]


@compiled
def look_up(
    X: Any,
    columns: Any,
    thresholds: Any,
    start: Any,
    values: Any,
    slopes: Any,
    anchors: Any,
    totals: Any,
    parts: Any,
    scale: float,
) -> None:
    """Add what each table says to ``totals`` (width, rows) and the first of it, scaled, to ``parts``.

    Table ``t`` has its thresholds at ``start[t]:start[t + 1]``. A row of ``values`` has the steps of all
    tables, one more each than thresholds, and then what each says of an unknown value. ``slopes`` has what a
    step adds per unit above its anchor, or no columns if all are flat. ``parts`` has shape (columns, rows),
    or (0, 0) if they aren't wanted.
    """
    n, width = X.shape[0], totals.shape[0]
    wanted, sloped = parts.shape[0] > 0, slopes.shape[1] > 0
    places, above = np.empty(ROWS, dtype=np.int64), np.zeros(ROWS)
    tile, saying = np.empty(ROWS), np.empty(ROWS)
    for low in range(0, n, ROWS):
        size = min(low + ROWS, n) - low
        x, place, said = tile[:size], places[:size], saying[:size]
        for t in range(len(columns)):
            column, first = columns[t], start[t] + t
            unknown = values.shape[1] - len(columns) + t
            cuts = thresholds[start[t] : start[t + 1]]
            for r in range(size):
                x[r] = X[low + r, column]
            if len(cuts) > 1:
                count_below(cuts, x, place)
                for r in range(size):
                    place[r] = unknown if x[r] != x[r] else first + place[r]
                if sloped:
                    for r in range(size):
                        above[r] = 0.0 if x[r] != x[r] else x[r] - anchors[place[r]]
            # The first row comes last, so that what it says is still there for its column.
            for w in range(width - 1, -1, -1):
                if len(cuts) > 1:
                    _say(place, above, values[w], slopes[w], said)
                else:
                    _say_of_one_cut(x, cuts[0], first, unknown, values[w], slopes[w], said)
                total = totals[w, low : low + size]
                for r in range(size):
                    total[r] += said[r]
            if wanted:
                part = parts[column, low : low + size]
                for r in range(size):
                    part[r] += scale * said[r]


@compiled
def add_up(parts: Any, source_of: Any, summed: Any) -> None:
    """Add contributions (rows, encoded columns) to the rows of ``summed`` (sources, rows)."""
    for j in range(len(source_of)):
        total = summed[source_of[j]]
        for r in range(len(total)):
            total[r] += parts[r, j]
