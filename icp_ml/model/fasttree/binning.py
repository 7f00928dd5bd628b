"""Bins of each feature: values that no split of the model tells apart share a code.

Thresholds are compared in float64, as LightGBM does. Its prediction turns values within ±1e-35 (as float32,
``kZeroThreshold``) into 0 first; thresholds in that zone are moved to its edge, which has the same effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.parse import (
    CATEGORICAL,
    DEFAULT_LEFT,
    MISSING_NAN,
    MISSING_ZERO,
    Forest,
    Tree,
)
from icp_ml.model.fasttree.sound import check_bins, too_large

ZERO = float(np.float32(1e-35))
BELOW_ZERO = float(np.nextafter(-ZERO, -np.inf))
MAX_CLASSES = 65_500
MAX_MEMBERS = 1 << 28


@dataclass(frozen=True, slots=True)
class Binner:
    """Codes for the features a model splits on.

    Numeric feature ``i``: code = number of ``edges[edge_start[i]:edge_start[i + 1]]`` below the value, and
    ``n_bins[i] - 1`` for NaN. Categorical: code = ``levels[level_start[i] + category]``, and
    ``n_bins[i] - 1`` for NaN, negative and unknown categories.

    Parameters
    ----------
    features
        Input columns that occur in a split, ascending.
    categorical
        Per such feature.
    """

    features: Ints
    categorical: npt.NDArray[np.bool_]
    n_bins: Ints
    edges: Floats
    edge_start: Ints
    levels: npt.NDArray[np.uint16]
    level_start: Ints

    @property
    def code_dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Smallest integer type that holds every code."""
        return np.uint8 if not len(self.n_bins) or self.n_bins.max() <= 256 else np.uint16


def canonical(thresholds: Floats) -> Floats:
    """Move thresholds inside the zone that LightGBM reads as 0 to its edge."""
    moved = np.where((thresholds >= 0) & (thresholds <= ZERO), ZERO, thresholds)
    return np.where((moved >= -ZERO) & (moved < 0), BELOW_ZERO, moved)


def build_binner(forest: Forest) -> tuple[Binner, list[list[int]]]:
    """Return the bins of a model, and per tree and inner node the set of bins that go left, as bits."""
    feature = np.concatenate([tree.feature for tree in forest.trees] or [np.zeros(0, np.int64)])
    decision = np.concatenate([tree.decision for tree in forest.trees] or [np.zeros(0, np.int64)])
    owner = np.concatenate(
        [np.full(len(tree.feature), place) for place, tree in enumerate(forest.trees)]
        or [np.zeros(0, np.int64)]
    )
    node = np.concatenate([np.arange(len(tree.feature)) for tree in forest.trees] or [np.zeros(0, np.int64)])
    numeric = (decision & CATEGORICAL) == 0
    threshold = np.concatenate([tree.threshold for tree in forest.trees] or [np.zeros(0)])
    check_bins(feature[numeric], threshold[numeric])
    left: list[list[int]] = [[0] * len(tree.feature) for tree in forest.trees]
    features = np.unique(feature)
    categorical = np.zeros(len(features), dtype=bool)
    edges: list[Floats] = []
    levels: list[npt.NDArray[np.uint16]] = []
    n_bins = np.zeros(len(features), dtype=np.int64)
    for place, column in enumerate(features):
        at = np.flatnonzero(feature == column)
        nodes = [(forest.trees[owner[i]], int(node[i])) for i in at]
        kinds = decision[at] & CATEGORICAL
        if kinds.min() != kinds.max():
            raise InputMismatchError(
                f"expected a feature to be numeric or categorical, found both in splits of "
                f"{forest.feature_names[column]!r}: use booster.predict(X, pred_contrib=True)",
                feature=forest.feature_names[column],
            )
        categorical[place] = bool(kinds[0])
        if categorical[place]:
            table, masks = _categorical_bins(nodes)
            levels.append(table)
            edges.append(np.zeros(0))
            n_bins[place] = int(table.max(initial=0)) + 2 if len(table) else 1
        else:
            cuts, masks = _numeric_bins(nodes)
            levels.append(np.zeros(0, dtype=np.uint16))
            edges.append(cuts)
            n_bins[place] = len(cuts) + 2
        for i, mask in zip(at, masks, strict=True):
            left[owner[i]][node[i]] = mask
    binner = Binner(
        features,
        categorical,
        n_bins,
        np.concatenate([*edges, np.zeros(0)]),
        np.concatenate([[0], np.cumsum([len(part) for part in edges])]).astype(np.int64),
        np.concatenate([*levels, np.zeros(0, dtype=np.uint16)]),
        np.concatenate([[0], np.cumsum([len(part) for part in levels])]).astype(np.int64),
    )
    return binner, left


def _numeric_bins(nodes: list[tuple[Tree, int]]) -> tuple[Floats, list[int]]:
    """Return the cut points of one feature and the bins left of each node, the last bin being NaN."""
    thresholds = canonical(np.array([tree.threshold[i] for tree, i in nodes]))
    missing = np.array([(tree.decision[i] >> 2) & 3 for tree, i in nodes])
    zone = [BELOW_ZERO, ZERO] if (missing == MISSING_ZERO).any() else []
    cuts = np.unique(np.concatenate([thresholds, zone]))
    zero_bin = int(np.searchsorted(cuts, 0.0))
    nan_bit, zero_bit = 1 << (len(cuts) + 1), 1 << zero_bin
    masks = []
    for (tree, i), last, kind in zip(nodes, np.searchsorted(cuts, thresholds), missing, strict=True):
        mask = (1 << (int(last) + 1)) - 1
        by_default = bool(tree.decision[i] & DEFAULT_LEFT)
        if kind == MISSING_ZERO:
            mask = mask | zero_bit if by_default else mask & ~zero_bit
        nan_left = by_default if kind == MISSING_NAN else bool(mask & zero_bit)
        masks.append(mask | nan_bit if nan_left else mask)
    return cuts, masks


def _categorical_bins(nodes: list[tuple[Tree, int]]) -> tuple[npt.NDArray[np.uint16], list[int]]:
    """Return the bin of each category (those sent left by the same splits share one) and the bins left."""
    sets = []
    for tree, i in nodes:
        which = int(tree.threshold[i])
        words = tree.cat_words[tree.cat_boundaries[which] : tree.cat_boundaries[which + 1]]
        sets.append(np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little"))
    longest = max(map(len, sets))
    if longest * len(sets) > MAX_MEMBERS:
        raise too_large("categories of all splits on a feature", MAX_MEMBERS, longest * len(sets))
    member = np.zeros((longest, len(sets)), dtype=np.uint8)
    for place, bits in enumerate(sets):
        member[: len(bits), place] = bits
    known = member.any(axis=1)
    member = member[: int(np.flatnonzero(known)[-1]) + 1] if known.any() else member[:0]
    packed = np.packbits(member, axis=1)
    _, first, table = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    if len(first) > MAX_CLASSES:
        raise too_large("classes of categories", MAX_CLASSES, len(first))
    masks = []
    for place in range(len(nodes)):
        masks.append(sum(1 << int(code) for code in np.flatnonzero(member[first, place])))
    return table.reshape(-1).astype(np.uint16), masks
