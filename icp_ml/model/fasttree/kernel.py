"""The look-up, compiled by numba: rows to codes, codes to contributions, contributions to top lists.

:mod:`icp_ml.model.fasttree.plain` has the same functions in numpy. All work on one block of rows, hold
no lock and change nothing but the arrays named last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.model.fasttree.jit import compiled, count_below

TILE = 4096
ENCODE_TILE = 512
WIDE_TILE = 256
CACHE_LINE = 64
# A row reads about two lines of a table and now and then four.
LINES_PER_ROW = 4
SMALLEST = 5e-324


@compiled
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
    tile, places = np.empty(ENCODE_TILE), np.empty(ENCODE_TILE, dtype=np.int64)
    for low in range(0, n, ENCODE_TILE):
        size = min(low + ENCODE_TILE, n) - low
        x, place = tile[:size], places[:size]
        for i in range(len(features)):
            code = codes[i, low : low + size]
            last = n_bins[i] - 1
            for r in range(size):
                x[r] = X[low + r, features[i]]
            if categorical[i]:
                table = levels[level_start[i] : level_start[i + 1]]
                for r in range(size):
                    inside = x[r] > -1.0 and x[r] < len(table)
                    code[r] = np.int64(table[np.int64(x[r])]) if inside else last
                continue
            cuts = edges[edge_start[i] : edge_start[i + 1]]
            if len(cuts) == 1:
                only = cuts[0]
                for r in range(size):
                    code[r] = 2 if x[r] != x[r] else np.int64(x[r] > only)
                continue
            count_below(cuts, x, place)
            for r in range(size):
                code[r] = last if x[r] != x[r] else place[r]


@compiled
def _find_places(
    codes: Any,
    begin: Any,
    step_start: Any,
    step_feature: Any,
    step_code: Any,
    step: Any,
    g: int,
    low: int,
    place: Any,
) -> None:
    """Write the places in one table of a tile of rows; compares run many rows per instruction."""
    size = len(place)
    none = np.uint16(0)
    high = low + size
    for r in range(size):
        place[r] = begin[g]
    o, end = step_start[g], step_start[g + 1]
    while o + 3 < end:
        c0, c1 = codes[step_feature[o], low:high], codes[step_feature[o + 1], low:high]
        c2, c3 = codes[step_feature[o + 2], low:high], codes[step_feature[o + 3], low:high]
        t0, t1, t2, t3 = step_code[o], step_code[o + 1], step_code[o + 2], step_code[o + 3]
        s0, s1, s2, s3 = step[o], step[o + 1], step[o + 2], step[o + 3]
        for r in range(size):
            one = np.uint16((s0 if c0[r] > t0 else none) + (s1 if c1[r] > t1 else none))
            two = np.uint16((s2 if c2[r] > t2 else none) + (s3 if c3[r] > t3 else none))
            place[r] = np.uint16(place[r] + one + two)
        o += 4
    while o < end:
        c0, t0, s0 = codes[step_feature[o], low:high], step_code[o], step[o]
        for r in range(size):
            place[r] = np.uint16(place[r] + (s0 if c0[r] > t0 else none))
        o += 1


@compiled
def _fetch(table: Any) -> float:
    """Read a table from end to end, so that rows, which reach for it in no order, find it in the cache.

    The sum is what keeps a compiler from leaving this out.
    """
    found = 0.0
    for i in range(0, len(table), CACHE_LINE // table.itemsize):
        found += table[i]
    return found


@compiled
def accumulate(
    codes: Any,
    start: Any,
    slot_feature: Any,
    table_start: Any,
    tables: Any,
    begin: Any,
    step_start: Any,
    step_feature: Any,
    step_code: Any,
    step: Any,
    phi: Any,
) -> float:
    """Add the contributions of all groups, shape (features, rows); what is returned means nothing."""
    n = codes.shape[1]
    places = np.empty(TILE, dtype=np.uint16)
    fetched = 0.0
    for g in range(len(start) - 1):
        first, end = start[g], start[g + 1]
        table = tables[table_start[g] : table_start[g + 1]]
        if n * LINES_PER_ROW * CACHE_LINE >= len(table) * table.itemsize:
            fetched += _fetch(table)
        for low in range(0, n, TILE):
            high = min(low + TILE, n)
            place = places[: high - low]
            _find_places(codes, begin, step_start, step_feature, step_code, step, g, low, place)
            s = first
            while s + 3 < end:
                w, x = phi[slot_feature[s], low:high], phi[slot_feature[s + 1], low:high]
                y, z = phi[slot_feature[s + 2], low:high], phi[slot_feature[s + 3], low:high]
                row = table[s - first :]
                for r in range(len(place)):
                    p = np.uint64(place[r])
                    w[r] += row[p]
                    x[r] += row[p + np.uint64(1)]
                    y[r] += row[p + np.uint64(2)]
                    z[r] += row[p + np.uint64(3)]
                s += 4
            while s < end:
                w, row = phi[slot_feature[s], low:high], table[s - first :]
                for r in range(len(place)):
                    w[r] += row[np.uint64(place[r])]
                s += 1
    return fetched


@compiled
def accumulate_wide(
    codes: Any,
    start: Any,
    feature: Any,
    share: Any,
    value: Any,
    begin: Any,
    step_start: Any,
    step_code: Any,
    step: Any,
    node_start: Any,
    nodes: Any,
    weights: Any,
    phi: Any,
) -> None:
    """Add the contributions of leaves without a table, by quadrature row by row.

    Nodes and weights for ``k`` features are at ``node_start[k]:node_start[k + 1]``.
    """
    n = codes.shape[1]
    widest = 0
    for leaf in range(len(value)):
        widest = max(widest, start[leaf + 1] - start[leaf])
    # Padded to fours, so that the loops below go four by four: factors 1 and weights 0 change nothing.
    passes = np.zeros((widest + 4, WIDE_TILE))
    products = np.zeros((len(nodes) + 4, WIDE_TILE))
    bits = np.zeros(WIDE_TILE, dtype=np.int8)
    off, on = np.ones(widest + 4), np.zeros(widest + 4)
    low_factor, rise = np.zeros(len(nodes) + 4), np.zeros(len(nodes) + 4)
    for leaf in range(len(value)):
        first = start[leaf]
        k = start[leaf + 1] - first
        own, n_nodes = node_start[k], node_start[k + 1] - node_start[k]
        for low in range(0, n, WIDE_TILE):
            size = min(low + WIDE_TILE, n) - low
            for i in range(k):
                code, bit = codes[feature[first + i], low : low + size], passes[i]
                for r in range(size):
                    bits[r] = begin[first + i]
                for o in range(step_start[first + i], step_start[first + i + 1]):
                    t0, s0, none = step_code[o], step[o], np.int8(0)
                    for r in range(size):
                        bits[r] = np.int8(bits[r] + (s0 if code[r] > t0 else none))
                for r in range(size):
                    bit[r] = bits[r]
            for q in range(n_nodes):
                t, product = nodes[own + q], products[q]
                scale = weights[own + q] * value[leaf]
                for i in range(widest + 4):
                    off[i] = share[first + i] * (1.0 - t) if i < k else 1.0
                    on[i] = t if i < k else 0.0
                for r in range(size):
                    product[r] = scale
                for i in range(0, k, 4):
                    b0, b1, b2, b3 = passes[i], passes[i + 1], passes[i + 2], passes[i + 3]
                    a0, a1, a2, a3 = off[i], off[i + 1], off[i + 2], off[i + 3]
                    u0, u1, u2, u3 = on[i], on[i + 1], on[i + 2], on[i + 3]
                    for r in range(size):
                        left = (a0 + u0 * b0[r]) * (a1 + u1 * b1[r])
                        product[r] *= left * ((a2 + u2 * b2[r]) * (a3 + u3 * b3[r]))
            for i in range(k):
                z = share[first + i]
                for q in range(n_nodes):
                    t = nodes[own + q]
                    low_factor[q] = -1.0 / (1.0 - t)
                    rise[q] = (1.0 - z) / (z * (1.0 - t) + t) - low_factor[q]
                low_factor[n_nodes : n_nodes + 4] = 0.0
                rise[n_nodes : n_nodes + 4] = 0.0
                bit, target = passes[i], phi[feature[first + i], low : low + size]
                for q in range(0, n_nodes, 4):
                    p0, p1, p2, p3 = products[q], products[q + 1], products[q + 2], products[q + 3]
                    a0, a1, a2, a3 = low_factor[q], low_factor[q + 1], low_factor[q + 2], low_factor[q + 3]
                    u0, u1, u2, u3 = rise[q], rise[q + 1], rise[q + 2], rise[q + 3]
                    for r in range(size):
                        b = bit[r]
                        left = p0[r] * (a0 + u0 * b) + p1[r] * (a1 + u1 * b)
                        target[r] += left + (p2[r] * (a2 + u2 * b) + p3[r] * (a3 + u3 * b))


@compiled
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


@compiled
def total(phi: Any, base: float, raw: Any) -> None:
    """Write the raw score: base value plus all contributions."""
    raw[:] = base
    for i in range(phi.shape[0]):
        row = phi[i]
        for r in range(phi.shape[1]):
            raw[r] += row[r]


@compiled
def _insert(v: float, column: int, columns: Any, values: Any, sign: float) -> float:
    """Put a contribution in its place in one row's list; return what the next must reach, times ``sign``."""
    last = len(columns) - 1
    place = last
    if sign * values[last] == v and columns[last] >= 0 and column > columns[last]:
        return v
    while place > 0:
        before = sign * values[place - 1]
        if before > v or (before == v and columns[place - 1] < column):
            break
        values[place], columns[place] = values[place - 1], columns[place - 1]
        place -= 1
    values[place], columns[place] = sign * v, column
    return float(max(sign * values[last], SMALLEST))


@compiled
def largest(
    phi: Any,
    features: Any,
    order: Any,
    positive: Any,
    positive_values: Any,
    negative: Any,
    negative_values: Any,
) -> None:
    """Write the columns with the largest contributions of each sign, furthest from 0 first.

    Where a row has fewer, -1 and 0 stand. ``order`` is in which order to look at the features: the sooner the
    large ones, the faster. Lists have shape (rows, k). Of equal contributions the earlier column comes first.
    """
    positive[:], negative[:] = -1, -1
    positive_values[:], negative_values[:] = 0.0, 0.0
    _largest_of_sign(phi, features, order, 1.0, positive, positive_values)
    _largest_of_sign(phi, features, order, -1.0, negative, negative_values)


@compiled
def _largest_of_sign(phi: Any, features: Any, order: Any, sign: float, columns: Any, values: Any) -> None:
    n = phi.shape[1]
    bar = np.empty(64)
    for low in range(0, n, 64):
        size = min(low + 64, n) - low
        bar[:] = SMALLEST
        for i in order:
            row, column = phi[i, low:], features[i]
            for r in range(size):
                v = sign * row[r]
                if v >= bar[r]:
                    bar[r] = _insert(v, column, columns[low + r], values[low + r], sign)
