"""Groups of leaves that share a table: the fewer features all groups have together, the fewer look-ups.

Bins that no leaf of a group tells apart form one class; a table has one row per combination of classes.
Neighbouring leaves of a tree share most of their path, so they are packed first; then groups of different
trees are joined where they share features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icp_ml.model.fasttree.paths import Leaf

Classes = dict[int, list[int]]

SMALL_CELLS = 512
GROWTH = 2.0
CANDIDATES = 12
SHARED = 0.4
MAX_VALUES = 65_535
MOST_STEPS = 1 << 35
"""Comparisons of groups that packing may take; after that they stay apart, as exact and slower to look up."""


@dataclass(slots=True)
class Effort:
    """What packing may still take, see :data:`MOST_STEPS`."""

    left: int = MOST_STEPS


@dataclass(slots=True)
class Group:
    """Leaves with a common table.

    Parameters
    ----------
    classes
        Per feature (place among the features used) the classes of bins, each as bits.
    leaves
        What the table sums up.
    """

    classes: Classes
    leaves: list[Leaf]

    @property
    def cells(self) -> int:
        """Number of combinations of classes."""
        return _cells(self.classes)


def pack_leaves(
    trees: list[list[Leaf]], full: list[int], max_cells: int, effort: Effort
) -> tuple[list[Group], list[Leaf]]:
    """Return groups of at most ``max_cells`` rows, and the leaves with too many features for that.

    Parameters
    ----------
    trees
        Leaves of each tree, neighbours beside each other.
    full
        All bins of each feature, as bits.
    max_cells
        Rows per table, at least 2.
    effort
        What joining groups of different trees may take.
    """
    groups: list[Group] = []
    wide: list[Leaf] = []
    for leaves in trees:
        current: Group | None = None
        for leaf in leaves:
            k = len(leaf.features)
            if 1 << k > max_cells or k << k > MAX_VALUES:
                wide.append(leaf)
                continue
            alone = Group(
                {f: _split([full[f]], mask) for f, mask in zip(leaf.features, leaf.masks, strict=True)},
                [leaf],
            )
            joint = None if current is None else _joined(current.classes, alone.classes, max_cells)
            if current is not None and joint is not None:
                current.classes = joint
                current.leaves.append(leaf)
                continue
            if current is not None:
                groups.append(current)
            current = alone
        if current is not None:
            groups.append(current)
    return _join_across_trees(groups, len(full), max_cells, effort), wide


def _join_across_trees(groups: list[Group], n_features: int, max_cells: int, effort: Effort) -> list[Group]:
    """Put each group, largest first, into the earlier one with which it shares most features and has room."""
    # 0 and 1 as floats: BLAS counts them faster than numpy does integers.
    has = np.zeros((len(groups), n_features))
    used = np.zeros(len(groups))
    room = float(np.log2(max_cells)) + 1e-9
    kept: list[Group] = []
    for group in sorted(groups, key=lambda group: -group.cells):
        if effort.left <= 0:
            kept.append(group)
            continue
        mine = np.zeros(n_features)
        mine[list(group.classes)] = 1
        size = np.zeros(n_features)
        size[list(group.classes)] = [np.log2(len(classes)) for classes in group.classes.values()]
        n = len(kept)
        effort.left -= n * n_features
        shared = has[:n] @ mine
        # A feature the other group lacks multiplies its table by all of its classes: a bound from below.
        need = used[:n] + size.sum() - has[:n] @ size
        near = np.flatnonzero((need <= room) & (shared >= max(1.0, SHARED * len(group.classes))))
        near = near[np.argsort(0.01 * need[near] - shared[near], kind="stable")][:CANDIDATES]
        best: tuple[int, int, int, Classes] | None = None
        for i in near.tolist():
            effort.left -= _steps(kept[i].classes, group.classes)
            joint = _joined(kept[i].classes, group.classes, max_cells)
            if joint is not None and (best is None or (-int(shared[i]), _cells(joint)) < best[:2]):
                best = (-int(shared[i]), _cells(joint), i, joint)
        if best is None:
            kept.append(group)
            has[n], used[n] = mine, size.sum()
        else:
            place = best[2]
            kept[place].classes = best[3]
            kept[place].leaves.extend(group.leaves)
            has[place] = np.maximum(has[place], mine)
            used[place] = np.log2(best[1])
    return kept


def _steps(one: Classes, other: Classes) -> int:
    return sum(len(one[feature]) * len(classes) for feature, classes in other.items() if feature in one)


def _cells(classes: Classes) -> int:
    total = 1
    for parts in classes.values():
        total *= len(parts)
    return total


def _split(classes: list[int], mask: int) -> list[int]:
    parts = []
    for bins in classes:
        inside = bins & mask
        if inside and inside != bins:
            parts += [inside, bins ^ inside]
        else:
            parts.append(bins)
    return parts


def _joined(one: Classes, other: Classes, max_cells: int) -> Classes | None:
    """Return the classes that both tell apart, or None if their table would be too large.

    Small tables may grow; larger ones only where the joint table holds about what the two held.
    """
    joint = dict(one)
    for feature, classes in other.items():
        if feature in joint:
            joint[feature] = [both for a in joint[feature] for b in classes if (both := a & b)]
        else:
            joint[feature] = classes
    cells = _cells(joint)
    values = cells * len(joint)
    if cells > max_cells or values > MAX_VALUES:
        return None
    if cells <= SMALL_CELLS or values <= GROWTH * (_cells(one) * len(one) + _cells(other) * len(other)):
        return joint
    return None
