"""The same trait at equal everything else: holders against accounts that are otherwise alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtri

from icp_ml.insight.candidates import Design
from icp_ml.insight.evidence import CrossFit
from icp_ml.insight.lifts import Lifts, held_out_rows
from icp_ml.insight.riskset import Outcome

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Features with at most this p-value count as "everything else"; the rest can't explain anything away.
COVARIATE_P = 0.02
#: Accounts per covariate column.
PER_COLUMN = 8
#: Share of what shrinking took off the raw lift as sampling noise that is taken off here too.
NOISE_SHARED = 0.75
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
    fit: CrossFit,
    raw: Lifts,
    confirmed: Ints,
    *,
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.90,
) -> Adjusted:
    """Compare rows with a trait with rows of the same risk set that are alike otherwise.

    Outcome and membership are both predicted, out of fold, from all bins of every *other* feature with
    evidence (p <= 0.02, strongest first, as many as the accounts carry) and whether it is known; the effect
    is the regression of what is left of the one on what is left of the other.

    Parameters
    ----------
    design, outcome, fit
        Bins, outcome and search of the same rows.
    raw
        Lifts before adjusting; what was sampling noise in them is sampling noise here.
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
    additive regressions on bins; errors are clustered by account.
    """
    m = len(design.candidates)
    effect, low, high = (np.full(m, np.nan) for _ in range(3))
    if not len(confirmed):
        return Adjusted(effect, low, high)
    fold = (np.random.default_rng([seed, 7]).permutation(outcome.n_accounts) % n_folds)[outcome.account]
    rest = _Covariates.of(design, outcome, fit.p_values, fold, n_folds)
    z = float(ndtri(0.5 + level / 2))
    for j in confirmed.tolist():
        held = held_out_rows(design, fit, outcome, j)
        rows = np.flatnonzero(~np.isnan(held))
        whole = len(rows) == len(held)
        inside = within_risk_set(np.nan_to_num(held), outcome, rows)
        chosen = rest.beside(design, j)
        gram = rest.gram if whole else _fold_grams(rest.x[rows], fold[rows], n_folds)
        x = rest.x if whole else rest.x[rows]
        rest_y = _residual(outcome.surprise[rows], x, gram, chosen, fold[rows], n_folds)
        rest_d = _residual(inside, x, gram, chosen, fold[rows], n_folds)
        if float((rest_d**2).sum()) <= 1e-9:
            continue
        slope, spread = _slope(rest_y, rest_d, outcome.account[rows])
        share = min(float(held[rows].mean()), 0.95)
        effect[j] = slope + NOISE_SHARED * float(raw.mean[j] - raw.raw[j]) / (1.0 - share)
        low[j], high[j] = effect[j] - z * spread, effect[j] + z * spread
    return Adjusted(effect, low, high)


@dataclass(frozen=True, slots=True)
class Beside:
    """One trait beside one other: its effect among rows alike in the other, its error, and alone."""

    effect: float
    error: float
    alone: float

    def toward(self, direction: int) -> Beside:
        """Return the same with effects counted in a direction."""
        return Beside(direction * self.effect, self.error, direction * self.alone)


def beside(
    design: Design, outcome: Outcome, held: Array, j: int, i: int, *, n_folds: int = 5
) -> Beside | None:
    """Compare holders of ``j`` with rows alike in ``i``, among rows that know both; None without any.

    Parameters
    ----------
    design, outcome
        Bins and outcome of the same rows.
    held
        Held-out membership of each row in ``j``, NaN = unknown.
    j, i
        Candidate numbers: the trait in question, and the one held equal.
    n_folds
        Folds of accounts.
    """
    rows = np.flatnonzero(~np.isnan(held) & (design.known[:, i] > 0))
    account = outcome.account[rows]
    n = outcome.n_accounts
    fold = (np.random.default_rng([n, 7]).permutation(n) % n_folds)[account]
    inside, gain = within_risk_set(np.nan_to_num(held), outcome, rows), outcome.surprise[rows]
    x = design.dense(i)[rows]
    x = x - x.mean(axis=0)
    x = x[:, x.std(axis=0) > 1e-6]
    gram, every = _fold_grams(x, fold, n_folds), np.arange(x.shape[1])
    rest_y = _residual(gain, x, gram, every, fold, n_folds)
    rest_d = _residual(inside, x, gram, every, fold, n_folds)
    plain = float((inside**2).sum())
    if float((rest_d**2).sum()) <= 1e-9 or plain <= 1e-9:
        return None
    slope, error = _slope(rest_y, rest_d, account)
    return Beside(slope, error, float((inside * gain).sum()) / plain)


def within_risk_set(values: Array, outcome: Outcome, rows: Ints) -> Array:
    """Return values of some rows less their mean in the risk set; shape (len(rows),)."""
    stratum = outcome.stratum[outcome.unit[rows]]
    size = np.maximum(np.bincount(stratum), 1)
    return np.asarray(values[rows] - (np.bincount(stratum, weights=values[rows]) / size)[stratum])


@dataclass(frozen=True, slots=True)
class _Covariates:
    """Centred bins of all features with evidence, strongest first, and their products per fold.

    ``owner`` names the candidate of each column; ``room`` is the number of columns that the accounts carry.
    """

    x: Array
    owner: Ints
    gram: Array
    room: int

    @classmethod
    def of(cls, design: Design, outcome: Outcome, p_values: Array, fold: Ints, n_folds: int) -> _Covariates:
        room = outcome.n_accounts // PER_COLUMN
        columns: list[Array] = []
        owner: list[int] = []
        taken: set[str] = set()
        for i in np.argsort(p_values, kind="stable").tolist():
            # as many again are kept ready, for the traits that leave out their own
            if p_values[i] > COVARIATE_P or len(columns) > 2 * room:
                break
            bins = design.dense(i)
            columns += list(bins.T)
            owner += [i] * bins.shape[1]
            feature = design.candidates[i].feature
            if feature not in taken and not design.known[:, i].all():
                columns.append(design.known[:, i].astype(np.float64))
                owner.append(i)
            taken.add(feature)
        x = np.stack(columns, axis=1) if columns else np.zeros((len(outcome.y), 0))
        x = x - x.mean(axis=0)
        uneven = x.std(axis=0) > 1e-6
        x = np.ascontiguousarray(x[:, uneven])
        return cls(x, np.asarray(owner, dtype=np.int64)[uneven], _fold_grams(x, fold, n_folds), room)

    def beside(self, design: Design, j: int) -> Ints:
        """Return the columns that candidate ``j`` is compared beside, strongest first."""
        own = design.candidates[j]
        chosen: list[int] = []
        for i in dict.fromkeys(self.owner.tolist()):
            other = design.candidates[i]
            if other.feature == own.feature and (own.family != "technologies" or i == j):
                continue
            found = np.flatnonzero(self.owner == i).tolist()
            if len(found) + len(chosen) > self.room:
                break
            chosen += found
        return np.asarray(chosen, dtype=np.int64)


def _fold_grams(x: Array, fold: Ints, n_folds: int) -> Array:
    """Products of columns within each fold, with their sums in the last row; shape (folds, k + 1, k)."""
    out = np.zeros((n_folds, x.shape[1] + 1, x.shape[1]))
    for k in range(n_folds):
        part = x[fold == k]
        out[k, :-1], out[k, -1] = part.T @ part, part.sum(axis=0)
    return out


def _slope(rest_y: Array, rest_d: Array, account: Ints) -> tuple[float, float]:
    """Return the regression of one residual on the other, and its error clustered by account."""
    power = float((rest_d**2).sum())
    slope = float((rest_d * rest_y).sum()) / power
    together = np.bincount(account, weights=rest_d * (rest_y - slope * rest_d))
    return slope, float(np.sqrt((together**2).sum())) / power


def _residual(target: Array, x: Array, grams: Array, chosen: Ints, fold: Ints, n_folds: int) -> Array:
    """Out-of-fold residual of a regression on some columns; the tiny penalty only makes it solvable."""
    out = np.empty(len(target))
    total = grams.sum(axis=0)
    for k in range(n_folds):
        train, test = fold != k, fold == k
        level = float(target[train].mean())
        out[test] = target[test] - level
        if len(chosen):
            count = float(train.sum())
            rest = total - grams[k]
            centre = rest[-1, chosen] / count
            gram = rest[:-1][np.ix_(chosen, chosen)] - count * np.outer(centre, centre)
            gram += RIDGE * count * np.eye(len(chosen))
            product = x[train].T @ (target[train] - level)
            out[test] -= (x[test][:, chosen] - centre) @ cho_solve(cho_factor(gram), product[chosen])
    return out
