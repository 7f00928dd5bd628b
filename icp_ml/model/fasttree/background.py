"""Interventional contributions: what would be unknown is taken from the rows of a background sample.

Of a leaf, a row with bits ``o`` and a background row with bits ``b``, feature ``j`` contributes
``v (o_j - b_j) ∫₀¹ ∏_{i≠j} (b_i + t (o_i - b_i)) dt`` (S. Lundberg et al., Nature Machine Intelligence 2,
2020: interventional TreeSHAP). The sum over the background is a product of 2 × 2 matrices applied to the
counts of its patterns, so that tables cost the same whatever the size of the background, and so do look-ups.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.paths import Leaf
from icp_ml.model.fasttree.tables import BATCH_VALUES, Patterns, bins_of, nodes_and_weights

Codes = npt.NDArray[Any]
PAIR_VALUES = 1 << 21


def patterns_of_background(codes: Codes, n_bins: list[int]) -> Patterns:
    """Return the maker of tables for a background with these codes, shape (features, rows)."""

    def patterns(leaves: list[Leaf]) -> list[Floats]:
        k = len(leaves[0].features)
        nodes, weights = nodes_and_weights(k)
        step = max(1, BATCH_VALUES // (len(nodes) << k))
        done: list[Floats] = []
        for begin in range(0, len(leaves), step):
            batch = leaves[begin : begin + step]
            counts = np.array(
                [np.bincount(leaf_bits(leaf, codes, n_bins), minlength=1 << k) for leaf in batch],
                dtype=np.float64,
            )
            counts *= np.array([leaf.value for leaf in batch])[:, None] / codes.shape[1]
            out = np.empty((len(batch), k, 1 << k))
            _spread_out(counts[:, None, :] * weights[:, None], nodes, 0, k, out)
            done += list(out)
        return done

    return patterns


def leaf_bits(leaf: Leaf, codes: Codes, n_bins: list[int]) -> Ints:
    """Return each row's pattern: bit ``i`` says whether it passes the leaf's feature ``i``."""
    pattern = np.zeros(codes.shape[1], dtype=np.int64)
    for i, (feature, mask) in enumerate(zip(leaf.features, leaf.masks, strict=True)):
        pattern |= bins_of(mask, n_bins[feature]).astype(np.int64).take(codes[feature]) << i
    return pattern


def _spread_out(values: Floats, nodes: Floats, first: int, end: int, out: Floats) -> None:
    """Fill ``out[:, first:end]`` from values (leaves, nodes, patterns) with all other features applied."""
    if end - first == 1:
        sides = _sides(values, first)
        own = _sides(out[:, first], first)
        own[..., 0, :] = -sides[..., 1, :].sum(axis=1)
        own[..., 1, :] = sides[..., 0, :].sum(axis=1)
        return
    middle = (first + end) // 2
    _spread_out(_apply(values, nodes, middle, end), nodes, first, middle, out)
    _spread_out(_apply(values, nodes, first, middle), nodes, middle, end, out)


def _apply(values: Floats, nodes: Floats, first: int, end: int) -> Floats:
    """Sum over the background's bit of some features: from (b = 0, b = 1) to (o = 0, o = 1)."""
    values = values.copy()
    t = nodes[:, None, None]
    for i in range(first, end):
        sides = _sides(values, i)
        absent, present = sides[..., 0, :].copy(), sides[..., 1, :].copy()
        sides[..., 0, :] = (1 - t) * present
        sides[..., 1, :] = t * absent + present
    return values


def _sides(values: Floats, i: int) -> Floats:
    """View the last axis as (higher bits, bit i, lower bits)."""
    return values.reshape(*values.shape[:-1], -1, 2, 1 << i)


def add_wide(leaves: list[Leaf], background: Codes, codes: Codes, n_bins: list[int], phi: Floats) -> None:
    """Add leaves with too many features for a table, pair by pair of distinct patterns."""
    for leaf in leaves:
        k = len(leaf.features)
        theirs, count = np.unique(leaf_bits(leaf, background, n_bins), return_counts=True)
        mine, place = np.unique(leaf_bits(leaf, codes, n_bins), return_inverse=True)
        weight = leaf.value * count / background.shape[1]
        step = max(1, PAIR_VALUES // len(theirs))
        parts = [_pairs(mine[low : low + step], theirs, weight, k) for low in range(0, len(mine), step)]
        found = np.concatenate(parts)
        for i, feature in enumerate(leaf.features):
            phi[feature] += found[:, i].take(place)


def _pairs(mine: Ints, theirs: Ints, weight: Floats, k: int) -> Floats:
    """Return contributions (patterns of rows, features) of one leaf.

    Only pairs count in which each feature is passed by the row or by the background row. If ``a`` features
    are passed by the row alone and ``c`` by the other alone, the integral is a beta function of both.
    """
    bits = np.arange(k)
    not_mine, not_theirs = 1 - (mine[:, None] >> bits & 1), 1 - (theirs[:, None] >> bits & 1)
    c, a = not_mine.sum(axis=1), not_theirs.sum(axis=1)
    up, down = np.zeros((k + 1, k + 1)), np.zeros((k + 1, k + 1))
    for i in range(k + 1):
        for j in range(k + 1 - i):
            up[i, j] = factorial(i - 1) * factorial(j) / factorial(i + j) if i else 0.0
            down[i, j] = factorial(i) * factorial(j - 1) / factorial(i + j) if j else 0.0
    meets = (mine[:, None] | theirs) == (1 << k) - 1
    # Where a pair doesn't meet, a + c may exceed k; its weight is 0 whatever the table says.
    rise = np.where(meets, up[a, c[:, None]] * weight, 0.0)
    fall = np.where(meets, down[a, c[:, None]] * weight, 0.0)
    return np.asarray(rise @ not_theirs - fall.sum(axis=1)[:, None] * not_mine, dtype=np.float64)
