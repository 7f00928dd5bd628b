"""The pair of conditions that says more than either: searched over all candidates, not only confirmed traits.

A lift that exists only where two conditions meet leaves faint marks on each of them alone. So all pairs of
plain conditions are weighed at once; the best pair counts only when the best of all pairs on permuted
outcomes seldom does as well (Duivesteijn, W. and Knobbe, A. 2011, *ICDM*, 151-160), and when, on accounts
that did not find it, it beats each of its two halves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from icp_ml.insight.evidence import permuted
from icp_ml.insight.examine import Evidence
from icp_ml.insight.predicates import Predicate
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
        Whether each account meets both, shape (n,).
    apart
        The same by the pair found without the account's fold, shape (n,).
    stable
        Median Jaccard overlap of the pairs found on part of the accounts with the final one.
    p_value
        Share of permuted outcomes whose best pair does as well.
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

    ``held``: who meets them, shape (n, a). ``allowed``: which pairs may be formed, (a, a). ``price``: twice
    the log of the number of pairs that the same two candidates offer, less twice the log of what a pair of
    this size can show, 4 s (1 - s), (a, a). It is taken off z squared, so that every two candidates have the
    same chance to be the best pair by luck, however finely they are cut. ``alike``: conditions of the same
    candidate, (a,).
    """

    conditions: tuple[Condition, ...]
    held: Single
    allowed: Bools
    price: Single
    alike: Array

    def merit(self, z: Single) -> Single:
        """Squared z less the price of the search, for pairs that may be formed."""
        return np.asarray(np.where(z != 0.0, z**2 - self.price, -np.inf), dtype=np.float32)


def search_pair(evidence: Evidence, *, n_folds: int = 5, alpha: float = ALPHA, seed: int = 0) -> Pair | None:
    """Find the pair of conditions with the clearest effect, or None when it could be luck.

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
    residual = evidence.outcome.residual
    everyone = np.ones(len(residual), dtype=np.bool_)
    z = _z(atoms, residual, everyone)
    first, second = _top(atoms.merit(z))
    p_value = _luck(evidence, atoms, float(atoms.merit(z).max()), alpha, rng)
    if p_value > alpha:
        return None
    side = 1 if z[first, second] > 0 else -1
    for fixed, partner in ((first, second), (second, first)):
        if _partner_luck(evidence, atoms, fixed, partner, side, rng) > PARTNER:
            return None
    conditions = _refined(evidence, atoms, (first, second), everyone, side)
    folds = rng.permutation(len(residual)) % n_folds
    halves = np.zeros((len(residual), 2), dtype=np.bool_)
    final = np.asarray(_meets(evidence, conditions).all(axis=1))
    overlaps = []
    for k in range(n_folds):
        rows = folds != k
        best_there = _top(atoms.merit(np.maximum(_z(atoms, residual, rows) * side, 0.0)))
        found = _meets(evidence, _refined(evidence, atoms, best_there, rows, side))
        halves[~rows] = found[~rows]
        overlaps.append(jaccard(final, found.all(axis=1)))
    stable = float(np.median(overlaps))
    if stable < LEAST_STABILITY or not _earned(halves, evidence.outcome.rates * side):
        return None
    return Pair(side, conditions, final, np.asarray(halves.all(axis=1)), stable, p_value)


def _luck(evidence: Evidence, atoms: _Atoms, seen: float, alpha: float, rng: np.random.Generator) -> float:
    """Permutation p-value of the best pair; stops as soon as it can't be small any more."""
    count = MOST_PERMUTATIONS
    scale = _scale(atoms, evidence.outcome.residual, np.ones(len(atoms.held), dtype=np.bool_))
    hits, runs = 0, 0
    while runs < count and hits <= alpha * count:
        for column in permuted(evidence.outcome.residual, evidence.outcome.cohort, 20, rng).T:
            sums = atoms.held.T @ (atoms.held * column[:, None].astype(np.float32))
            hits += bool(atoms.merit(sums * scale).max() >= seen - 1e-4)
            runs += 1
    return (1.0 + hits) / (1.0 + runs)


def _partner_luck(
    evidence: Evidence, atoms: _Atoms, fixed: int, partner: int, side: int, rng: np.random.Generator
) -> float:
    """Return how often luck finds as good a second condition as ``partner`` among those that meet ``fixed``.

    Against permuted outcomes a pair with one strong half always looks good, whatever the other half is.
    """
    inside = np.flatnonzero(atoms.held[:, fixed] >= 0.5)
    residual = evidence.outcome.residual[inside] * side
    cohort = evidence.outcome.cohort[inside]
    held, n = atoms.held[inside], float(len(inside))
    count = held.sum(axis=0)
    share = count / n
    spread = np.sqrt(np.maximum((held**2).sum(axis=0) - count * share, 1e-6)) * float(residual.std())
    allowed = atoms.allowed[fixed] | atoms.allowed[:, fixed]
    usable = allowed & (count >= LEAST_ACCOUNTS) & (n - count >= LEAST_OUTSIDE)
    price = 2.0 * np.log(atoms.alike) - 2.0 * np.log(np.clip(4.0 * share * (1.0 - share), 1e-6, 1.0))

    def merit(outcomes: Array) -> Array:
        centred = (outcomes - outcomes.mean(axis=0)).astype(np.float32)
        z = np.maximum((held.T @ centred) / np.maximum(spread, 1e-9)[:, None], 0.0)
        return np.where(usable[:, None], z**2 - price[:, None], -np.inf)

    seen = float(merit(residual[:, None])[partner, 0])
    lucky = merit(permuted(residual, cohort, MOST_PERMUTATIONS, rng)).max(axis=0)
    return float((1.0 + (lucky >= seen - 1e-4).sum()) / (1.0 + MOST_PERMUTATIONS))


def _z(atoms: _Atoms, residual: Array, rows: Bools) -> Single:
    """Return the standardised effect of each pair among some accounts, shape (a, a); 0 where not allowed."""
    held = atoms.held[rows]
    centred = (residual[rows] - residual[rows].mean()).astype(np.float32)
    return np.asarray((held.T @ (held * centred[:, None])) * _scale(atoms, residual, rows))


def _top(merit: Single) -> tuple[int, int]:
    first, second = divmod(int(merit.argmax()), merit.shape[1])
    return first, second


def _scale(atoms: _Atoms, residual: Array, rows: Bools) -> Single:
    """One over the standard error of each pair's sum under permutation; 0 where a pair isn't allowed."""
    held = atoms.held[rows]
    n = float(rows.sum())
    both = held.T @ held
    squares = both if bool(((held == 0) | (held == 1)).all()) else (held**2).T @ (held**2)
    spread = np.sqrt(np.maximum(squares - both**2 / n, 1e-6)) * float(residual[rows].std())
    alone = np.diag(both)
    least = max(LEAST_ACCOUNTS, LEAST_SHARE * len(rows)) * n / len(rows)
    room = np.minimum(alone[:, None], alone[None, :]) - both >= LEAST_OUTSIDE * n / len(rows)
    usable = atoms.allowed & room & (both >= least) & (both <= MOST_SHARE * n)
    return np.asarray(np.where(usable, 1.0 / np.maximum(spread, 1e-9), 0.0), dtype=np.float32)


def _atoms(evidence: Evidence) -> _Atoms:
    """List plain conditions: tools and flags, single levels, and runs of coarse bins."""
    design, held = evidence.design, evidence.counts.held
    n = len(held)
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
    share = np.array([held[:, design.bins_of(c.candidate)][:, c.bins].sum() / n for c in conditions])
    order = np.flatnonzero((share * n >= LEAST_ACCOUNTS + LEAST_OUTSIDE) & (share <= 0.85))
    order = np.sort(order[np.argsort(np.abs(share[order] - 0.4), kind="stable")][:MOST_ATOMS])
    kept = tuple(conditions[i] for i in order)
    matrix = np.zeros((n, len(kept)), dtype=np.float32)
    for place, condition in enumerate(kept):
        matrix[:, place] = held[:, design.bins_of(condition.candidate)] @ condition.bins
    owner = np.array([c.candidate for c in kept], dtype=np.int64)
    allowed = np.triu(owner[:, None] != owner[None, :], 1)
    alike = np.bincount(owner, minlength=len(design.candidates))[owner].astype(np.float64)
    both = (matrix.T @ matrix) / n
    show = np.clip(4.0 * both * (1.0 - both), 1e-6, 1.0)
    price = 2.0 * np.log(alike[:, None] * alike[None, :]) - 2.0 * np.log(show)
    return _Atoms(kept, matrix, allowed, price.astype(np.float32), alike)


def _coarse_runs(n_bins: int) -> list[Bools]:
    coarse = min(n_bins, COARSE_BINS)
    place = np.arange(n_bins) * coarse // n_bins
    return [run[place] for run in intervals(coarse)] if coarse > 1 else []


def _meets(evidence: Evidence, conditions: tuple[Condition, Condition]) -> Bools:
    """Whether each account meets each of two conditions in at least half of its rows; shape (n, 2)."""
    held, design = evidence.counts.held, evidence.design
    met = [held[:, design.bins_of(c.candidate)] @ c.bins >= 0.5 for c in conditions]
    return np.asarray(np.stack(met, axis=1), dtype=np.bool_)


def _refined(
    evidence: Evidence, atoms: _Atoms, places: tuple[int, int], rows: Bools, side: int
) -> tuple[Condition, Condition]:
    """Cut each condition anew on the fine bins, among the accounts that meet the other one."""
    first, second = (atoms.conditions[place] for place in places)
    for _ in range(2):
        meets = _meets(evidence, (first, second))
        first = _recut(evidence, first, rows & meets[:, 1], side)
        meets = _meets(evidence, (first, second))
        second = _recut(evidence, second, rows & meets[:, 0], side)
    return first, second


def _recut(evidence: Evidence, condition: Condition, rows: Bools, side: int) -> Condition:
    candidate = evidence.design.candidates[condition.candidate]
    if candidate.search == "single" or rows.sum() < LEAST_ACCOUNTS + LEAST_OUTSIDE:
        return condition
    bins = evidence.counts.held[rows][:, evidence.design.bins_of(condition.candidate)]
    residual = evidence.outcome.residual[rows] - evidence.outcome.residual[rows].mean()
    known = bins.sum(axis=1, keepdims=True)
    centred = bins - known * (bins.sum(axis=0) / max(float(known.sum()), 1e-12))
    choosable = np.ones((1, candidate.n_bins))
    if candidate.search == "levels":
        choosable[0] = [label is not None for label in candidate.labels]
    search = "levels" if candidate.search == "levels" else "interval"
    block = Block(np.zeros(1, dtype=np.int64), np.arange(candidate.n_bins)[None], search, choosable)
    spread = float((residual**2).mean())
    known_side = Side((spread * centred.T @ centred)[None], bins.sum(axis=0)[None], float(rows.sum()))
    found = best(block, (centred.T @ residual)[None, :, None], known_side, side)[0]
    if found.direction != side or not (found.bins & condition.bins).any():
        return condition
    return Condition(condition.candidate, found.bins)


def _earned(halves: Bools, outcome: Array) -> bool:
    """Whether accounts that meet both fare better than those that meet only one, for each of the two."""
    both = halves.all(axis=1)
    for only in (halves[:, 0] & ~halves[:, 1], halves[:, 1] & ~halves[:, 0]):
        if both.sum() < LEAST_ACCOUNTS or only.sum() < LEAST_OUTSIDE / 2:
            return False
        spread = max(float(outcome.var()), 1e-12) * (1.0 / float(both.sum()) + 1.0 / float(only.sum()))
        if float(outcome[both].mean() - outcome[only].mean()) < EARNED * np.sqrt(spread):
            return False
    return True
