"""The pair of conditions that says more than either: searched over all candidates, not only confirmed traits.

A lift that exists only where two conditions meet leaves faint marks on each of them alone. So all pairs of
plain conditions are weighed at once; the best pair counts only when the best of all pairs on exchanged
outcomes seldom does as well (Duivesteijn, W. and Knobbe, A. 2011, *ICDM*, 151-160), and when, on accounts
that did not find it, it beats each of its two halves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from icp_ml.insight.examine import Evidence
from icp_ml.insight.predicates import Predicate
from icp_ml.insight.riskset import Outcome
from icp_ml.insight.search import Block, Side, best, intervals
from icp_ml.statistics import jaccard

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Rarer outcomes needed before pairs are searched: with fewer only lifts far beyond any real one show.
LEAST_EVENTS = 60
#: Chance of a pair where there is none, over both sides of one target.
ALPHA = 0.085
MOST_PERMUTATIONS = 200
#: Chance of a second condition that says nothing beside a first one that does.
PARTNER = 0.05
#: Fewest accounts in a pair, and in each half outside of it.
LEAST_ACCOUNTS = 30
LEAST_OUTSIDE = 20
LEAST_SHARE = 0.04
MOST_SHARE = 0.7
COARSE_BINS = 6
MOST_ATOMS = 700
#: One-sided normal quantile by which a pair must beat each half on accounts that didn't find it.
EARNED = 2.0
#: Least median overlap of the pairs found on part of the accounts with the one found on all.
LEAST_STABILITY = 0.5


class Condition(NamedTuple):
    """A candidate's number and which of its bins are meant."""

    candidate: int
    bins: Bools


@dataclass(frozen=True, slots=True)
class Pair:
    """A proven pair.

    Parameters
    ----------
    side
        +1 where its accounts have the outcome more often.
    conditions
        Its two conditions, found on all accounts.
    final
        Whether each row meets both, shape (rows,).
    apart
        The same by the pair found without its account's fold, shape (rows,).
    stable
        Median Jaccard overlap of the pairs found on part of the accounts with the final one.
    p_value
        Share of exchanged outcomes whose best pair does as well.
    """

    side: int
    conditions: tuple[Condition, Condition]
    final: Bools
    apart: Bools
    stable: float
    p_value: float

    def predicates(self, evidence: Evidence) -> list[Predicate]:
        """Return both conditions in words' form."""
        return [evidence.design.candidates[c.candidate].predicate(c.bins) for c in self.conditions]


@dataclass(frozen=True, slots=True)
class _Atoms:
    """Plain conditions.

    ``held``: which units meet them, shape (N, a). ``both``: how many meet each pair, (a, a). ``allowed``:
    which pairs may be formed, (a, a). ``price``: twice the log of the number of pairs that the same two
    candidates offer, less twice the log of what a pair of this size can show, 4 s (1 - s), (a, a). It is
    taken off z squared, so that every two candidates are as likely to be the best pair by chance, however
    finely they are cut. ``alike``: conditions of the same candidate, (a,).
    """

    conditions: tuple[Condition, ...]
    held: Single
    both: Single
    allowed: Bools
    price: Single
    alike: Array

    def merit(self, z: Single) -> Single:
        """Squared z less the price of the search, for pairs that may be formed."""
        return np.asarray(np.where(z != 0.0, z**2 - self.price, -np.inf), dtype=np.float32)


def search_pair(evidence: Evidence, *, n_folds: int = 5, alpha: float = ALPHA, seed: int = 0) -> Pair | None:
    """Find the pair of conditions with the clearest effect, or None when it may be chance.

    Parameters
    ----------
    evidence
        What was measured about one target.
    n_folds
        Folds of accounts that judge pairs found without them.
    alpha
        Chance of reporting a pair where no feature has any effect.
    seed
        Seeds folds and permutations.
    """
    if evidence.outcome.events < LEAST_EVENTS:
        return None
    atoms = _atoms(evidence)
    if len(atoms.conditions) < 2:
        return None
    rng = np.random.default_rng([seed, 13])
    outcome = evidence.outcome
    risk = _Risk.of(atoms, outcome, rng.permutation(outcome.n_accounts) % n_folds)
    z = risk.z(atoms, None)
    first, second = _top(atoms.merit(z))
    p_value = _by_chance(atoms, risk, float(atoms.merit(z).max()), alpha, rng)
    if p_value > alpha:
        return None
    side = 1 if z[first, second] > 0 else -1
    for fixed, partner in ((first, second), (second, first)):
        if _partner_by_chance(atoms, risk, fixed, partner, side, rng) > PARTNER:
            return None
    everyone = np.ones(len(outcome.y), dtype=np.bool_)
    conditions = _refined(evidence, atoms, (first, second), everyone, side)
    halves = np.zeros((len(outcome.y), 2), dtype=np.bool_)
    final = np.asarray(_meets(evidence, conditions).all(axis=1))
    overlaps = []
    for k in range(n_folds):
        rows = risk.folds[outcome.account] != k
        best_there = _top(atoms.merit(np.maximum(risk.z(atoms, k) * side, 0.0)))
        found = _meets(evidence, _refined(evidence, atoms, best_there, rows, side))
        halves[~rows] = found[~rows]
        overlaps.append(jaccard(final, found.all(axis=1)))
    stable = float(np.median(overlaps))
    if stable < LEAST_STABILITY or not _earned(halves, evidence, side):
        return None
    return Pair(side, conditions, final, np.asarray(halves.all(axis=1)), stable, p_value)


@dataclass(frozen=True, slots=True)
class _Risk:
    """Events of units, what each pair would have if every unit had the mean of its risk set, and its error.

    ``folds``: of each account. ``usual``: the sums expected of each pair, fold by fold, (folds, a, a).
    ``scale``: one over the standard error of each pair's sum; 0 where a pair isn't allowed, (a, a).
    """

    outcome: Outcome
    folds: Ints
    usual: Single
    scale: Single

    @classmethod
    def of(cls, atoms: _Atoms, outcome: Outcome, folds: Ints) -> _Risk:
        level = (outcome.event - outcome.residual).astype(np.float32)
        fold = folds[outcome.owner]
        usual = np.stack([_products(atoms.held, level, fold == k) for k in range(int(folds.max()) + 1)])
        weight = (outcome.clustering * outcome.spread)[outcome.stratum].astype(np.float32)
        squares = _products(atoms.held, weight, np.ones(len(weight), dtype=np.bool_))
        spread = np.sqrt(np.maximum(squares - squares * atoms.both / outcome.n_units, 1e-9))
        alone = np.diag(atoms.both)
        # accounts are asked for, units are counted
        each = outcome.n_units / outcome.n_accounts
        room = np.minimum(alone[:, None], alone[None, :]) - atoms.both >= LEAST_OUTSIDE * each
        least = max(LEAST_ACCOUNTS, LEAST_SHARE * outcome.n_accounts) * each
        usable = atoms.allowed & room & (atoms.both >= least) & (atoms.both <= MOST_SHARE * outcome.n_units)
        scale = np.where(usable, 1.0 / np.maximum(spread, 1e-9), 0.0)
        return cls(outcome, folds, usual, np.asarray(scale, dtype=np.float32))

    def z(self, atoms: _Atoms, without: int | None) -> Single:
        """Return the standardised effect of each pair, on all accounts or without a fold; shape (a, a)."""
        if without is None:
            inside, usual, part = np.ones(self.outcome.n_units, dtype=np.bool_), self.usual.sum(axis=0), 1.0
        else:
            inside = self.folds[self.outcome.owner] != without
            usual = np.delete(self.usual, without, axis=0).sum(axis=0)
            part = float(inside.mean())
        sums = _products(atoms.held, self.outcome.event, inside & (self.outcome.event != 0.0)) - usual
        return np.asarray(sums * self.scale / np.float32(np.sqrt(part)))

    def exchanged(self, rng: np.random.Generator) -> Array:
        """Return events handed to others of the same risk set, shape (N,)."""
        place = np.argsort(self.outcome.stratum, kind="stable")
        out = np.empty(self.outcome.n_units)
        out[place] = self.outcome.event[np.argsort(rng.random(len(out)) + self.outcome.stratum)]
        return out


def _products(held: Single, weight: Array | Single, units: Bools) -> Single:
    """Sum weights over the units that meet both conditions, for all pairs; shape (a, a)."""
    some = held[units]
    return np.asarray(some.T @ (some * weight[units, None].astype(np.float32)), dtype=np.float32)


def _by_chance(atoms: _Atoms, risk: _Risk, seen: float, alpha: float, rng: np.random.Generator) -> float:
    """p-value of the best pair among exchanged events; stops as soon as it can't be small any more."""
    count, usual = MOST_PERMUTATIONS, risk.usual.sum(axis=0)
    scale = risk.scale * np.float32(np.sqrt(risk.outcome.clustering))
    hits, runs = 0, 0
    while runs < count and hits <= alpha * count:
        event = risk.exchanged(rng)
        sums = _products(atoms.held, event, event != 0.0) - usual
        hits += bool(atoms.merit(sums * scale).max() >= seen - 1e-4)
        runs += 1
    return (1.0 + hits) / (1.0 + runs)


def _partner_by_chance(
    atoms: _Atoms, risk: _Risk, fixed: int, partner: int, side: int, rng: np.random.Generator
) -> float:
    """Return how often chance finds as good a second condition as ``partner`` where ``fixed`` holds.

    Against exchanged events a pair with one strong half always looks good, whatever the other half is.
    """
    outcome = risk.outcome
    inside = np.flatnonzero(atoms.held[:, fixed] >= 0.5)
    each = outcome.n_units / outcome.n_accounts
    held, n = atoms.held[inside], float(len(inside))
    stratum = np.unique(outcome.stratum[inside], return_inverse=True)[1]
    size = np.bincount(stratum)

    def centred(values: Array) -> Single:
        usual = np.bincount(stratum, weights=values) / size
        return np.asarray(side * (values - usual[stratum]), dtype=np.float32)

    residual = centred(outcome.event[inside])
    count = held.sum(axis=0)
    share = count / n
    spread = np.sqrt(np.maximum((held**2).sum(axis=0) - count * share, 1e-6)) * float(residual.std())
    allowed = atoms.allowed[fixed] | atoms.allowed[:, fixed]
    usable = allowed & (count >= LEAST_ACCOUNTS * each) & (n - count >= LEAST_OUTSIDE * each)
    price = 2.0 * np.log(atoms.alike) - 2.0 * np.log(np.clip(4.0 * share * (1.0 - share), 1e-6, 1.0))

    def merit(outcomes: Single) -> Array:
        z = np.maximum((held.T @ outcomes) / np.maximum(spread, 1e-9)[:, None], 0.0)
        return np.where(usable[:, None], z**2 - price[:, None], -np.inf)

    seen = float(merit(residual[:, None])[partner, 0])
    place, wide = np.argsort(stratum, kind="stable"), np.float32(np.sqrt(outcome.clustering))
    drawn = np.empty((len(inside), MOST_PERMUTATIONS), dtype=np.float32)
    for run in range(MOST_PERMUTATIONS):
        drawn[place, run] = wide * residual[np.argsort(rng.random(len(inside)) + stratum)]
    found = merit(drawn).max(axis=0)
    return float((1.0 + (found >= seen - 1e-4).sum()) / (1.0 + MOST_PERMUTATIONS))


def _top(merit: Single) -> tuple[int, int]:
    first, second = divmod(int(merit.argmax()), merit.shape[1])
    return first, second


def _atoms(evidence: Evidence) -> _Atoms:
    """List plain conditions: tools and flags, single levels, and runs of coarse bins."""
    design, outcome = evidence.design, evidence.outcome
    held, n = evidence.counts.held, outcome.n_accounts
    rows = len(outcome.y)
    conditions: list[Condition] = []
    for j, candidate in enumerate(design.candidates):
        if candidate.family == "missing":
            continue
        if candidate.search == "single":
            conditions.append(Condition(j, np.ones(1, dtype=np.bool_)))
        elif candidate.search == "levels":
            for level, label in enumerate(candidate.labels):
                if label is not None:
                    conditions.append(Condition(j, np.arange(candidate.n_bins) == level))
        else:
            conditions += [Condition(j, bins) for bins in _coarse_runs(candidate.n_bins)]
    share = np.array([held[:, design.bins_of(c.candidate)][:, c.bins].sum() / rows for c in conditions])
    order = np.flatnonzero((share * n >= LEAST_ACCOUNTS + LEAST_OUTSIDE) & (share <= 0.85))
    order = np.sort(order[np.argsort(np.abs(share[order] - 0.4), kind="stable")][:MOST_ATOMS])
    kept = tuple(conditions[i] for i in order)
    matrix = np.zeros((outcome.n_units, len(kept)), dtype=np.float32)
    per_unit = np.bincount(outcome.unit)
    for place, condition in enumerate(kept):
        met = design.dense(condition.candidate) @ condition.bins
        matrix[:, place] = np.bincount(outcome.unit, weights=met) / per_unit
    owner = np.array([c.candidate for c in kept], dtype=np.int64)
    allowed = np.triu(owner[:, None] != owner[None, :], 1)
    alike = np.bincount(owner, minlength=len(design.candidates))[owner].astype(np.float64)
    both = matrix.T @ matrix
    overlap = both / outcome.n_units
    show = np.clip(4.0 * overlap * (1.0 - overlap), 1e-6, 1.0)
    price = 2.0 * np.log(alike[:, None] * alike[None, :]) - 2.0 * np.log(show)
    return _Atoms(kept, matrix, both, allowed, price.astype(np.float32), alike)


def _coarse_runs(n_bins: int) -> list[Bools]:
    coarse = min(n_bins, COARSE_BINS)
    place = np.arange(n_bins) * coarse // n_bins
    return [run[place] for run in intervals(coarse)] if coarse > 1 else []


def _meets(evidence: Evidence, conditions: tuple[Condition, Condition]) -> Bools:
    """Whether each row meets each of two conditions; shape (rows, 2)."""
    met = [evidence.design.dense(c.candidate) @ c.bins == 1.0 for c in conditions]
    return np.asarray(np.stack(met, axis=1), dtype=np.bool_)


def _refined(
    evidence: Evidence, atoms: _Atoms, places: tuple[int, int], rows: Bools, side: int
) -> tuple[Condition, Condition]:
    """Cut each condition anew on the fine bins, among the rows that meet the other one."""
    first, second = (atoms.conditions[place] for place in places)
    for _ in range(2):
        meets = _meets(evidence, (first, second))
        first = _recut(evidence, first, rows & meets[:, 1], side)
        meets = _meets(evidence, (first, second))
        second = _recut(evidence, second, rows & meets[:, 0], side)
    return first, second


def _recut(evidence: Evidence, condition: Condition, rows: Bools, side: int) -> Condition:
    candidate, outcome = evidence.design.candidates[condition.candidate], evidence.outcome
    accounts = len(np.unique(outcome.account[rows]))
    if candidate.search == "single" or accounts < LEAST_ACCOUNTS + LEAST_OUTSIDE:
        return condition
    bins = evidence.design.dense(condition.candidate)[rows]
    residual = outcome.surprise[rows] - outcome.surprise[rows].mean()
    known = bins.sum(axis=1, keepdims=True)
    centred = bins - known * (bins.sum(axis=0) / max(float(known.sum()), 1e-12))
    choosable = np.ones((1, candidate.n_bins))
    if candidate.search == "levels":
        choosable[0] = [label is not None for label in candidate.labels]
    search = "levels" if candidate.search == "levels" else "interval"
    block = Block(np.zeros(1, dtype=np.int64), np.arange(candidate.n_bins)[None], search, choosable)
    # rows of one account are worth what the account is
    worth = accounts / len(bins)
    spread = float((residual**2).mean())
    known_side = Side(
        (worth * spread * centred.T @ centred)[None], worth * bins.sum(axis=0)[None], float(accounts)
    )
    found = best(block, (worth * centred.T @ residual)[None, :, None], known_side, side)[0]
    if found.direction != side or not (found.bins & condition.bins).any():
        return condition
    return Condition(condition.candidate, found.bins)


def _earned(halves: Bools, evidence: Evidence, side: int) -> bool:
    """Whether rows that meet both fare better than those that meet only one, for each of the two."""
    outcome = evidence.outcome
    values, both = outcome.surprise * side, halves.all(axis=1)
    for only in (halves[:, 0] & ~halves[:, 1], halves[:, 1] & ~halves[:, 0]):
        counts = [len(np.unique(outcome.account[group])) for group in (both, only)]
        if counts[0] < LEAST_ACCOUNTS or counts[1] < LEAST_OUTSIDE / 2:
            return False
        spread = evidence.base_rate * (1.0 - evidence.base_rate) * (1.0 / counts[0] + 1.0 / counts[1])
        if float(values[both].mean() - values[only].mean()) < EARNED * np.sqrt(spread):
            return False
    return True
