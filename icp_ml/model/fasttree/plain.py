"""The look-up in numpy, for where numba is missing: same functions and results, slower."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Floats, Ints


def encode(
    X: Floats,
    features: Ints,
    categorical: npt.NDArray[np.bool_],
    n_bins: Ints,
    edges: Floats,
    edge_start: Ints,
    levels: npt.NDArray[np.uint16],
    level_start: Ints,
    codes: npt.NDArray[Any],
) -> None:
    """Write the bin of each value, shape (features, rows)."""
    for i, column in enumerate(features.tolist()):
        x, last = X[:, column], n_bins[i] - 1
        if categorical[i]:
            table = levels[level_start[i] : level_start[i + 1]]
            known = (x > -1.0) & (x < len(table))
            codes[i] = last
            codes[i, known] = table[x[known].astype(np.int64)]
        else:
            cuts = edges[edge_start[i] : edge_start[i + 1]]
            codes[i] = np.where(np.isnan(x), last, np.searchsorted(cuts, x))


def accumulate(
    codes: npt.NDArray[Any],
    start: Ints,
    slot_feature: Ints,
    table_start: Ints,
    tables: npt.NDArray[Any],
    begin: npt.NDArray[np.uint16],
    step_start: Ints,
    step_feature: Ints,
    step_code: npt.NDArray[Any],
    step: npt.NDArray[np.uint16],
    phi: Floats,
) -> None:
    """Add the contributions of all groups, shape (features, rows)."""
    if not len(start) - 1:
        return
    wide = codes.astype(np.intp)
    adds, feature_of, row_start = _place_tables(
        step_start, step_feature, step_code, step, int(wide.max()) + 1
    )
    for g, (first, end) in enumerate(zip(start[:-1].tolist(), start[1:].tolist(), strict=True)):
        small = np.full(codes.shape[1], begin[g], dtype=np.uint16)
        for row in range(row_start[g], row_start[g + 1]):
            small += adds[row].take(wide[feature_of[row]])
        place = small.astype(np.intp)
        for s in range(first, end):
            phi[slot_feature[s]] += tables[table_start[g] + s - first :].take(place)


def _place_tables(
    step_start: Ints,
    step_feature: Ints,
    step_code: npt.NDArray[Any],
    step: npt.NDArray[np.uint16],
    n_codes: int,
) -> tuple[npt.NDArray[np.uint16], list[int], list[int]]:
    """Return per group and feature what each code adds to the place; the features; the rows of each group."""
    n_groups = len(step_start) - 1
    owner = np.repeat(np.arange(n_groups), np.diff(step_start))
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (np.diff(step_feature) != 0)
    adds = np.zeros((int(new.sum()), n_codes + 1), dtype=np.uint16)
    adds[np.cumsum(new) - 1, np.minimum(step_code.astype(np.intp) + 1, n_codes)] = step
    rows = np.concatenate([[0], np.cumsum(np.bincount(owner[new], minlength=n_groups))])
    return np.cumsum(adds, axis=1, dtype=np.uint16), step_feature[new].tolist(), rows.tolist()


def accumulate_wide(
    codes: npt.NDArray[Any],
    start: Ints,
    feature: Ints,
    share: Floats,
    value: Floats,
    begin: npt.NDArray[np.int8],
    step_start: Ints,
    step_code: npt.NDArray[Any],
    step: npt.NDArray[np.int8],
    node_start: Ints,
    nodes: Floats,
    weights: Floats,
    phi: Floats,
) -> None:
    """Add the contributions of leaves without a table, by quadrature row by row."""
    n_codes = int(codes.max(initial=0)) + 1
    for leaf, (first, end) in enumerate(zip(start[:-1].tolist(), start[1:].tolist(), strict=True)):
        slots = range(first, end)
        own = slice(int(node_start[end - first]), int(node_start[end - first + 1]))
        t = nodes[own, None]
        passes = []
        for s in slots:
            mine = slice(int(step_start[s]), int(step_start[s + 1]))
            bits = begin[s] + _unrolled(step_code[mine], step[mine], n_codes)
            passes.append(bits.take(codes[feature[s]]).astype(np.float64))
        factors = [share[s] * (1.0 - t) + t * bit for s, bit in zip(slots, passes, strict=True)]
        product = weights[own, None] * value[leaf] * np.prod(factors, axis=0)
        for s, bit, factor in zip(slots, passes, factors, strict=True):
            phi[feature[s]] += (bit - share[s]) * (product / factor).sum(axis=0)


def _unrolled(at: npt.NDArray[Any], step: npt.NDArray[Any], n_codes: int) -> npt.NDArray[np.intp]:
    """Return the sum of steps below each code."""
    table = np.zeros(n_codes + 1, dtype=np.intp)
    np.add.at(table, np.minimum(at.astype(np.intp) + 1, n_codes), step)
    return np.cumsum(table)


def spread(phi: Floats, features: Ints, base: float, out: Floats) -> None:
    """Write contributions into the rows of a matrix of all input columns and the base value."""
    out[:] = 0.0
    out[:, features] = phi.T
    out[:, -1] = base


def total(phi: Floats, base: float, raw: Floats) -> None:
    """Write the raw score: base value plus all contributions."""
    raw[:] = base
    for row in phi:
        raw += row


def largest(
    phi: Floats,
    features: Ints,
    order: Ints,
    positive: npt.NDArray[np.int32],
    positive_values: Floats,
    negative: npt.NDArray[np.int32],
    negative_values: Floats,
) -> None:
    """Write the columns with the largest contributions of each sign, furthest from 0 first.

    Where a row has fewer, -1 and 0 stand. ``order`` isn't used here. Lists have shape (rows, k). Of equal
    contributions the earlier column comes first.
    """
    for sign, columns, values in ((1.0, positive, positive_values), (-1.0, negative, negative_values)):
        columns[:] = -1
        values[:] = 0.0
        left = np.where(sign * phi > 0, sign * phi, 0.0)
        rows = np.arange(phi.shape[1])
        for j in range(min(columns.shape[1], len(phi))):
            best = left.argmax(axis=0)
            found = left[best, rows]
            some = found > 0
            columns[some, j] = features[best[some]]
            values[some, j] = sign * found[some]
            left[best, rows] = 0.0
