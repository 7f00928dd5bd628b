"""Where a statistic lies among accounts that did not fit it: tail probabilities, also beyond all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icp_ml.foreign import Given

Floats = npt.NDArray[np.float64]

_GRID = np.concatenate([np.linspace(0.0, 0.9, 46), 1.0 - np.geomspace(0.095, 1e-6, 80)])
_LEAST_SHARE, _MOST_VALUE = 1e-12, 1e100


@dataclass(frozen=True, slots=True)
class Ranking:
    """Sample of a statistic among accounts that didn't fit it: large is unusual.

    Parameters
    ----------
    values, upto
        Rising values, and the share of accounts at or above each.
    scale
        Mean step beyond the 95th percentile, by which the tail is carried on beyond the largest value.
    """

    values: tuple[float, ...]
    upto: tuple[float, ...]
    scale: float

    @classmethod
    def fit(cls, sample: Floats, *, steepest: float = np.inf) -> Ranking:
        """Rank a sample.

        Parameters
        ----------
        sample
            The statistic of accounts that didn't fit it.
        steepest
            Largest ``scale``; 1 for a statistic that is a surprise in nats itself.
        """
        n = len(sample)
        unique, counts = np.unique(sample, return_counts=True)
        above = (np.cumsum(counts[::-1])[::-1] + 0.5) / (n + 1.0)
        high = float(np.quantile(sample, 0.95))
        beyond = sample[sample > high] - high
        scale = float(beyond.mean()) if len(beyond) else 1.0
        if len(unique) > len(_GRID):
            places = np.searchsorted(-above, -(1.0 - _GRID), side="left")
            chosen = np.unique(np.clip(np.append(places, [0, len(unique) - 1]), 0, len(unique) - 1))
            unique, above = unique[chosen], above[chosen]
        return cls(tuple(unique.tolist()), tuple(above.tolist()), float(np.clip(scale, 1e-9, steepest)))

    def surprise(self, values: Floats) -> Floats:
        """Return ``-log`` of the share of accounts with a value as large."""
        inside = np.interp(values, self.values, -np.log(self.upto))
        beyond = np.maximum(values - self.values[-1], 0.0) / self.scale
        return np.asarray(inside + beyond)

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return {"values": list(self.values), "upto": list(self.upto), "scale": self.scale}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> Ranking:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another length or out of range, or values don't rise.
        """
        given = Given.of(state, "ranking").record("values", "upto", "scale")
        values = given["values"].numbers(low=-_MOST_VALUE, high=_MOST_VALUE, least=1, rising=True)
        return cls(
            tuple(values.tolist()),
            tuple(given["upto"].numbers(low=_LEAST_SHARE, high=1.0, length=len(values)).tolist()),
            given["scale"].number(low=_LEAST_SHARE, high=_MOST_VALUE),
        )
