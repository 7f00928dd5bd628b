"""A logistic regression whose chance stays between a floor and a ceiling.

The best account may leave all the same (it is bought, its budget is cut), and some of the worst stay. A
logistic regression that knows no such bounds has to make all its slopes smaller for these few. This is the
four-parameter logistic model of test theory (Barton and Lord 1981, ETS research report 81-20), as it is
stored and scored; :mod:`icp_ml.model.boundedfit` fits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from icp_ml.foreign import Given
from icp_ml.model.columns import Floats
from icp_ml.model.linear import LinearModel

LEAST_BOUND = 1e-12
_NEAR = 1e-6


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which chances a model stays.

    Parameters
    ----------
    floor
        Least chance, above 0.
    gap
        1 less the greatest chance, above 0.
    """

    floor: float
    gap: float

    def log_odds(self, index: Floats) -> Floats:
        """Return the log-odds of ``floor + (1 - gap - floor) * sigmoid(index)``."""
        width = 1.0 - self.gap - self.floor
        return np.asarray(
            np.log(self.floor + width * expit(index)) - np.log(self.gap + width * expit(-index))
        )

    def slopes(self, index: Floats, start: float) -> Floats:
        """Return the mean slope of :meth:`log_odds` between a start and each index.

        Contributions to the index times this slope are contributions to the log-odds that add up: the path
        integrals from the average account to this one (Aumann and Shapley 1974; Sundararajan, Taly and Yan
        2017, "integrated gradients").
        """
        moved = index - start
        near = np.abs(moved) < _NEAR
        chord = (self.log_odds(index) - self.log_odds(np.array([start]))) / np.where(near, 1.0, moved)
        width = 1.0 - self.gap - self.floor
        up, down = expit(start), expit(-start)
        tangent = width * up * down * (1.0 / (self.floor + width * up) + 1.0 / (self.gap + width * down))
        return np.asarray(np.where(near, tangent, chord))


@dataclass(frozen=True, slots=True)
class BoundedModel:
    """A linear index and the bounds of the chance it stands for."""

    linear: LinearModel
    bounds: Bounds

    def raw(self, X: Floats) -> Floats:
        """Return log-odds per row."""
        return self.bounds.log_odds(self.linear.raw(X))

    def to_state(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return {"floor": self.bounds.floor, "gap": self.bounds.gap, "linear": self.linear.to_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> BoundedModel:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range.
        """
        given = Given.of(state, "model").record("floor", "gap", "linear")
        floor, gap = (given[name].number(low=LEAST_BOUND, high=1.0) for name in ("floor", "gap"))
        if floor + gap >= 1.0:
            given.refuse("floor and gap of less than 1 together", f"{floor + gap:g}")
        return cls(LinearModel.from_state(given["linear"]), Bounds(floor, gap))
