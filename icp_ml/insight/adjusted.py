"""The same trait at equal everything else: holders against accounts that are otherwise alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtri

from icp_ml.insight.candidates import Design
from icp_ml.insight.evidence import Outcome
from icp_ml.insight.lifts import Counts, Lifts, Memberships

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Features with at most this p-value count as "everything else"; the rest can't explain anything away.
COVARIATE_P = 0.02
#: Accounts per covariate column.
PER_COLUMN = 8
#: Share of what shrinking took off the raw lift as luck that is taken off here too.
LUCK_SHARED = 0.75
RIDGE = 1e-4


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Effect per candidate at equal other columns, share units, shape (m,); NaN where not estimated."""

    effect: Array
    low: Array
    high: Array


def adjusted_effects(
    design: Design,
    outcome: Outcome,
    counts: Counts,
    members: Memberships,
    raw: Lifts,
    p_values: Array,
    confirmed: Ints,
    *,
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.90,
) -> Adjusted:
    """Compare holders with accounts that are alike otherwise.

    Outcome and membership are both predicted, out of fold, from all bins of every *other* feature with
    evidence (p <= 0.02, strongest first, as many as the accounts carry) and whether it is known; the effect
    is the regression of what is left of the one on what is left of the other.

    Parameters
    ----------
    design, outcome, counts, members
        Bins, outcome and held-out memberships of the same accounts.
    raw
        Lifts before adjusting; what was luck in them is luck here.
    p_values
        Of each candidate, shape (m,).
    confirmed
        Candidate numbers to estimate; the others get NaN.
    n_folds
        Folds of accounts.
    seed
        Seeds the folds.
    level
        Coverage of the interval.

    Notes
    -----
    Partialling-out with cross-fitting: Chernozhukov et al. (2018), *Econometrics Journal* 21, C1-C68, with
    additive regressions on bins; one residual per account, so that several snapshots count once.
    """
    m, n = len(design.candidates), outcome.n_accounts
    effect, low, high = (np.full(m, np.nan) for _ in range(3))
    fold = np.random.default_rng([seed, 7]).permutation(n) % n_folds
    known = np.maximum(counts.known, 1e-9)
    held = np.where(counts.known > 0.5, members.held / known, np.nan)
    z = float(ndtri(0.5 + level / 2))
    for j in confirmed.tolist():
        rows = np.flatnonzero(~np.isnan(held[:, j]))
        x = _covariates(design, counts, p_values, j)[rows]
        rest_y = _residual(outcome.rates[rows], x, fold[rows], n_folds)
        rest_d = _residual(held[rows, j], x, fold[rows], n_folds)
        if float((rest_d**2).sum()) <= 1e-9:
            continue
        slope, spread = _slope(rest_y, rest_d)
        share = min(float(held[rows, j].mean()), 0.95)
        effect[j] = slope + LUCK_SHARED * float(raw.mean[j] - raw.raw[j]) / (1.0 - share)
        low[j], high[j] = effect[j] - z * spread, effect[j] + z * spread
    return Adjusted(effect, low, high)


@dataclass(frozen=True, slots=True)
class Beside:
    """One trait beside one other: its effect among accounts alike in the other, its error, and alone."""

    effect: float
    error: float
    alone: float

    def toward(self, direction: int) -> Beside:
        """Return the same with effects counted in a direction."""
        return Beside(direction * self.effect, self.error, direction * self.alone)


def beside(
    design: Design,
    outcome: Outcome,
    counts: Counts,
    members: Memberships,
    j: int,
    i: int,
    *,
    n_folds: int = 5,
) -> Beside | None:
    """Compare holders of ``j`` with accounts alike in ``i``, among accounts that know both; None without any.

    Parameters
    ----------
    design, outcome, counts, members
        As in :func:`adjusted_effects`.
    j, i
        Candidate numbers: the trait in question, and the one held equal.
    n_folds
        Folds of accounts.
    """
    rows = np.flatnonzero((counts.known[:, j] > 0.5) & (counts.known[:, i] > 0.5))
    held = members.held[rows, j] / counts.known[rows, j]
    rates = outcome.rates[rows]
    fold = np.random.default_rng([len(rows), 7]).permutation(len(rows)) % n_folds
    x = counts.held[rows][:, design.bins_of(i)]
    x = x - x.mean(axis=0)
    x = x[:, x.std(axis=0) > 1e-6]
    rest_y, rest_d = _residual(rates, x, fold, n_folds), _residual(held, x, fold, n_folds)
    plain = float(((held - held.mean()) ** 2).sum())
    if float((rest_d**2).sum()) <= 1e-9 or plain <= 1e-9:
        return None
    slope, error = _slope(rest_y, rest_d)
    return Beside(slope, error, float(((held - held.mean()) * rates).sum()) / plain)


def _covariates(design: Design, counts: Counts, p_values: Array, j: int) -> Array:
    """Centre the bins of the other features with evidence, strongest first; shape (n, columns)."""
    own = design.candidates[j]
    room = len(counts.held) / PER_COLUMN
    columns: list[Array] = []
    taken: set[str] = set()
    for i in np.argsort(p_values, kind="stable").tolist():
        other = design.candidates[i]
        same = other.feature == own.feature and (own.family != "technologies" or i == j)
        if p_values[i] > COVARIATE_P or same:
            continue
        bins = counts.held[:, design.bins_of(i)]
        if bins.shape[1] + len(columns) > room:
            break
        columns += list(bins.T)
        if other.feature not in taken and float(counts.known[:, i].min()) < 0.5:
            columns.append(counts.known[:, i])
        taken.add(other.feature)
    if not columns:
        return np.zeros((len(counts.held), 0))
    x = np.stack(columns, axis=1)
    x = x - x.mean(axis=0)
    return np.asarray(x[:, x.std(axis=0) > 1e-6], dtype=np.float64)


def _slope(rest_y: Array, rest_d: Array) -> tuple[float, float]:
    """Return the regression of one residual on the other, and its error with one residual per account."""
    power = float((rest_d**2).sum())
    slope = float((rest_d * rest_y).sum()) / power
    return slope, float(np.sqrt((rest_d**2 * (rest_y - slope * rest_d) ** 2).sum())) / power


def _residual(target: Array, x: Array, fold: Ints, n_folds: int) -> Array:
    """Out-of-fold residual of a regression; the tiny penalty only makes it solvable."""
    out = np.empty(len(target))
    for k in range(n_folds):
        train, test = fold != k, fold == k
        level, centre = float(target[train].mean()), x[train].mean(axis=0)
        out[test] = target[test] - level
        if x.shape[1]:
            inner = x[train] - centre
            gram = inner.T @ inner + RIDGE * float(train.sum()) * np.eye(x.shape[1])
            out[test] -= (x[test] - centre) @ cho_solve(cho_factor(gram), inner.T @ (target[train] - level))
    return out
