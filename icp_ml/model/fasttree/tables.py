"""Contribution tables of leaf groups.

Of one leaf with value ``v``, shares ``z`` and bits ``o``, feature ``j`` contributes
``v (o_j - z_j) ∫₀¹ ∏_{i≠j} (z_i + t (o_i - z_i)) dt`` (P. Yu et al., Linear TreeSHAP, 2022, write
the same polynomial): Gauss-Legendre quadrature with half as many nodes as features is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.groups import Group
from icp_ml.model.fasttree.paths import Leaf

Patterns = Callable[[list[Leaf]], list[Floats]]
BATCH_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What a kernel reads: groups with their tables, and leaves that are computed row by row.

    Group ``g`` owns slots ``start[g]:start[g + 1]``, one per feature. A row's place in the table is the sum
    over slots of ``maps[map_start[s] + bin]``; there its contributions lie side by side, one per slot, after
    ``table_start[g]``.

    Wide leaf ``w`` owns slots ``wide_start[w]:wide_start[w + 1]``; ``wide_bits[wide_map[s] + bin]`` says
    whether a bin passes.
    """

    start: Ints
    slot_feature: Ints
    map_start: Ints
    maps: npt.NDArray[Any]
    table_start: Ints
    tables: npt.NDArray[Any]
    wide_start: Ints
    wide_feature: Ints
    wide_map: Ints
    wide_bits: npt.NDArray[np.uint8]
    wide_share: Floats
    wide_value: Floats

    @property
    def table_bytes(self) -> int:
        """Memory of the tables."""
        return int(self.tables.nbytes)


@lru_cache(maxsize=64)
def nodes_and_weights(n_features: int) -> tuple[Floats, Floats]:
    """Return quadrature nodes in (0, 1) and weights that are exact for a leaf with that many features."""
    nodes, weights = np.polynomial.legendre.leggauss(max(1, (n_features + 1) // 2))
    return (nodes + 1) / 2, weights / 2


def all_bits(n_features: int) -> npt.NDArray[np.bool_]:
    """Return every pattern of bits, shape (2 ** n_features, n_features); the first feature counts 1."""
    return (np.arange(1 << n_features)[:, None] >> np.arange(n_features) & 1).astype(bool)


def path_dependent(leaves: list[Leaf]) -> list[Floats]:
    """Return each leaf's contributions by pattern, shape (features, 2 ** features).

    All leaves must have the same number of features.
    """
    k = len(leaves[0].features)
    nodes, weights = nodes_and_weights(k)
    bits = all_bits(k)
    step = max(1, BATCH_VALUES // (bits.size * len(nodes)))
    done: list[Floats] = []
    for begin in range(0, len(leaves), step):
        batch = leaves[begin : begin + step]
        share = np.array([leaf.shares for leaf in batch])
        value = np.array([leaf.value for leaf in batch])
        # Factor of feature i at node q: z + t (o - z), for o = 0 and 1.
        off = share[:, :, None] * (1 - nodes)
        on = off + nodes
        factor = np.where(bits[None, :, :, None], on[:, None], off[:, None])
        rest = weights * factor.prod(axis=2)
        mean = np.einsum("lpq,lpkq->lkp", rest, 1 / factor)
        away = np.where(bits.T[None], 1 - share[:, :, None], -share[:, :, None])
        done += list(value[:, None, None] * away * mean)
    return done


def build_plan(
    groups: list[Group], wide: list[Leaf], n_bins: list[int], dtype: npt.DTypeLike, patterns: Patterns
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
        Contributions of leaves by pattern, such as :func:`path_dependent`.
    """
    by_leaf = _patterns_of([leaf for group in groups for leaf in group.leaves], patterns)
    values = np.array([group.cells * len(group.classes) for group in groups], dtype=np.int64)
    small = not len(values) or values.max() <= np.iinfo(np.uint16).max
    table_start = _offsets(values)
    tables = np.empty(int(table_start[-1]), dtype=dtype)
    maps: list[npt.NDArray[Any]] = []
    for group, begin, size in zip(groups, table_start.tolist(), values.tolist(), strict=False):
        tables[begin : begin + size] = _group_table(group, by_leaf).reshape(-1)
        maps += _group_maps(group, n_bins, np.uint16 if small else np.uint32)
    return Plan(
        _offsets(np.array([len(group.classes) for group in groups], dtype=np.int64)),
        np.array([feature for group in groups for feature in group.classes], dtype=np.int64),
        _offsets(np.array([len(part) for part in maps], dtype=np.int64))[:-1],
        np.concatenate([*maps, np.zeros(0, np.uint16)]),
        table_start[:-1],
        tables,
        **_wide_arrays(wide, n_bins),
    )


def _offsets(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _patterns_of(leaves: list[Leaf], patterns: Patterns) -> dict[int, Floats]:
    by_width: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        by_width.setdefault(len(leaf.features), []).append(leaf)
    return {
        id(leaf): table
        for same in by_width.values()
        for leaf, table in zip(same, patterns(same), strict=True)
    }


def _group_table(group: Group, by_leaf: dict[int, Floats]) -> Floats:
    """Return the summed contributions of a group, shape (cells, features)."""
    row_of = {feature: row for row, feature in enumerate(group.classes)}
    table = np.zeros((len(row_of), group.cells))
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
        rows = [row_of[feature] for feature in leaf.features]
        table[rows] += by_leaf[id(leaf)].take(pattern, axis=1)
    return np.ascontiguousarray(table.T)


def _group_maps(group: Group, n_bins: list[int], dtype: npt.DTypeLike) -> list[npt.NDArray[Any]]:
    """Return for each feature what a bin adds to the place; the last feature's classes are neighbours."""
    stride = group.cells * len(group.classes)
    maps = []
    for feature, classes in group.classes.items():
        stride //= len(classes)
        part = np.zeros(n_bins[feature], dtype=dtype)
        for place, bins in enumerate(classes):
            part[bins_of(bins, n_bins[feature])] = place * stride
        maps.append(part)
    return maps


def bins_of(mask: int, n_bins: int) -> npt.NDArray[np.bool_]:
    """Return a mask of bins as an array."""
    raw = np.frombuffer(mask.to_bytes((n_bins + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(raw, bitorder="little")[:n_bins].astype(bool)


def _wide_arrays(wide: list[Leaf], n_bins: list[int]) -> dict[str, Any]:
    features = [feature for leaf in wide for feature in leaf.features]
    bits = [
        bins_of(mask, n_bins[feature]).astype(np.uint8)
        for leaf in wide
        for feature, mask in zip(leaf.features, leaf.masks, strict=True)
    ]
    return {
        "wide_start": _offsets(np.array([len(leaf.features) for leaf in wide], dtype=np.int64)),
        "wide_feature": np.array(features, dtype=np.int64),
        "wide_map": _offsets(np.array([len(part) for part in bits], dtype=np.int64))[:-1],
        "wide_bits": np.concatenate([*bits, np.zeros(0, np.uint8)]),
        "wide_share": np.array([share for leaf in wide for share in leaf.shares], dtype=np.float64),
        "wide_value": np.array([leaf.value for leaf in wide], dtype=np.float64),
    }
