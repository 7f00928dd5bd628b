"""From a forest to what the look-up needs, within a budget of memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.binning import Binner, build_binner
from icp_ml.model.fasttree.groups import Group, pack_leaves
from icp_ml.model.fasttree.parse import Forest
from icp_ml.model.fasttree.paths import Leaf, leaf_paths
from icp_ml.model.fasttree.tables import Patterns, Plan, build_plan, nodes_and_weights

CELLS = (4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2)


@dataclass(frozen=True, slots=True)
class Compiled:
    """Bins, tables and base value of one model.

    Parameters
    ----------
    base
        Mean raw score over the training rows, to which contributions are added.
    node_start, nodes, weights
        Quadrature for leaves without a table, by number of features.
    groups, wide
        What the tables were made of, for other tables on the same groups.
    """

    binner: Binner
    plan: Plan
    base: float
    node_start: Ints
    nodes: Floats
    weights: Floats
    groups: list[Group]
    wide: list[Leaf]


def compile_forest(
    forest: Forest,
    *,
    dtype: npt.DTypeLike,
    max_table_bytes: int,
    patterns: Patterns,
    bins: tuple[Binner, list[list[int]]] | None = None,
) -> Compiled:
    """Build the tables of a model: the largest that fit, and the other leaves for quadrature.

    ``bins`` are those of :func:`build_binner`, if they are shared with other models.
    """
    binner, left = bins or build_binner(forest)
    full = [(1 << bins) - 1 for bins in binner.n_bins.tolist()]
    place_of = {column: place for place, column in enumerate(binner.features.tolist())}
    trees = leaf_paths(forest, left, place_of, full)
    groups, wide = _pack(trees, full, max_table_bytes // np.dtype(dtype).itemsize)
    plan = build_plan(groups, wide, binner.n_bins.tolist(), dtype, patterns)
    widest = max((len(leaf.features) for leaf in wide), default=0)
    rules = [nodes_and_weights(k) if k else (np.zeros(0), np.zeros(0)) for k in range(widest + 1)]
    return Compiled(
        binner,
        plan,
        sum(tree.expected_value() for tree in forest.trees),
        np.concatenate([[0], np.cumsum([len(nodes) for nodes, _ in rules])]).astype(np.int64),
        np.concatenate([nodes for nodes, _ in rules]),
        np.concatenate([weights for _, weights in rules]),
        groups,
        wide,
    )


def _pack(trees: list[list[Leaf]], full: list[int], max_values: int) -> tuple[list[Group], list[Leaf]]:
    for cells in CELLS:
        groups, wide = pack_leaves(trees, full, cells)
        if sum(group.cells * len(group.classes) for group in groups) <= max_values:
            return groups, wide
    return [], [leaf for leaves in trees for leaf in leaves]
