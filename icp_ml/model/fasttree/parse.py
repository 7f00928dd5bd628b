"""From the text of a LightGBM model to arrays: splits, leaf values, and the row counts below."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Floats, Ints

CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree as LightGBM stores it: inner nodes count from 0, leaf ``i`` is the child ``~i``.

    Parameters
    ----------
    feature, threshold, decision, left, right, node_count
        Per inner node. ``decision`` holds LightGBM's bits: categorical, default left, missing type << 2.
    leaf_value, leaf_count
        Per leaf; counts are training rows.
    cat_boundaries, cat_words
        Bit sets of the categories that go left, 32 per word.
    """

    feature: Ints
    threshold: Floats
    decision: Ints
    left: Ints
    right: Ints
    node_count: Floats
    leaf_value: Floats
    leaf_count: Floats
    cat_boundaries: Ints
    cat_words: npt.NDArray[np.uint32]

    def expected_value(self) -> float:
        """Return the mean leaf value, weighted by training rows."""
        if len(self.leaf_value) == 1:
            return float(self.leaf_value[0])
        return float(np.sum(self.leaf_count / self.node_count[0] * self.leaf_value))


@dataclass(frozen=True, slots=True)
class Forest:
    """All trees of a booster and what its head says.

    Parameters
    ----------
    trees
        In order of training.
    feature_names
        One per column of the input.
    categories
        Levels of each pandas category column the booster was trained on, in order of columns.
    """

    trees: tuple[Tree, ...]
    feature_names: tuple[str, ...]
    categories: tuple[tuple[Any, ...], ...]


def parse_model(text: str) -> Forest:
    """Read a model text as ``Booster.model_to_string`` writes it.

    Raises
    ------
    InputMismatchError
        If it isn't such a text, is a multiclass model, or has linear models in its leaves.
    """
    head, *rest = text.split("\nTree=")
    facts = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    if "max_feature_idx" not in facts:
        raise InputMismatchError(
            "expected the text of a LightGBM model, found no max_feature_idx: pass a lightgbm.Booster",
            n_characters=len(text),
        )
    n_outputs = int(facts.get("num_tree_per_iteration", "1"))
    if n_outputs != 1:
        raise InputMismatchError(
            f"expected a model with one output, found {n_outputs} trees per iteration (multiclass): "
            "use booster.predict(X, pred_contrib=True)",
            n_outputs=n_outputs,
        )
    if rest:
        rest[-1] = rest[-1].split("\nend of trees")[0]
    return Forest(
        tuple(_parse_tree(part, place) for place, part in enumerate(rest)),
        tuple(facts["feature_names"].split(" ")),
        _categories(text),
    )


def _categories(text: str) -> tuple[tuple[Any, ...], ...]:
    mark = "\npandas_categorical:"
    place = text.rfind(mark)
    if place < 0:
        return ()
    levels = json.loads(text[place + len(mark) :].splitlines()[0])
    return tuple(tuple(column) for column in levels or ())


def _parse_tree(text: str, place: int) -> Tree:
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if int(fields.get("is_linear", "0")):
        raise InputMismatchError(
            f"expected constant leaves, found linear models in the leaves of tree {place} (linear_tree): "
            "train without linear_tree, LightGBM has no exact contributions for it",
            tree=place,
        )

    def numbers(name: str) -> Floats:
        return np.array(fields.get(name, "").split(), dtype=np.float64)

    def whole(name: str) -> Ints:
        return np.array(fields.get(name, "").split(), dtype=np.int64)

    tree = Tree(
        whole("split_feature"),
        numbers("threshold"),
        whole("decision_type"),
        whole("left_child"),
        whole("right_child"),
        numbers("internal_count"),
        numbers("leaf_value"),
        numbers("leaf_count"),
        whole("cat_boundaries"),
        whole("cat_threshold").astype(np.uint32),
    )
    empty = len(tree.feature) and (tree.node_count.min() <= 0 or len(tree.leaf_count) != len(tree.leaf_value))
    if empty:
        raise InputMismatchError(
            f"expected training rows in every node, found none in a node of tree {place}: "
            "contributions weigh by rows, train the model on data",
            tree=place,
        )
    return tree
