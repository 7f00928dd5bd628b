"""A logistic regression on normal scores as it is stored and scored; :mod:`icp_ml.model.ridge` fits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from icp_ml.foreign import LARGEST, Given
from icp_ml.model.columns import Floats
from icp_ml.model.contributions import StepTable, StepTables


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Log-odds = intercept + Σ coefficient × (transformed value - its mean).

    Parameters
    ----------
    knots
        Per encoded column the (value, transformed value) pairs of its transform, flat beyond the outer
        ones, or None where values stay.
    centre
        Mean of each transformed column; an unknown value counts as the mean.
    coefficients
        One per encoded column.
    flagged
        Positions of the encoded columns that also have a missing flag.
    flag_centre, flag_coefficients
        Mean and coefficient of each missing flag.
    intercept
        Log-odds of a row that is average in everything.
    """

    knots: tuple[tuple[Floats, Floats] | None, ...]
    centre: Floats
    coefficients: Floats
    flagged: tuple[int, ...]
    flag_centre: Floats
    flag_coefficients: Floats
    intercept: float

    def contributions(self, X: Floats) -> Floats:
        """Return contributions per encoded column, shape (rows, columns)."""
        result = np.zeros(X.shape)
        for j in range(X.shape[1]):
            if self.coefficients[j] != 0.0:
                result[:, j] = self.coefficients[j] * _centred(X[:, j], self.knots[j], self.centre[j])
        for place, j in enumerate(self.flagged):
            flag = np.isnan(X[:, j]) - self.flag_centre[place]
            result[:, j] += self.flag_coefficients[place] * flag
        return result

    def raw(self, X: Floats) -> Floats:
        """Return log-odds; summed column by column, so that a row's value can't depend on its batch."""
        parts = self.contributions(X)
        total = np.full(len(X), self.intercept)
        for j in range(X.shape[1]):
            total += parts[:, j]
        return total

    def to_state(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return {
            "knots": [pair if pair is None else [pair[0].tolist(), pair[1].tolist()] for pair in self.knots],
            "centre": self.centre.tolist(),
            "coefficients": self.coefficients.tolist(),
            "flagged": list(self.flagged),
            "flag_centre": self.flag_centre.tolist(),
            "flag_coefficients": self.flag_coefficients.tolist(),
            "intercept": self.intercept,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> LinearModel:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type, length or range, or a column is flagged twice.
        """
        given = Given.of(state, "model").record(
            "knots", "centre", "coefficients", "flagged", "flag_centre", "flag_coefficients", "intercept"
        )
        coefficients = given["coefficients"].numbers(least=1)
        n_columns = len(coefficients)
        flagged = given["flagged"].wholes(high=n_columns - 1, most=n_columns).tolist()
        given["flagged"].once(list(map(str, flagged)))
        return cls(
            knots=tuple(
                _knots(pair) if pair.known else None
                for pair in given["knots"].each(least=n_columns, most=n_columns)
            ),
            centre=given["centre"].numbers(low=-LARGEST, high=LARGEST, length=n_columns),
            coefficients=coefficients,
            flagged=tuple(flagged),
            flag_centre=given["flag_centre"].numbers(low=0.0, high=1.0, length=len(flagged)),
            flag_coefficients=given["flag_coefficients"].numbers(length=len(flagged)),
            intercept=given["intercept"].number(),
        )


def _knots(given: Given) -> tuple[Floats, Floats]:
    at, heights = given.each(least=2, most=2)
    values = at.numbers(low=-LARGEST, high=LARGEST, least=1, rising=True)
    return values, heights.numbers(length=len(values))


def tables_of(models: tuple[LinearModel, ...]) -> StepTables:
    """Return the lines of a bag of models, column by column; they bend where any model has a knot."""
    n_columns = len(models[0].coefficients)
    flags = np.zeros((len(models), n_columns))
    flag_centres = np.zeros((len(models), n_columns))
    for bag, model in enumerate(models):
        flags[bag, list(model.flagged)] = model.flag_coefficients
        flag_centres[bag, list(model.flagged)] = model.flag_centre
    sizes = np.array([model.coefficients for model in models])
    says = sizes.any(axis=0) | flags.any(axis=0)
    # Most columns are flags without a knot: one line each, all of them worked out together.
    straight = [all(model.knots[j] is None for model in models) for j in range(n_columns)]
    levels = sizes * (0.0 - np.array([model.centre for model in models])) - flags * flag_centres
    missing, twice = flags * (1.0 - flag_centres), np.zeros(2, dtype=np.int64)
    return StepTables(
        tuple(
            StepTable(j, np.zeros(1), levels[:, j + twice].T, missing[:, j], sizes[:, j + twice].T)
            if straight[j]
            else _table(j, models, flags[:, j], flag_centres[:, j])
            for j in np.flatnonzero(says).tolist()
        ),
        np.array([model.intercept for model in models]),
        n_columns,
    )


def _table(j: int, models: tuple[LinearModel, ...], flags: Floats, flag_centres: Floats) -> StepTable:
    knots = [pair[0] for model in models if (pair := model.knots[j]) is not None]
    at = np.unique(np.concatenate(knots)) if knots else np.zeros(1)
    scale = np.array([model.coefficients[j] for model in models])
    heights = np.stack([scale[b] * (transformed(at, m.knots[j]) - m.centre[j]) for b, m in enumerate(models)])
    heights -= (flags * flag_centres)[:, None]
    # Values without knots go on beyond the last one.
    beyond = np.where([model.knots[j] is None for model in models], scale, 0.0)[:, None]
    slopes = np.concatenate([beyond, np.diff(heights) / np.diff(at), beyond], axis=1)
    return StepTable(j, at, heights[:, [0, *range(len(at))]].T, flags * (1.0 - flag_centres), slopes.T)


def transformed(values: Floats, knots: tuple[Floats, Floats] | None) -> Floats:
    """Return the normal scores of a column, or its values where it has no knots."""
    return values if knots is None else np.interp(values, knots[0], knots[1])


def _centred(values: Floats, knots: tuple[Floats, Floats] | None, centre: float) -> Floats:
    shifted = transformed(values, knots) - centre
    return np.where(np.isnan(values), 0.0, shifted)
