"""A model that adds up steps at thresholds, and its table per column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from icp_ml.foreign import LARGEST, MOST, Given
from icp_ml.model.columns import Floats, Ints
from icp_ml.model.contributions import StepTable, StepTables


@dataclass(frozen=True, slots=True)
class StepModel:
    """Log-odds = intercept + Σ size × (step taken - share of rows that take it).

    Parameters
    ----------
    columns
        Encoded column of each step.
    thresholds
        A value above it takes the step; NaN: an unknown value does.
    sizes
        Change of the log-odds.
    shares
        Share of the known values (for NaN: of all) that take the step.
    intercept
        Log-odds of a row of which nothing is known.
    """

    columns: Ints
    thresholds: Floats
    sizes: Floats
    shares: Floats
    intercept: float

    def raw(self, X: Floats) -> Floats:
        """Return log-odds per row."""
        return tables_of((self,), X.shape[1]).raw(X)

    def to_state(self) -> dict[str, Any]:
        """Return a JSON-able dict; a step for unknown values has no threshold."""
        return {
            "columns": self.columns.tolist(),
            "thresholds": [None if np.isnan(t) else t for t in self.thresholds.tolist()],
            "sizes": self.sizes.tolist(),
            "shares": self.shares.tolist(),
            "intercept": self.intercept,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given, n_columns: int = MOST) -> StepModel:
        """Rebuild what :meth:`to_state` wrote, of so many encoded columns.

        Raises
        ------
        BundleError
            A field is missing, of another type, length or range.
        """
        given = Given.of(state, "model").record("columns", "thresholds", "sizes", "shares", "intercept")
        columns = given["columns"].wholes(high=n_columns - 1)
        n = len(columns)
        return cls(
            columns,
            given["thresholds"].numbers(low=-LARGEST, high=LARGEST, length=n, gaps=True),
            given["sizes"].numbers(length=n),
            given["shares"].numbers(low=0.0, high=1.0, length=n),
            given["intercept"].number(),
        )


def tables_of(models: tuple[StepModel, ...], n_columns: int) -> StepTables:
    """Return the step functions of a bag of models."""
    columns = sorted({int(j) for model in models for j in model.columns})
    return StepTables(
        tuple(_table(j, models) for j in columns),
        np.array([model.intercept for model in models]),
        n_columns,
    )


def _table(column: int, models: tuple[StepModel, ...]) -> StepTable:
    own = [np.flatnonzero(model.columns == column) for model in models]
    every = np.concatenate([model.thresholds[at] for model, at in zip(models, own, strict=True)])
    # Where only unknown values make a difference there is one threshold that nothing passes.
    thresholds = np.unique(every[~np.isnan(every)]) if not np.isnan(every).all() else np.array([np.inf])
    steps, missing = np.zeros((len(thresholds) + 1, len(models))), np.zeros(len(models))
    for bag, (model, at) in enumerate(zip(models, own, strict=True)):
        said, own_thresholds = np.zeros(len(steps)), model.thresholds[at]
        places = (np.searchsorted(thresholds, own_thresholds) + 1).tolist()
        unknown = np.isnan(own_thresholds).tolist()
        for place, is_unknown, size, share in zip(
            places, unknown, model.sizes[at].tolist(), model.shares[at].tolist(), strict=True
        ):
            said -= size * share
            if is_unknown:
                missing[bag] += size * (1 - share)
            else:
                said[place:] += size
        steps[:, bag] = said
    return StepTable(column, thresholds, steps, missing)
