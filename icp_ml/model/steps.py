"""A model that adds up steps at thresholds, and its table per column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
    def from_state(cls, state: dict[str, Any]) -> StepModel:
        """Rebuild what :meth:`to_state` wrote."""
        return cls(
            np.array(state["columns"], dtype=np.int64),
            np.array([np.nan if t is None else t for t in state["thresholds"]], dtype=np.float64),
            np.array(state["sizes"], dtype=np.float64),
            np.array(state["shares"], dtype=np.float64),
            float(state["intercept"]),
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
        for threshold, size, share in zip(
            model.thresholds[at], model.sizes[at], model.shares[at], strict=True
        ):
            if np.isnan(threshold):
                steps[:, bag] -= size * share
                missing[bag] += size * (1 - share)
            else:
                steps[:, bag] -= size * share
                steps[np.searchsorted(thresholds, threshold) + 1 :, bag] += size
    return StepTable(column, thresholds, steps, missing)
