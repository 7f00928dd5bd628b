"""The look-up, compiled by numba: rows to codes, codes to contributions, contributions to top lists.

:mod:`icp_ml.model.fasttree.plain` has the same functions in numpy. All work on one block of rows, hold
no lock and change nothing but the arrays named last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])
TILE = 1024
WIDE_TILE = 128


def _compiled(function: F) -> F:
    return cast("F", numba.njit(cache=True, nogil=True)(function))


@_compiled
def encode(
    X: Any,
    features: Any,
    categorical: Any,
    n_bins: Any,
    edges: Any,
    edge_start: Any,
    levels: Any,
    level_start: Any,
    codes: Any,
) -> None:
    """Write the bin of each value, shape (features, rows)."""
    n = X.shape[0]
    for low in range(0, n, 64):
        high = min(low + 64, n)
        for i in range(len(features)):
            column, code = features[i], codes[i]
            last = n_bins[i] - 1
            if categorical[i]:
                table = levels[level_start[i] : level_start[i + 1]]
                for r in range(low, high):
                    x = X[r, column]
                    place = last
                    if x > -1.0 and x < len(table):
                        place = np.int64(table[np.int64(x)])
                    code[r] = place
                continue
            cuts = edges[edge_start[i] : edge_start[i + 1]]
            if len(cuts) == 1:
                only = cuts[0]
                for r in range(low, high):
                    x = X[r, column]
                    code[r] = 2 if x != x else np.int64(x > only)
                continue
            for r in range(low, high):
                x = X[r, column]
                base, size = 0, len(cuts)
                while size > 1:
                    half = size >> 1
                    base += half if cuts[base + half - 1] < x else 0
                    size -= half
                place = base + (1 if cuts[base] < x else 0)
                code[r] = last if x != x else place


@_compiled
def accumulate(
    codes: Any,
    start: Any,
    slot_feature: Any,
    map_start: Any,
    maps: Any,
    table_start: Any,
    tables: Any,
    phi: Any,
) -> None:
    """Add the contributions of all groups, shape (features, rows)."""
    n = codes.shape[1]
    place = np.empty(TILE, dtype=np.uint32)
    for g in range(len(start) - 1):
        first, end = start[g], start[g + 1]
        table = tables[table_start[g] :]
        for low in range(0, n, TILE):
            high = min(low + TILE, n)
            size = high - low
            for r in range(size):
                place[r] = 0
            s = first
            while s + 3 < end:
                a, b = maps[map_start[s] :], maps[map_start[s + 1] :]
                c, d = maps[map_start[s + 2] :], maps[map_start[s + 3] :]
                at, bt = codes[slot_feature[s], low:high], codes[slot_feature[s + 1], low:high]
                ct, dt = codes[slot_feature[s + 2], low:high], codes[slot_feature[s + 3], low:high]
                for r in range(size):
                    place[r] += (
                        np.uint32(a[at[r]]) + np.uint32(b[bt[r]]) + np.uint32(c[ct[r]]) + np.uint32(d[dt[r]])
                    )
                s += 4
            while s < end:
                a, at = maps[map_start[s] :], codes[slot_feature[s], low:high]
                for r in range(size):
                    place[r] += np.uint32(a[at[r]])
                s += 1
            s = first
            while s + 3 < end:
                w, x = phi[slot_feature[s], low:high], phi[slot_feature[s + 1], low:high]
                y, z = phi[slot_feature[s + 2], low:high], phi[slot_feature[s + 3], low:high]
                row = table[s - first :]
                for r in range(size):
                    p = place[r]
                    w[r] += row[p]
                    x[r] += row[p + np.uint32(1)]
                    y[r] += row[p + np.uint32(2)]
                    z[r] += row[p + np.uint32(3)]
                s += 4
            while s < end:
                w, row = phi[slot_feature[s], low:high], table[s - first :]
                for r in range(size):
                    w[r] += row[place[r]]
                s += 1


@_compiled
def accumulate_wide(
    codes: Any,
    start: Any,
    feature: Any,
    map_start: Any,
    bits: Any,
    share: Any,
    value: Any,
    node_start: Any,
    nodes: Any,
    weights: Any,
    phi: Any,
) -> None:
    """Add the contributions of leaves without a table, by quadrature row by row.

    Nodes and weights for ``k`` features are at ``node_start[k]:node_start[k + 1]``.
    """
    n = codes.shape[1]
    product = np.empty(WIDE_TILE)
    widest = 0
    for leaf in range(len(value)):
        widest = max(widest, start[leaf + 1] - start[leaf])
    passes = np.empty((widest, WIDE_TILE))
    for leaf in range(len(value)):
        first = start[leaf]
        k = start[leaf + 1] - first
        for low in range(0, n, WIDE_TILE):
            size = min(low + WIDE_TILE, n) - low
            for i in range(k):
                table, code, bit = bits[map_start[first + i] :], codes[feature[first + i], low:], passes[i]
                for r in range(size):
                    bit[r] = table[code[r]]
            for q in range(node_start[k], node_start[k + 1]):
                t = nodes[q]
                scale = weights[q] * value[leaf]
                for r in range(size):
                    product[r] = scale
                for i in range(k):
                    off, bit = share[first + i] * (1.0 - t), passes[i]
                    for r in range(size):
                        product[r] *= off + t * bit[r]
                for i in range(k):
                    z = share[first + i]
                    low_factor = -z / (z * (1.0 - t))
                    step = (1.0 - z) / (z * (1.0 - t) + t) - low_factor
                    bit, target = passes[i], phi[feature[first + i], low:]
                    for r in range(size):
                        target[r] += product[r] * (low_factor + step * bit[r])


@_compiled
def spread(phi: Any, features: Any, base: float, out: Any) -> None:
    """Write contributions into the rows of a matrix of all input columns and the base value."""
    n = phi.shape[1]
    width = out.shape[1]
    for low in range(0, n, 64):
        high = min(low + 64, n)
        for r in range(low, high):
            out[r, :] = 0.0
            out[r, width - 1] = base
        for i in range(len(features)):
            row, column = phi[i], features[i]
            for r in range(low, high):
                out[r, column] = row[r]


@_compiled
def total(phi: Any, base: float, raw: Any) -> None:
    """Write the raw score: base value plus all contributions."""
    raw[:] = base
    for i in range(phi.shape[0]):
        row = phi[i]
        for r in range(phi.shape[1]):
            raw[r] += row[r]


@_compiled
def largest(phi: Any, features: Any, sign: float, columns: Any, values: Any) -> None:
    """Write the columns with the largest contributions of one sign, largest first.

    Where a row has fewer, -1 and 0 stand.
    ``columns`` and ``values`` have shape (rows, k). Of equal contributions the earlier column comes first.
    """
    n = phi.shape[1]
    k = columns.shape[1]
    columns[:] = -1
    values[:] = 0.0
    bar = np.zeros(64)
    for low in range(0, n, 64):
        size = min(low + 64, n) - low
        bar[:] = 0.0
        for i in range(phi.shape[0]):
            row = phi[i, low:]
            for r in range(size):
                v = sign * row[r]
                if v > bar[r]:
                    best, own = columns[low + r], values[low + r]
                    j = k - 1
                    while j > 0 and sign * own[j - 1] < v:
                        own[j] = own[j - 1]
                        best[j] = best[j - 1]
                        j -= 1
                    own[j] = row[r]
                    best[j] = features[i]
                    bar[r] = sign * own[k - 1]
