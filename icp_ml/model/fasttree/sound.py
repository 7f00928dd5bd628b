"""Whether trees out of a text are trees, before anything is built of them: a text is foreign data.

Kernels index without a look at bounds, and walks along trees end only where trees do. So each index, length
and number of a text is held against its range here, all trees at once, and nothing after it checks again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Floats, Ints

KNOWN_DECISIONS = 12
"""LightGBM's bits: categorical 1, default left 2, and one of three kinds of missing values times 4."""
MOST_ROWS = 2.0**53
MOST_CUTS = 65_500
"""Distinct thresholds of a feature, whose bins are numbered by 16 bits."""
MOST_BITS = 1 << 31
"""Bins of the features of all splits together; each is a bit in memory."""
WIDEST = 12
"""Features of a leaf from which it has no table."""
_ADVICE = "take the text as LightGBM wrote it"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a model may be, so that neither time nor memory that it takes is its writer's choice.

    Parameters
    ----------
    characters, trees
        Of a text.
    leaves_per_tree, leaves, depth
        Of a tree, of all trees together, and splits above a leaf.
    cuts
        Distinct thresholds of a feature.
    patterns
        Contributions of all leaves by which of their features a row passes.
    largest_leaf
        Size of what a leaf adds.
    plain
        Whether splits on categories, and on zero as a missing value, are refused.
    """

    characters: int
    trees: int
    leaves_per_tree: int
    leaves: int
    depth: int
    cuts: int
    patterns: float
    largest_leaf: float
    plain: bool


ANY_BOOSTER = Limits(1 << 31, 1 << 20, 1 << 17, 1 << 24, 1 << 17, MOST_CUTS, np.inf, 1e300, plain=False)
"""What LightGBM itself can train."""
SAVED = Limits(1 << 24, 2_000, 256, 1 << 15, 16, 1_024, 1 << 27, 1e6, plain=True)
"""What a saved model may hold: some times what any candidate grows, see ``model.candidates``."""
STUMPS = replace(SAVED, leaves_per_tree=2)
"""The same for trees of one split."""


@dataclass(frozen=True, slots=True)
class Flat:
    """All trees of a text end to end; lengths of each list are as the number of splits wants them.

    Parameters
    ----------
    splits
        Per tree.
    feature, threshold, decision, left, right, node_count
        Per inner node.
    leaf_value
        Per leaf.
    leaf_count
        Per leaf of trees with a split.
    """

    splits: Ints
    feature: Ints
    threshold: Floats
    decision: Ints
    left: Ints
    right: Ints
    node_count: Floats
    leaf_value: Floats
    leaf_count: Floats


def refuse(field: str, tree: int, expected: str, found: object) -> InputMismatchError:
    """Return the error for a field of a tree."""
    shown = repr(found)
    return InputMismatchError(
        f"expected {expected} for {field} of tree {tree}, found {shown if len(shown) <= 60 else shown[:60]}: "
        + _ADVICE,
        field=field,
        tree=tree,
    )


def too_large(what: str, most: float, found: float) -> InputMismatchError:
    """Return the error for a model beyond its limits."""
    return InputMismatchError(
        f"expected at most {most:,.0f} {what}, found {found:,.0f}: train a smaller model",
        field=what,
        most=most,
        found=found,
    )


def check_trees(flat: Flat, n_features: int, limits: Limits) -> None:
    """Refuse trees that a kernel or a walk must not be given.

    Raises
    ------
    InputMismatchError
        If an index is out of range, a node isn't reached exactly once from its root, a number isn't finite,
        rows of a node are more than above it, or the trees are larger than their limits.
    """
    owner = np.repeat(np.arange(len(flat.splits)), flat.splits)
    _check_sizes(flat, limits)
    inside = (flat.feature >= 0) & (flat.feature < n_features)
    _check(inside, owner, flat.feature, "split_feature", f"0 to {n_features - 1}")
    right_kind = (flat.decision >= 0) & (flat.decision < KNOWN_DECISIONS)
    if limits.plain:
        right_kind &= (flat.decision & 1 == 0) & (flat.decision >> 2 != 1)
    _check(right_kind, owner, flat.decision, "decision_type", "a known kind of split")
    # Infinity is LightGBM's: all known values go left.
    _check(~np.isnan(flat.threshold), owner, flat.threshold, "threshold", "numbers")
    leaf_owner = np.repeat(np.arange(len(flat.splits)), flat.splits + 1)
    fine = np.abs(flat.leaf_value) <= limits.largest_leaf
    _check(fine, leaf_owner, flat.leaf_value, "leaf_value", f"numbers up to {limits.largest_leaf:g}")
    if not len(owner):
        return
    depth = _check_children(flat, owner, limits)
    _check_cuts(flat, limits)
    at = np.minimum(depth, WIDEST)
    patterns = float((at * (1 << at)).sum())
    if patterns > limits.patterns:
        raise too_large("contributions of leaves", limits.patterns, patterns)


def _check(
    fine: npt.NDArray[np.bool_], owner: Ints, values: npt.NDArray[np.generic], field: str, expected: str
) -> None:
    if not fine.all():
        at = int(np.argmin(fine))
        raise refuse(field, int(owner[at]), expected, values[at].item())


def _check_sizes(flat: Flat, limits: Limits) -> None:
    leaves = flat.splits + 1
    if leaves.max(initial=0) > limits.leaves_per_tree:
        raise too_large("leaves of a tree", limits.leaves_per_tree, int(leaves.max()))
    if leaves.sum() > limits.leaves:
        raise too_large("leaves", limits.leaves, int(leaves.sum()))


def _check_children(flat: Flat, owner: Ints, limits: Limits) -> Ints:
    """Refuse what is no tree, and return how many splits lie above each child that is a leaf."""
    n = flat.splits[owner]
    first = (np.cumsum(flat.splits) - flat.splits)[owner]
    split = np.flatnonzero(flat.splits > 0)
    rank = np.cumsum(flat.splits > 0) - 1
    # leaves of trees with a split, end to end: one more per tree than inner nodes
    first_leaf = first + rank[owner]
    for field, child in (("left_child", flat.left), ("right_child", flat.right)):
        inside = (child < n) & (child >= -n - 1) & (child != 0)
        _check(inside, owner, child, field, "the number of a node or leaf of the tree")
    both = np.concatenate([flat.left, flat.right])
    places = np.concatenate([owner, owner])
    is_leaf = both < 0
    inner = both + np.concatenate([first, first])
    leaf = ~both + np.concatenate([first_leaf, first_leaf])
    seen = np.bincount(inner[~is_leaf], minlength=len(owner))
    seen[(np.cumsum(flat.splits) - flat.splits)[split]] += 1
    _check(seen == 1, owner, seen, "children", "each inner node to be one child's once")
    leaf_owner = np.repeat(split, flat.splits[split] + 1)
    seen = np.bincount(leaf[is_leaf], minlength=len(leaf_owner))
    _check(seen == 1, leaf_owner, seen, "children", "each leaf to be one child's once")
    depth = _check_reached(flat, owner, inner, is_leaf, limits)
    sound = (flat.node_count >= 1) & (flat.node_count <= MOST_ROWS)
    _check(sound, owner, flat.node_count, "internal_count", "training rows in every node")
    counts = np.where(is_leaf, flat.leaf_count[np.where(is_leaf, leaf, 0)], flat.node_count[inner % len(n)])
    above = np.concatenate([flat.node_count, flat.node_count])
    field = "leaf_count" if is_leaf[np.argmin((counts >= 1) & (counts <= above))] else "internal_count"
    expected = "training rows in every node, no more than above it"
    _check((counts >= 1) & (counts <= above), places, counts, field, expected)
    return depth[is_leaf]


def _check_reached(
    flat: Flat, owner: Ints, inner: Ints, is_leaf: npt.NDArray[np.bool_], limits: Limits
) -> Ints:
    """Walk down from all roots at once, and return how many splits lie above each child.

    No inner node has two parents, so the walk ends; one that it doesn't meet lies on a circle.
    """
    n = len(owner)
    depth = np.zeros(n, dtype=np.int64)
    at = (np.cumsum(flat.splits) - flat.splits)[flat.splits > 0]
    reached, level = 0, 0
    while len(at):
        level += 1
        if level > limits.depth:
            raise too_large("splits above a leaf", limits.depth, level)
        depth[at] = level
        reached += len(at)
        children = np.concatenate([at, at + n])
        at = inner[children[~is_leaf[children]]]
    if reached < n:
        node = int(np.argmin(depth))
        raise refuse("children", int(owner[node]), "each inner node below the root", "a circle")
    return np.concatenate([depth, depth])


def _check_cuts(flat: Flat, limits: Limits) -> None:
    if len(flat.feature) <= limits.cuts:
        return
    most = int(cuts_per_feature(flat.feature, flat.threshold).max())
    if most > limits.cuts:
        raise too_large("distinct thresholds of a feature", limits.cuts, most)


def cuts_per_feature(feature: Ints, threshold: Floats) -> Ints:
    """Return the number of distinct thresholds of each feature from 0 on."""
    order = np.lexsort((threshold, feature))
    f, t = feature[order], threshold[order]
    new = np.ones(len(f), dtype=bool)
    new[1:] = (f[1:] != f[:-1]) | (t[1:] != t[:-1])
    return np.bincount(f[new])


def check_bins(feature: Ints, threshold: Floats, most_bits: int = MOST_BITS) -> None:
    """Refuse splits whose sets of bins would fill the memory, before a set is made.

    Raises
    ------
    InputMismatchError
        If a feature has more than :data:`MOST_CUTS` distinct thresholds, or splits more bins than so many.
    """
    if not len(feature):
        return
    cuts = cuts_per_feature(feature, threshold)
    if int(cuts.max()) > MOST_CUTS:
        raise too_large("distinct thresholds of a feature", MOST_CUTS, int(cuts.max()))
    bits = float((cuts[feature] + 2).sum())
    if bits > most_bits:
        raise too_large("bins of all splits", most_bits, bits)
