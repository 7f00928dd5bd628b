"""Contribution tables of leaf groups.

Of one leaf with value ``v``, shares ``z`` and bits ``o``, feature ``j`` contributes
``v (o_j - z_j) ∫₀¹ ∏_{i≠j} (z_i + t (o_i - z_i)) dt`` (P. Yu et al., Linear TreeSHAP, 2022, write
the same polynomial): Gauss-Legendre quadrature with half as many nodes as features is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.groups import Group
from icp_ml.model.fasttree.paths import Leaf

Patterns = Callable[[list[Leaf]], list[Floats]]
Steps = list[tuple[int, int, int]]
BATCH_VALUES = 1 << 20
MAX_UINT8_BINS = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What a kernel reads: groups with their tables, and leaves that are computed row by row.

    Group ``g`` owns slots ``start[g]:start[g + 1]``, one per feature, and one for their total if it was asked
    for, and ``tables[table_start[g]:table_start[g + 1]]``. What a row gets lies there side by side, one per
    slot, at its place. The place is
    ``begin[g]`` plus ``step[o]`` for each ``o`` in ``step_start[g]:step_start[g + 1]`` with code of
    ``step_feature[o]`` above ``step_code[o]``, modulo 2 ** 16.

    Wide leaf ``w`` owns slots ``wide_start[w]:wide_start[w + 1]``. Whether a row passes slot ``s`` is
    ``wide_begin[s]`` plus ``wide_step[o]`` for each ``o`` of the slot with code above ``wide_step_code[o]``.
    """

    start: Ints
    slot_feature: Ints
    table_start: Ints
    tables: npt.NDArray[Any]
    begin: npt.NDArray[np.uint16]
    step_start: Ints
    step_feature: Ints
    step_code: npt.NDArray[Any]
    step: npt.NDArray[np.uint16]
    wide_start: Ints
    wide_feature: Ints
    wide_share: Floats
    wide_value: Floats
    wide_begin: npt.NDArray[np.int8]
    wide_step_start: Ints
    wide_step_code: npt.NDArray[Any]
    wide_step: npt.NDArray[np.int8]

    @property
    def table_bytes(self) -> int:
        """Memory of the tables."""
        return int(self.tables.nbytes)


@lru_cache(maxsize=64)
def nodes_and_weights(n_features: int) -> tuple[Floats, Floats]:
    """Return quadrature nodes in (0, 1) and weights that are exact for a leaf with that many features."""
    nodes, weights = np.polynomial.legendre.leggauss(max(1, (n_features + 1) // 2))
    return (nodes + 1) / 2, weights / 2


def path_dependent(leaves: list[Leaf]) -> list[Floats]:
    """Return each leaf's contributions by pattern, shape (features, 2 ** features).

    All leaves must have the same number of features.
    """
    k = len(leaves[0].features)
    nodes, weights = nodes_and_weights(k)
    step = max(1, BATCH_VALUES // (len(nodes) << k))
    done: list[Floats] = []
    for begin in range(0, len(leaves), step):
        batch = leaves[begin : begin + step]
        n, q = len(batch), len(nodes)
        share = np.array([leaf.shares for leaf in batch])[:, :, None]
        # What feature i multiplies by at a node where its bit is 0 or 1: z + t (o - z).
        factor = np.stack([share * (1 - nodes), share * (1 - nodes) + nodes], axis=-1)
        product = weights * np.array([leaf.value for leaf in batch])[:, None]
        product = product[:, :, None]
        for i in range(k):
            product = (factor[:, i, :, :, None] * product[:, :, None]).reshape(n, q, -1)
        own = np.stack([-share, 1 - share], axis=-1) / factor
        out = np.empty((n, k, 1 << k))
        for j in range(k):
            sides = product.reshape(n, q, 1 << (k - 1 - j), 2, 1 << j)
            out[:, j] = (sides * own[:, j, :, None, :, None]).sum(axis=1).reshape(n, -1)
        done += list(out)
    return done


def build_plan(
    groups: list[Group],
    wide: list[Leaf],
    n_bins: list[int],
    dtype: npt.DTypeLike,
    patterns: Patterns | None,
    *,
    totals: bool = False,
) -> Plan:
    """Lay out the tables of all groups.

    Parameters
    ----------
    groups, wide
        As :func:`pack_leaves` returns them.
    n_bins
        Bins of each feature.
    dtype
        Of the tables; sums are made in float64 first.
    patterns
        Contributions of leaves by pattern, such as :func:`path_dependent`; None: none are wanted.
    totals
        Whether to add the raw score of the groups' leaves too, as one more feature after the others.
    """
    by_leaf = None
    if patterns is not None:
        by_leaf = _patterns_of([leaf for group in groups for leaf in group.leaves], patterns)
    explained = [[] if by_leaf is None else list(group.classes) for group in groups]
    last = [] if not totals else [0 if by_leaf is None else len(n_bins)]
    slots = [[*features, *last] for features in explained]
    values = np.array(
        [group.cells * len(own) for group, own in zip(groups, slots, strict=True)], dtype=np.int64
    )
    code_type = np.uint8 if max(n_bins, default=0) <= MAX_UINT8_BINS else np.uint16
    table_start = _offsets(values)
    tables = np.empty(int(table_start[-1]), dtype=dtype)
    begins: list[int] = []
    steps: list[Steps] = []
    for group, (low, high) in zip(groups, pairwise(table_start.tolist()), strict=True):
        tables[low:high] = _group_table(group, by_leaf, totals).reshape(-1)
        begin, step = _group_steps(group, n_bins, high - low)
        begins.append(begin)
        steps.append(step)
    return Plan(
        _offsets([len(own) for own in slots]),
        np.array([feature for own in slots for feature in own], dtype=np.int64),
        table_start,
        tables,
        np.array(begins, dtype=np.int64).astype(np.uint16),
        _offsets([len(step) for step in steps]),
        np.array([feature for step in steps for feature, _, _ in step], dtype=np.int64),
        np.array([code for step in steps for _, code, _ in step], dtype=code_type),
        np.array([size for step in steps for _, _, size in step], dtype=np.int64).astype(np.uint16),
        **_wide_arrays(wide, n_bins, code_type),
    )


def _offsets(sizes: Ints | list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))]).astype(np.int64)


def _patterns_of(leaves: list[Leaf], patterns: Patterns) -> dict[int, Floats]:
    by_width: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        by_width.setdefault(len(leaf.features), []).append(leaf)
    return {
        id(leaf): table
        for same in by_width.values()
        for leaf, table in zip(same, patterns(same), strict=True)
    }


def _group_table(group: Group, by_leaf: dict[int, Floats] | None, totals: bool) -> Floats:
    """Return the summed contributions of a group and, if asked for, its raw score, shape (cells, slots)."""
    row_of = {feature: row for row, feature in enumerate(group.classes)}
    table = np.zeros(((0 if by_leaf is None else len(row_of)) + totals, group.cells))
    for leaf in group.leaves:
        own = {feature: i for i, feature in enumerate(leaf.features)}
        pattern = np.zeros(1, dtype=np.intp)
        for feature, classes in group.classes.items():
            if feature in own:
                mask, bit = leaf.masks[own[feature]], 1 << own[feature]
                add = np.array([bit if bins & mask else 0 for bins in classes], dtype=np.intp)
                pattern = (pattern[:, None] + add).reshape(-1)
            else:
                pattern = np.repeat(pattern, len(classes))
        if by_leaf is not None:
            rows = [row_of[feature] for feature in leaf.features]
            table[rows] += by_leaf[id(leaf)].take(pattern, axis=1)
        if totals:
            table[-1] += leaf.value * (pattern == (1 << len(own)) - 1)
    return np.ascontiguousarray(table.T)


def _group_steps(group: Group, n_bins: list[int], stride: int) -> tuple[int, Steps]:
    """Return the place of code 0 of all features in a table of that size, and where it changes.

    The last feature counts least.
    """
    begin, steps = 0, []
    for feature, classes in group.classes.items():
        stride //= len(classes)
        part = np.zeros(n_bins[feature], dtype=np.int64)
        for place, bins in enumerate(classes):
            part[bins_of(bins, n_bins[feature])] = place * stride
        own, changes = _steps(part)
        begin += own
        steps += [(feature, code, size) for code, size in changes]
    return begin, steps


def _steps(part: Ints) -> tuple[int, list[tuple[int, int]]]:
    """Return the first value and the changes after a code."""
    change = np.diff(part)
    at = np.flatnonzero(change)
    return int(part[0]), list(zip(at.tolist(), change[at].tolist(), strict=True))


def bins_of(mask: int, n_bins: int) -> npt.NDArray[np.bool_]:
    """Return a mask of bins as an array."""
    raw = np.frombuffer(mask.to_bytes((n_bins + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(raw, bitorder="little")[:n_bins].astype(bool)


def _wide_arrays(wide: list[Leaf], n_bins: list[int], code_type: type[np.integer[Any]]) -> dict[str, Any]:
    steps = [
        _steps(bins_of(mask, n_bins[feature]).astype(np.int64))
        for leaf in wide
        for feature, mask in zip(leaf.features, leaf.masks, strict=True)
    ]
    return {
        "wide_start": _offsets([len(leaf.features) for leaf in wide]),
        "wide_feature": np.array([feature for leaf in wide for feature in leaf.features], dtype=np.int64),
        "wide_share": np.array([share for leaf in wide for share in leaf.shares], dtype=np.float64),
        "wide_value": np.array([leaf.value for leaf in wide], dtype=np.float64),
        "wide_begin": np.array([first for first, _ in steps], dtype=np.int8),
        "wide_step_start": _offsets([len(changes) for _, changes in steps]),
        "wide_step_code": np.array([code for _, changes in steps for code, _ in changes], dtype=code_type),
        "wide_step": np.array([size for _, changes in steps for _, size in changes], dtype=np.int8),
    }
