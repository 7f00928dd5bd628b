"""Exact contributions of additive boosters: one step function per encoded column.

A tree with one split adds a step to one column. All trees of all bags together are a table per column,
looked up with one binary search, equal to LightGBM's own ``pred_contrib`` to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icp_ml.model.columns import Floats


@dataclass(frozen=True, slots=True)
class StepTable:
    """The step function of one encoded column in each bag.

    Parameters
    ----------
    column
        Position of the encoded column.
    thresholds
        Ascending; a value on a threshold belongs to the step on its left.
    steps
        Contribution per step and bag, shape (thresholds + 1, bags), centred on the training mean.
    missing
        Contribution of an unknown value per bag.
    """

    column: int
    thresholds: Floats
    steps: Floats
    missing: Floats

    def look_up(self, values: Floats) -> Floats:
        """Return contributions per value and bag."""
        found = self.steps[np.searchsorted(self.thresholds, values, side="left")]
        unknown = np.isnan(values)
        if unknown.any():
            found[unknown] = self.missing
        return found


@dataclass(frozen=True, slots=True)
class StepTables:
    """All step functions of a bag of additive boosters.

    Parameters
    ----------
    tables
        One per encoded column that any tree splits on.
    base
        Expected value per bag.
    n_columns
        Number of encoded columns.
    """

    tables: tuple[StepTable, ...]
    base: Floats
    n_columns: int

    def contributions(self, X: Floats) -> Floats:
        """Return contributions averaged over bags, shape (rows, encoded columns)."""
        result = np.zeros((len(X), self.n_columns))
        for table in self._averaged:
            result[:, table.column] = table.look_up(X[:, table.column])[:, 0]
        return result

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over bags."""
        total = np.full(len(X), self.base.mean())
        for table in self._averaged:
            total += table.look_up(X[:, table.column])[:, 0]
        return total

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each bag, shape (bags, rows)."""
        total = np.tile(self.base, (len(X), 1))
        for table in self.tables:
            total += table.look_up(X[:, table.column])
        return total.T

    @property
    def _averaged(self) -> tuple[StepTable, ...]:
        return tuple(
            StepTable(
                table.column,
                table.thresholds,
                table.steps.mean(axis=1, keepdims=True),
                table.missing.mean(keepdims=True),
            )
            for table in self.tables
        )


def compile_steps(bags: list[list[dict[str, Any]]], n_columns: int) -> StepTables:
    """Compile bags of trees with at most one split each.

    Parameters
    ----------
    bags
        Per bag the trees as nested dicts, see :func:`icp_ml.model.estimator.dump_trees`.
    n_columns
        Number of encoded columns.

    Raises
    ------
    ValueError
        If a tree has more than one split, or splits on a category or on zero as missing.
    """
    base = np.zeros(len(bags))
    splits: dict[int, list[tuple[int, float, float, float, float]]] = {}
    for bag, trees in enumerate(bags):
        for tree in trees:
            if "split_feature" not in tree:
                base[bag] += tree["leaf_value"]
                continue
            left, right = tree["left_child"], tree["right_child"]
            if "leaf_value" not in left or "leaf_value" not in right:
                raise ValueError("expected trees with one split, found a deeper tree: use pred_contrib")
            if tree["decision_type"] != "<=" or tree["missing_type"] == "Zero":
                raise ValueError(
                    f"expected numeric splits, found {tree['decision_type']} with missing type "
                    f"{tree['missing_type']}: use pred_contrib"
                )
            n_left, n_right = left["leaf_count"], right["leaf_count"]
            total = n_left + n_right
            mean = n_left / total * left["leaf_value"] + n_right / total * right["leaf_value"]
            base[bag] += mean
            # LightGBM dumps an infinite threshold (known against unknown) as 1e300.
            threshold = float(tree["threshold"]) if tree["threshold"] < 1e300 else np.inf
            goes_left = tree["default_left"] if tree["missing_type"] == "NaN" else threshold >= 0.0
            low, high = left["leaf_value"] - mean, right["leaf_value"] - mean
            splits.setdefault(tree["split_feature"], []).append(
                (bag, threshold, low, high, low if goes_left else high)
            )
    tables = tuple(_table(column, splits[column], len(bags)) for column in sorted(splits))
    return StepTables(tables, base, n_columns)


def _table(column: int, splits: list[tuple[int, float, float, float, float]], n_bags: int) -> StepTable:
    thresholds = np.unique([threshold for _, threshold, *_ in splits])
    steps = np.zeros((len(thresholds) + 1, n_bags))
    missing = np.zeros(n_bags)
    for bag, threshold, low, high, unknown in splits:
        place = int(np.searchsorted(thresholds, threshold, side="left")) + 1
        steps[:place, bag] += low
        steps[place:, bag] += high
        missing[bag] += unknown
    return StepTable(column, thresholds, steps, missing)
