"""The same trait at equal everything else: holders against accounts that are alike in all other columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtri

from icp_ml.insight.candidates import Design
from icp_ml.insight.evidence import Outcome
from icp_ml.insight.lifts import Counts, Memberships

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PENALTIES = (0.1, 0.3, 1.0, 3.0)


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
    confirmed: Ints,
    *,
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.90,
) -> Adjusted:
    """Compare holders with accounts that are alike otherwise.

    Outcome and membership are both predicted, out of fold, from the bins of all *other* features and from the
    other confirmed traits; the effect is the regression of what is left of the one on what is left of the other.

    Parameters
    ----------
    design, outcome, counts, members
        Bins, outcome and held-out memberships of the same accounts.
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
    Partialling-out with cross-fitting: Chernozhukov et al. (2018), *Econometrics Journal* 21, C1-C68, with additive
    ridge regressions on bins; one residual per account, so that several snapshots count once.
    """
    m, n = len(design.candidates), outcome.n_accounts
    effect, low, high = (np.full(m, np.nan) for _ in range(3))
    if not len(confirmed):
        return Adjusted(effect, low, high)
    fold = np.random.default_rng([seed, 7]).permutation(n) % n_folds
    base, owner = _covariates(design, counts)
    known = np.maximum(counts.known, 1e-9)
    held = np.where(counts.known > 0.5, members.held / known, np.nan)
    held = np.where(np.isnan(held), np.nanmean(held, axis=0), held)
    z = float(ndtri(0.5 + level / 2))
    y = outcome.rates
    names = np.array([candidate.feature for candidate in design.candidates])
    for j in confirmed.tolist():
        same = names == names[j] if design.candidates[j].family != "technologies" else np.arange(m) == j
        others = np.array([i for i in confirmed.tolist() if not same[i]], dtype=np.int64)
        use = ~same[owner]
        free = held[:, others] - held[:, others].mean(axis=0)
        rows = counts.known[:, j] > 0.5
        rest_y = _residual(y[rows], base[rows][:, use], free[rows], fold[rows], n_folds)
        rest_d = _residual(held[rows, j], base[rows][:, use], free[rows], fold[rows], n_folds)
        power = float((rest_d**2).sum())
        if power <= 1e-9:
            continue
        effect[j] = float((rest_d * rest_y).sum()) / power
        spread = float(np.sqrt((rest_d**2 * (rest_y - effect[j] * rest_d) ** 2).sum())) / power
        low[j], high[j] = effect[j] - z * spread, effect[j] + z * spread
    return Adjusted(effect, low, high)


def _covariates(design: Design, counts: Counts) -> tuple[Array, Ints]:
    """Centred bins of all candidates, with their candidate number; scaled so that a penalty means the same."""
    centred = counts.held - counts.held.mean(axis=0)
    owner = np.repeat(np.arange(len(design.candidates)), np.diff(design.starts))
    spread = centred.std(axis=0)
    keep = spread > 1e-6
    return centred[:, keep] / np.sqrt(spread[keep]), owner[keep]


def _residual(target: Array, base: Array, free: Array, fold: Ints, n_folds: int) -> Array:
    """Out-of-fold residual of a ridge regression on base, with hardly any penalty on free."""
    x = np.concatenate([base, free], axis=1)
    predictions = np.zeros((len(PENALTIES), len(target)))
    for k in range(n_folds):
        train, test = fold != k, fold == k
        level, centre = target[train].mean(), x[train].mean(axis=0)
        inner, outer = x[train] - centre, x[test] - centre
        gram = inner.T @ inner
        right = inner.T @ (target[train] - level)
        unit = float(train.sum()) * 0.1
        for p, penalty in enumerate(PENALTIES):
            ridge = np.concatenate([np.full(base.shape[1], penalty * unit), np.full(free.shape[1], 1e-3 * unit)])
            solved = cho_solve(cho_factor(gram + np.diag(ridge)), right)
            predictions[p, test] = level + outer @ solved
    errors = ((target - predictions) ** 2).mean(axis=1)
    return np.asarray(target - predictions[int(errors.argmin())], dtype=np.float64)
