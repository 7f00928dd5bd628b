"""From trees to leaves: which bins of which features lead to a leaf, and the share of rows that pass.

A row matters to a leaf only through one bit per distinct feature on its path: does it pass all splits on that
feature. With the share ``z`` of training rows that pass, contributions follow from the bits alone
(S. Lundberg et al., Nature Machine Intelligence 2, 2020, path-dependent TreeSHAP).
"""

from __future__ import annotations

from dataclasses import dataclass

from icp_ml.model.fasttree.parse import Forest, Tree


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf with at least one feature on its path.

    Parameters
    ----------
    value
        Raw score the leaf adds.
    features
        Distinct features on the path, as places in :attr:`Binner.features`, in order of first split.
    masks
        Bins that pass all splits on the path, as bits, per feature.
    shares
        Product of (rows of child / rows of parent) over the feature's splits on the path.
    """

    value: float
    features: tuple[int, ...]
    masks: tuple[int, ...]
    shares: tuple[float, ...]


def leaf_paths(
    forest: Forest, left: list[list[int]], place_of: dict[int, int], full: list[int]
) -> list[list[Leaf]]:
    """Return the leaves of each tree, neighbours in the tree beside each other.

    Parameters
    ----------
    left
        Bins that go left, as bits, per tree and inner node.
    place_of
        Place of each input column among the features used.
    full
        All bins of each feature used, as bits.
    """
    return [
        _tree_leaves(tree, masks, place_of, full)
        for tree, masks in zip(forest.trees, left, strict=True)
        if len(tree.feature)
    ]


def _tree_leaves(tree: Tree, left: list[int], place_of: dict[int, int], full: list[int]) -> list[Leaf]:
    features = [place_of[int(column)] for column in tree.feature]
    node_count, leaf_count = tree.node_count.tolist(), tree.leaf_count.tolist()
    values = tree.leaf_value.tolist()
    children = list(zip(tree.left.tolist(), tree.right.tolist(), strict=True))
    leaves: list[Leaf] = []
    stack: list[tuple[int, dict[int, tuple[int, float]]]] = [(0, {})]
    while stack:
        node, path = stack.pop()
        if node < 0:
            leaves.append(
                Leaf(
                    values[~node],
                    tuple(path),
                    tuple(mask for mask, _ in path.values()),
                    tuple(share for _, share in path.values()),
                )
            )
            continue
        feature = features[node]
        mask, share = path.get(feature, (full[feature], 1.0))
        for child, goes in zip(children[node][::-1], (full[feature] & ~left[node], left[node]), strict=True):
            count = leaf_count[~child] if child < 0 else node_count[child]
            stack.append((child, {**path, feature: (mask & goes, share * count / node_count[node])}))
    return leaves
