"""The bins of every unit as one sparse matrix, compared within risk sets, and sums over drawn units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icp_ml.insight.candidates import Design
from icp_ml.insight.drawkernel import draw_sums
from icp_ml.insight.riskset import Outcome

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Units:
    """Which bins each unit is in, what is usual in its risk set, and how often each event is drawn.

    A field that isn't known takes its risk set's share of each bin, so that it counts on neither side.

    Parameters
    ----------
    bins
        Share of the unit's rows in each bin, unknown ones imputed, sparse, shape (N, bins).
    usual
        Mean of ``bins`` over the known units of each risk set, shape (strata, bins).
    size
        Known rows in each bin and unit, sparse, shape (N, bins).
    order, starts
        Units risk set by risk set, and where each risk set begins, shapes (N,) and (strata + 1,).
    counts, mass
        Units with an event in each risk set, and their events in the same order.
    level
        What the bins sum up to if every unit had the mean event of its risk set, shape (bins,).
    """

    bins: Any
    usual: Array
    size: Any
    order: Ints
    starts: Ints
    counts: Ints
    mass: Array
    level: Array

    @classmethod
    def of(cls, design: Design, outcome: Outcome) -> Units:
        """Count rows per unit and bin, and impute what isn't known."""
        n, n_bins, strata = outcome.n_units, design.n_bins, outcome.n_strata
        rows = np.bincount(outcome.unit, minlength=n).astype(np.float64)
        unit = outcome.unit[design.row]
        size = sparse.csr_matrix((1.0 / rows[unit], (unit, design.column)), shape=(n, n_bins))
        member = sparse.csr_matrix((np.ones(n), (outcome.stratum, np.arange(n))), shape=(strata, n))
        held = np.asarray((member @ size).todense())
        usual = np.empty((strata, n_bins))
        imputed: list[tuple[Ints, Ints, Array]] = []
        for j in range(len(design.candidates)):
            at = design.bins_of(j)
            unknown = np.zeros(n)
            if not design.known[:, j].all():
                unknown = np.bincount(outcome.unit, weights=1.0 - design.known[:, j], minlength=n) / rows
            known = np.bincount(outcome.stratum, weights=1.0 - unknown, minlength=strata)
            usual[:, at] = held[:, at] / np.maximum(known, 1e-12)[:, None]
            few = np.flatnonzero(unknown > 0)
            if len(few):
                width = at.stop - at.start
                values = unknown[few, None] * usual[outcome.stratum[few], at]
                imputed.append(
                    (np.repeat(few, width), np.tile(np.arange(at.start, at.stop), len(few)), values.ravel())
                )
        bins = size
        if imputed:
            parts = [np.concatenate(part) for part in zip(*imputed, strict=True)]
            bins = (size + sparse.csr_matrix((parts[2], (parts[0], parts[1])), shape=(n, n_bins))).tocsr()
        return cls(bins, usual, size, *_events(outcome), _level(bins, outcome))

    def sums(self, effects: Array, stratum: Ints) -> Array:
        """Sum centred bins weighted by effects that need not cancel within risk sets; shape (bins, k).

        Parameters
        ----------
        effects
            Shape (N, k).
        stratum
            Risk set of each unit.
        """
        strata = len(self.usual)
        together = np.stack([np.bincount(stratum, weights=column, minlength=strata) for column in effects.T])
        return np.asarray(self.bins.T @ effects - (together @ self.usual).T, dtype=np.float64)

    def centred(self, columns: Ints, stratum: Ints) -> Array:
        """Return some bins less what is usual in the risk set; shape (N, len(columns))."""
        dense = np.asarray(self.bins[:, columns].todense(), dtype=np.float64)
        return dense - self.usual[:, columns][stratum]

    def drawn(self, columns: Ints, count: int, rng: np.random.Generator) -> Array:
        """Hand each risk set's events to other units of it at random and sum bins; shape (columns, count)."""
        some = self.bins if len(columns) == self.bins.shape[1] else self.bins[:, columns].tocsr()
        out = np.zeros((count, len(columns)))
        draw_sums(
            self.starts,
            self.counts,
            self.mass,
            self.order.copy(),
            rng.random((count, len(self.mass))),
            some.indptr.astype(np.int64),
            some.indices.astype(np.int64),
            some.data,
            out,
        )
        return np.asarray((out - self.level[columns]).T)


def _events(outcome: Outcome) -> tuple[Ints, Ints, Ints, Array]:
    order = np.argsort(outcome.stratum, kind="stable").astype(np.int64)
    starts = np.searchsorted(outcome.stratum[order], np.arange(outcome.n_strata + 1)).astype(np.int64)
    hit = order[outcome.event[order] != 0.0]
    counts = np.bincount(outcome.stratum[hit], minlength=outcome.n_strata).astype(np.int64)
    return order, starts, counts, outcome.event[hit].astype(np.float64)


def _level(bins: Any, outcome: Outcome) -> Array:
    return np.asarray(bins.T @ (outcome.event - outcome.residual), dtype=np.float64)
