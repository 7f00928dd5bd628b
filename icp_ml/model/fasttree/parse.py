"""From the text of a LightGBM model to arrays: splits, leaf values, and the row counts below."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.sound import ANY_BOOSTER, Flat, Limits, check_trees, refuse, too_large

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


def parse_model(text: str, limits: Limits = ANY_BOOSTER) -> Forest:
    """Read a model text as ``Booster.model_to_string`` writes it.

    What is returned is sound: indices are in range, each node is reached once from its root, lists have the
    lengths they must have and numbers are finite, see :func:`icp_ml.model.fasttree.sound.check_trees`.

    Raises
    ------
    InputMismatchError
        If it isn't such a text, is a multiclass model, has linear models in its leaves, isn't sound, or is
        larger than ``limits``.
    """
    if len(text) > limits.characters:
        raise too_large("characters", limits.characters, len(text))
    if (n_trees := text.count("\nTree=")) > limits.trees:
        raise too_large("trees", limits.trees, n_trees)
    head, *rest = text.split("\nTree=")
    names = _feature_names(head, len(text))
    if rest:
        rest[-1] = rest[-1].split("\nend of trees")[0]
    categories = _categories(text)
    if categories and limits.plain:
        raise InputMismatchError(
            f"expected no categories, found {len(categories)} columns in pandas_categorical: "
            "encode them before training",
            field="pandas_categorical",
        )
    return Forest(_trees(rest, len(names), limits), names, categories)


def _feature_names(head: str, n_characters: int) -> tuple[str, ...]:
    facts = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    if "max_feature_idx" not in facts:
        raise InputMismatchError(
            "expected the text of a LightGBM model, found no max_feature_idx: pass a lightgbm.Booster",
            n_characters=n_characters,
        )
    for field in ("num_tree_per_iteration", "num_class"):
        n_outputs = facts.get(field, "1").strip()
        if n_outputs != "1":
            raise InputMismatchError(
                f"expected a model with one output, found {n_outputs[:20]} trees per iteration (multiclass): "
                "use booster.predict(X, pred_contrib=True)",
                n_outputs=n_outputs,
                field=field,
            )
    names = tuple(facts.get("feature_names", "").split(" "))
    if facts["max_feature_idx"].strip() != str(len(names) - 1):
        raise InputMismatchError(
            f"expected max_feature_idx {len(names) - 1} by feature_names, found "
            f"{facts['max_feature_idx'][:20]!r}: take the text as LightGBM wrote it",
            field="max_feature_idx",
        )
    return names


def _categories(text: str) -> tuple[tuple[Any, ...], ...]:
    mark = "\npandas_categorical:"
    place = text.rfind(mark)
    if place < 0:
        return ()
    line = text[place + len(mark) :].partition("\n")[0]
    try:
        levels = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise _bad_categories(line) from problem
    if not (levels is None or (isinstance(levels, list) and all(isinstance(own, list) for own in levels))):
        raise _bad_categories(line)
    return tuple(tuple(column) for column in levels or ())


def _bad_categories(line: str) -> InputMismatchError:
    return InputMismatchError(
        f"expected null or lists of levels in pandas_categorical, found {line[:40]!r}: "
        "take the text as LightGBM wrote it",
        field="pandas_categorical",
    )


_WHOLE = ("split_feature", "decision_type", "left_child", "right_child", "cat_boundaries", "cat_threshold")
_NUMBERS = ("threshold", "internal_count", "leaf_value", "leaf_count")
_READ = frozenset((*_WHOLE, *_NUMBERS, "num_leaves", "num_cat", "is_linear"))


def _trees(parts: Sequence[str], n_features: int, limits: Limits) -> tuple[Tree, ...]:
    read: list[dict[str, str]] = []
    for part in parts:
        lines = (line.partition("=") for line in part.split("\n"))
        read.append({key: value for key, _, value in lines if key in _READ})
    splits = (
        np.array([_one(fields, "num_leaves", place) for place, fields in enumerate(read)], dtype=np.int64) - 1
    )
    for place, fields in enumerate(read):
        if splits[place] < 0:
            raise refuse("num_leaves", place, "1 or more", fields.get("num_leaves"))
        if _one(fields, "is_linear", place):
            raise InputMismatchError(
                f"expected constant leaves, found linear models in the leaves of tree {place} (linear_tree): "
                "train without linear_tree, LightGBM has no exact contributions for it",
                tree=place,
                field="is_linear",
            )
    with_split = np.where(splits > 0, splits + 1, 0)
    whole = {name: _column(read, name, splits, int) for name in _WHOLE[:4]}
    numbers = {
        name: _column(read, name, sizes, float)
        for name, sizes in zip(_NUMBERS, (splits, splits, splits + 1, with_split), strict=True)
    }
    flat = Flat(
        splits,
        whole["split_feature"],
        numbers["threshold"],
        whole["decision_type"],
        whole["left_child"],
        whole["right_child"],
        numbers["internal_count"],
        numbers["leaf_value"],
        numbers["leaf_count"],
    )
    check_trees(flat, n_features, limits)
    return tuple(_cut(flat, read, with_split))


def _one(fields: Mapping[str, str], name: str, place: int) -> int:
    """Return a number of a tree."""
    text = fields.get(name, "0").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise refuse(name, place, "a whole number", text)
    return int(text)


def _column(read: Sequence[Mapping[str, str]], name: str, sizes: Ints, kind: type[int] | type[float]) -> Any:
    """Return one list of all trees end to end; those of trees that have no use for it are left out."""
    tokens = [
        fields.get(name, "").split() if size else ()
        for fields, size in zip(read, sizes.tolist(), strict=True)
    ]
    lengths = np.array([len(own) for own in tokens], dtype=np.int64)
    if (lengths != sizes).any():
        place = int(np.argmax(lengths != sizes))
        raise refuse(name, place, f"{sizes[place]} values", int(lengths[place]))
    dtype = np.int64 if kind is int else np.float64
    try:
        return np.array(list(map(kind, chain.from_iterable(tokens))), dtype=dtype)
    except (ValueError, OverflowError) as problem:
        place = next(i for i, own in enumerate(tokens) if not _readable(own, kind))
        raise refuse(
            name, place, "whole numbers" if kind is int else "numbers", " ".join(tokens[place])
        ) from problem


def _readable(tokens: Sequence[str], kind: type[int] | type[float]) -> bool:
    try:
        np.array(list(map(kind, tokens)), dtype=np.int64 if kind is int else np.float64)
    except (ValueError, OverflowError):
        return False
    return True


def _cut(flat: Flat, read: Sequence[Mapping[str, str]], with_split: Ints) -> Iterator[Tree]:
    """Cut what is end to end into trees."""
    node = leaf = count = 0
    no_sets = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint32)
    for place, (n, n_counts) in enumerate(zip(flat.splits.tolist(), with_split.tolist(), strict=True)):
        own = slice(node, node + n)
        decision, threshold = flat.decision[own], flat.threshold[own]
        sets = _sets(read[place], place, decision, threshold) if (decision & CATEGORICAL).any() else no_sets
        yield Tree(
            flat.feature[own],
            threshold,
            decision,
            flat.left[own],
            flat.right[own],
            flat.node_count[own],
            flat.leaf_value[leaf : leaf + n + 1],
            flat.leaf_count[count : count + n_counts],
            *sets,
        )
        node, leaf, count = node + n, leaf + n + 1, count + n_counts


def _sets(
    fields: Mapping[str, str], place: int, decision: Ints, threshold: Floats
) -> tuple[Ints, npt.NDArray[np.uint32]]:
    """Return the sets of categories of a tree: where each begins, and their words."""
    n_sets = _one(fields, "num_cat", place)
    boundaries = _column([fields], "cat_boundaries", np.array([n_sets + 1]), int)
    rising = boundaries[0] == 0 and bool((np.diff(boundaries) >= 0).all())
    if not rising:
        raise refuse("cat_boundaries", place, "rising numbers from 0 on", boundaries.tolist())
    words = _column([fields], "cat_threshold", boundaries[-1:], int)
    if len(words) and not (words.min() >= 0 and words.max() < 1 << 32):
        raise refuse("cat_threshold", place, "words of 32 bits", words.tolist())
    which = threshold[(decision & CATEGORICAL) > 0]
    if not ((which >= 0) & (which < n_sets) & (which == np.floor(which))).all():
        raise refuse("threshold", place, f"sets 0 to {n_sets - 1}", which.tolist())
    return boundaries, words.astype(np.uint32)
