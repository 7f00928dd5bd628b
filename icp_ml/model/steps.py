"""A lasso on steps: few conditions such as "more than 200 employees" or "uses dbt", added up.

What makes a good customer is mostly a few bands, levels and tools. A column of steps at quantiles lets a
penalty on their sizes find the ends of bands (fused lasso additive model: Petersen, Witten & Simon 2016,
Journal of Computational and Graphical Statistics 25:1005), and the result is a table per column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icp_ml.model.columns import Floats, Ints
from icp_ml.model.contributions import StepTable, StepTables
from icp_ml.model.lasso import lasso_path

SHARES = (2.0, 1.4, 1.0, 0.7, 0.47, 0.32, 0.21, 0.14, 0.1, 0.065, 0.04)
"""Penalties as shares of about the largest slope that a hundred steps without any effect would have."""
QUANTILES = 9
LEAST_ROWS = 10
MISSING_SHARE = 0.01
MOST_ROWS = 20_000
_NULL_SLOPE = 1.16


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


def fit_step_path(
    X: Floats,
    y: Floats,
    shares: tuple[float, ...],
    weights: Floats | None = None,
    directions: Ints | None = None,
) -> list[StepModel]:
    """Fit one model per penalty, strongest first.

    Parameters
    ----------
    X
        Encoded matrix, NaN = unknown.
    y
        Outcome per row, 0 or 1.
    shares
        Penalties, descending, see :data:`SHARES`.
    weights
        How much each row counts; None counts all alike.
    directions
        1 or -1 per encoded column whose steps must not go down or up, else 0; None: all may do either.
    """
    few = slice(None, None, -(-len(y) // MOST_ROWS))
    X, y = X[few], y[few]
    each = np.ones(len(y)) if weights is None else weights[few]
    columns, thresholds = _steps(X)
    design = np.ones((len(X), len(columns) + 1), order="F")
    taken = np.empty(len(columns))
    for place, (j, threshold) in enumerate(zip(columns, thresholds, strict=True)):
        design[:, place], taken[place] = _column(X[:, j], threshold)
    signs = np.zeros(len(columns) + 1)
    if directions is not None:
        signs[:-1] = np.where(np.isnan(thresholds), 0, directions[columns])
    rate = each @ y / each.sum()
    unit = _NULL_SLOPE * np.sqrt((each**2).sum() * rate * (1 - rate))
    return [
        StepModel(
            columns[kept := np.flatnonzero(beta[:-1])],
            thresholds[kept],
            beta[kept],
            taken[kept],
            float(beta[-1]),
        )
        for beta in lasso_path(design, y, each, [unit * share for share in shares], signs)
    ]


def tables_of(models: tuple[StepModel, ...], n_columns: int) -> StepTables:
    """Return the step functions of a bag of models."""
    columns = sorted({int(j) for model in models for j in model.columns})
    return StepTables(
        tuple(_table(j, models) for j in columns),
        np.array([model.intercept for model in models]),
        n_columns,
    )


def _steps(X: Floats) -> tuple[Ints, Floats]:
    """Return column and threshold of every step worth a try."""
    found: list[tuple[int, float]] = []
    for j in range(X.shape[1]):
        values = X[:, j]
        unknown = np.isnan(values)
        known = values[~unknown]
        if len(known) == 0:
            continue
        distinct = np.unique(known)
        if len(distinct) > QUANTILES + 1:
            distinct = np.unique(np.quantile(known, np.arange(1, QUANTILES + 1) / (QUANTILES + 1)))
            ends = distinct
        else:
            ends = (distinct[:-1] + distinct[1:]) / 2
        above = np.array([np.count_nonzero(known > end) for end in ends])
        enough = (above >= LEAST_ROWS) & (len(known) - above >= LEAST_ROWS)
        found += [(j, float(end)) for end in ends[enough]]
        if MISSING_SHARE <= unknown.mean() < 1:
            found.append((j, np.nan))
    return np.array([j for j, _ in found], dtype=np.int64), np.array([end for _, end in found])


def _column(values: Floats, threshold: float) -> tuple[Floats, float]:
    unknown = np.isnan(values)
    if np.isnan(threshold):
        share = float(unknown.mean())
        return unknown - share, share
    share = float((values[~unknown] > threshold).mean())
    return np.where(unknown, 0.0, (values > threshold) - share), share


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
