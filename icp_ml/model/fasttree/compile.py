"""From a forest to what the look-up needs, within a budget of memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.binning import Binner, build_binner
from icp_ml.model.fasttree.groups import MOST_STEPS, Effort, Group, pack_leaves
from icp_ml.model.fasttree.parse import Forest
from icp_ml.model.fasttree.paths import Leaf, leaf_paths
from icp_ml.model.fasttree.tables import Patterns, Plan, build_plan, nodes_and_weights

CELLS = (4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2)


@dataclass(frozen=True, slots=True)
class Packed:
    """Bins, groups of leaves and base value of one model.

    Parameters
    ----------
    base
        Mean raw score over the training rows, to which contributions are added.
    constant
        What trees without a split say of every row.
    groups, wide
        Leaves with a table, and those without.
    """

    binner: Binner
    base: float
    constant: float
    groups: list[Group]
    wide: list[Leaf]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the look-up of one model needs.

    Parameters
    ----------
    packed
        What the tables were made of, for other tables on the same groups.
    node_start, nodes, weights
        Quadrature for leaves without a table, by number of features.
    """

    packed: Packed
    plan: Plan
    node_start: Ints
    nodes: Floats
    weights: Floats


def pack_forest(
    forest: Forest,
    max_values: int,
    bins: tuple[Binner, list[list[int]]] | None = None,
    most_steps: int = MOST_STEPS,
) -> Packed:
    """Group the leaves of a model, for the largest tables of at most ``max_values`` contributions.

    ``bins`` are those of :func:`build_binner`, if they are shared with other models, and ``most_steps`` what
    joining groups may take.
    """
    binner, left = bins or build_binner(forest)
    full = [(1 << bins) - 1 for bins in binner.n_bins.tolist()]
    place_of = {column: place for place, column in enumerate(binner.features.tolist())}
    groups, wide = _pack(leaf_paths(forest, left, place_of, full), full, max_values, Effort(most_steps))
    return Packed(
        binner,
        sum(tree.expected_value() for tree in forest.trees),
        sum(float(tree.leaf_value[0]) for tree in forest.trees if not len(tree.feature)),
        groups,
        wide,
    )


def compile_tables(
    packed: Packed, *, dtype: npt.DTypeLike, patterns: Patterns | None, totals: bool = False
) -> Compiled:
    """Fill the tables; see :func:`build_plan`."""
    n_bins = packed.binner.n_bins.tolist()
    plan = build_plan(packed.groups, packed.wide, n_bins, dtype, patterns, totals=totals)
    widest = max((len(leaf.features) for leaf in packed.wide), default=0)
    rules = [nodes_and_weights(k) if k else (np.zeros(0), np.zeros(0)) for k in range(widest + 1)]
    return Compiled(
        packed,
        plan,
        np.concatenate([[0], np.cumsum([len(nodes) for nodes, _ in rules])]).astype(np.int64),
        np.concatenate([nodes for nodes, _ in rules]),
        np.concatenate([weights for _, weights in rules]),
    )


def _pack(
    trees: list[list[Leaf]], full: list[int], max_values: int, effort: Effort
) -> tuple[list[Group], list[Leaf]]:
    for cells in CELLS:
        groups, wide = pack_leaves(trees, full, cells, effort)
        if sum(group.cells * len(group.classes) for group in groups) <= max_values:
            return groups, wide
    return [], [leaf for leaves in trees for leaf in leaves]
