"""Few conditions, added up: "50 to 500 employees", "uses dbt", "revenue unknown", averaged over which ones.

What makes a good customer is mostly a few bands, levels and tools, and with some hundred accounts nobody can
tell which of two hundred: the mean over all sets of conditions, each as likely as the data make it, errs less
than the best set (Bayesian model averaging: Hoeting, Madigan, Raftery & Volinsky 1999, Statistical Science
14:382). That mean is a sum of step functions, so it is explained and looked up like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit

from icp_ml.model.columns import Floats, Ints
from icp_ml.model.contributions import has_numba
from icp_ml.model.steps import StepModel

EXPECTED = (1.0, 3.0, 8.0, 15.0, 30.0)
"""Numbers of conditions expected to matter before anything is seen: the complexity that folds choose."""
VARIANCES = np.array([0.03, 0.06, 0.12, 0.25])
"""What the squared size of a condition that matters may be on average, in log-odds."""
QUANTILES = 9
LEAST_ROWS = 10
MISSING_SHARE = 0.01
MOST_ROWS = 20_000
MOST_CONDITIONS, LEAST_SCORE = 300, 0.5
SWEEPS, SKIP, STARTS = 300, 60, 2
_LEAST_WEIGHT = 1e-4


@dataclass(frozen=True, slots=True)
class _Conditions:
    """Steps at ends, and conditions as one end less another: above ``lower`` and not above ``upper``.

    Parameters
    ----------
    columns, thresholds, shares
        Encoded column, threshold (NaN: the step is being unknown) and share taken of each end.
    lower, upper
        Ends of each condition; -1: no upper end.
    prior
        How likely conditions are to matter, adding up to 1.
    """

    columns: Ints
    thresholds: Floats
    shares: Floats
    lower: Ints
    upper: Ints
    prior: Floats

    def keep(self, at: Ints) -> _Conditions:
        """Return some of the conditions, with all ends."""
        few = self.lower[at], self.upper[at], self.prior[at]
        return _Conditions(self.columns, self.thresholds, self.shares, *few)

    def step(self, X: Floats, end: int) -> Floats:
        """Return 1 - share where a row takes the step, -share where not, 0 where that is unknown."""
        values, threshold = X[:, self.columns[end]], self.thresholds[end]
        unknown = np.isnan(values)
        if np.isnan(threshold):
            return np.asarray(unknown - self.shares[end])
        return np.where(unknown, 0.0, (values > threshold) - self.shares[end])

    def design(self, X: Floats) -> Floats:
        """Return a column per condition."""
        found = np.empty((len(X), len(self.lower)), order="F")
        for place, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            found[:, place] = self.step(X, low)
            if high >= 0:
                found[:, place] -= self.step(X, high)
        return found

    def model(self, sizes: Floats, intercept: float) -> StepModel:
        """Return the sum of all conditions as steps."""
        steps = np.zeros(len(self.columns))
        np.add.at(steps, self.lower, sizes)
        closed = self.upper >= 0
        np.subtract.at(steps, self.upper[closed], sizes[closed])
        kept = np.flatnonzero(steps)
        return StepModel(self.columns[kept], self.thresholds[kept], steps[kept], self.shares[kept], intercept)


def fit_band_path(
    X: Floats,
    y: Floats,
    expected: Sequence[float],
    seed: int,
    weights: Floats | None = None,
    directions: Ints | None = None,
) -> list[StepModel]:
    """Fit one model per number of expected conditions.

    Parameters
    ----------
    X
        Encoded matrix, NaN = unknown.
    y
        Outcome per row, 0 or 1.
    expected
        Numbers of conditions, ascending, see :data:`EXPECTED`.
    seed
        Of the draws.
    weights
        How much each row counts; None counts all alike.
    directions
        1 or -1 per encoded column that must not push down or up, else 0; None: all may do either.
    """
    few = slice(None, None, -(-len(y) // MOST_ROWS))
    X, y = X[few], y[few]
    each = np.ones(len(y)) if weights is None else weights[few]
    rate = np.clip(each @ y / each.sum(), 1e-6, 1 - 1e-6)
    ways = np.zeros(X.shape[1], dtype=np.int64) if directions is None else directions
    conditions = _conditions(X, ways)
    conditions = conditions.keep(_screen(conditions, X, each * (y - rate), rate * (1 - rate) * (each @ each)))
    design, n = conditions.design(X), len(conditions.lower)
    signs = np.where(np.isnan(conditions.thresholds), 0.0, ways[conditions.columns])[conditions.lower]
    random = np.random.default_rng(seed)
    uniforms, normals = random.random((SWEEPS, n + 1)), random.standard_normal((SWEEPS, n))
    sizes, state = np.zeros(n), np.append(np.zeros(n), VARIANCES[len(VARIANCES) // 2])
    intercept = float(np.log(rate / (1 - rate)))
    path = []
    for place, number in enumerate(expected):
        prior = np.clip(number * conditions.prior, 1e-9, 0.5)
        odds = np.log(prior / (1 - prior))
        # The likelihood's curve is taken at the last mean; short runs get near it first.
        for share in (3,) * (0 if place else STARTS) + (1,):
            cross, linear = _quadratic(design, y, each, intercept, sizes)
            rows = slice(SWEEPS // share)
            _draw(cross, linear, odds, signs, uniforms[rows], normals[rows], SKIP // share, state, sizes)
            intercept = _intercept(y, each, design @ sizes, intercept)
        path.append(conditions.model(sizes, intercept))
    return path


def _conditions(X: Floats, ways: Ints) -> _Conditions:
    """Return every step and band that enough rows take and enough don't."""
    ends: list[tuple[int, float, float]] = []
    pairs: list[tuple[int, int]] = []
    counts: list[int] = []
    for j in range(X.shape[1]):
        unknown = np.isnan(X[:, j])
        known = np.sort(X[~unknown, j])
        if len(known) == 0:
            continue
        first, thresholds = len(ends), _thresholds(known)
        above = len(known) - np.searchsorted(known, thresholds, side="right")
        ends += [(j, float(t), float(a / len(known))) for t, a in zip(thresholds, above, strict=True)]
        own = [(low, -1) for low in range(len(thresholds)) if _enough(above[low], len(known))]
        if ways[j] == 0:
            own += [
                (low, high)
                for low, high in combinations(range(len(thresholds)), 2)
                if high - low > 1 and _enough(above[low] - above[high], len(known))
            ]
        pairs += [(first + low, first + high if high >= 0 else -1) for low, high in own]
        if MISSING_SHARE <= unknown.mean() < 1:
            pairs.append((len(ends), -1))
            ends.append((j, np.nan, float(unknown.mean())))
        counts.append(len(pairs) - sum(counts))
    size = np.repeat(counts, counts).astype(np.float64)
    # A column with many conditions is likelier to matter than one with two, each of them is less so.
    prior = size**-0.5
    lower, upper = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    columns, thresholds, shares = (
        (np.array(part) for part in zip(*ends, strict=True)) if ends else (np.zeros(0),) * 3
    )
    return _Conditions(columns.astype(np.int64), thresholds, shares, lower, upper, prior / prior.sum())


def _thresholds(known: Floats) -> Floats:
    distinct = np.unique(known)
    if len(distinct) <= QUANTILES + 1:
        return np.asarray((distinct[:-1] + distinct[1:]) / 2)
    return np.unique(np.quantile(known, np.arange(1, QUANTILES + 1) / (QUANTILES + 1)))


def _enough(inside: int, n_known: int) -> bool:
    return bool(inside >= LEAST_ROWS and n_known - inside >= LEAST_ROWS)


def _screen(conditions: _Conditions, X: Floats, residuals: Floats, variance: float) -> Ints:
    """Return the conditions that have the largest scores on their own, in their order.

    ``variance`` is that of a sum of the residuals; a condition's share of it goes by its rows.
    """
    slopes = np.array([conditions.step(X, end) @ residuals for end in range(len(conditions.columns))])
    shares, closed = conditions.shares, conditions.upper >= 0
    slope, share = slopes[conditions.lower], shares[conditions.lower]
    slope = slope - np.where(closed, slopes[conditions.upper], 0.0)
    share = share - np.where(closed, shares[conditions.upper], 0.0)
    known = 1 - np.isnan(X).mean(axis=0)[conditions.columns[conditions.lower]]
    known = np.where(np.isnan(conditions.thresholds[conditions.lower]), 1.0, known)
    score = np.abs(slope) / np.sqrt(variance * known * share * (1 - share))
    best = np.argsort(-score, kind="stable")[:MOST_CONDITIONS]
    return np.sort(best[score[best] > LEAST_SCORE])


def _quadratic(
    design: Floats, y: Floats, each: Floats, intercept: float, sizes: Floats
) -> tuple[Floats, Floats]:
    """Return the log-likelihood near ``sizes`` as linear'b - b'(cross)b / 2, over the best intercepts."""
    chance = expit(intercept + design @ sizes)
    weight = each * np.maximum(chance * (1 - chance), _LEAST_WEIGHT)
    centred = design - (weight @ design) / weight.sum()
    part = centred * np.sqrt(weight)[:, None]
    cross = part.T @ part
    return cross, centred.T @ (each * (y - chance)) + cross @ sizes


def _intercept(y: Floats, each: Floats, offset: Floats, start: float) -> float:
    for _ in range(4):
        chance = expit(start + offset)
        start += float(each @ (y - chance) / (each @ (chance * (1 - chance))))
    return start


def _draw(
    cross: Floats,
    linear: Floats,
    odds: Floats,
    signs: Floats,
    uniforms: Floats,
    normals: Floats,
    skip: int,
    state: Floats,
    mean: Floats,
) -> None:
    if has_numba():
        from icp_ml.model.stepkernel import draw
    else:
        from icp_ml.model.gibbs import draw
    draw(cross, linear, odds, signs, VARIANCES, uniforms, normals, skip, state, mean)
