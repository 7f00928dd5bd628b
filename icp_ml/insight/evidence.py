"""The two tests behind every trait: against permuted outcomes, and on accounts that did not help to find it.

For each candidate the evidence of all its conditions (intervals, groups of levels, one flag) is averaged, and
the same search is run on outcomes permuted between accounts of the same entry cohort, so that the p-value
pays for the search, for mixed column types, for missing values and for several snapshots of one account.
Apart from that, conditions are weighed on K-1 folds of accounts and the weighted condition is tested on the
fold left out, pooled over folds and repeats. A trait must pass both (decision 009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icp_ml.insight.candidates import Design
from icp_ml.insight.search import Block, Found, Side, best, blocks, scores, weight_of_evidence

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
CHUNK = 200
SCREEN = 200
SCREEN_P = 0.15
SECOND_SCREEN = 2000
SECOND_P = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """One target, per account.

    Parameters
    ----------
    account
        Account number of each row with a known outcome, 0..n-1.
    y
        Outcome of each of these rows, 0.0 or 1.0.
    residual
        Sum over the account's rows of outcome minus the mean outcome of that snapshot date, centred within
        the entry cohort, shape (n,).
    cohort
        Permutation stratum of each account: when it was first seen, shape (n,).
    """

    account: Ints
    y: Array
    residual: Array
    cohort: Ints

    @property
    def n_accounts(self) -> int:
        """Number of accounts."""
        return len(self.residual)

    @property
    def weights(self) -> Array:
        """Row weights that give each account a total weight of one."""
        return np.asarray(1.0 / np.bincount(self.account, minlength=self.n_accounts)[self.account])

    @property
    def rates(self) -> Array:
        """Outcome share of each account over its rows, shape (n,)."""
        total = np.bincount(self.account, weights=self.y * self.weights, minlength=self.n_accounts)
        return np.asarray(total, dtype=np.float64)

    @property
    def events(self) -> int:
        """Number of accounts that ever had the rarer outcome."""
        rates = self.rates
        return int(min((rates < 1.0).sum(), (rates > 0.0).sum()))


def build_outcome(account: Ints, y: Array, date: Ints, *, least: int = 20) -> Outcome:
    """Centre an outcome by snapshot date, sum it per account and centre it by entry cohort.

    Parameters
    ----------
    account
        Account number per row, 0..n-1.
    y
        Outcome per row.
    date
        Number of the snapshot date per row, in time order; all 0 without dates.
    least
        Smallest entry cohort; smaller ones are joined with their neighbours.
    """
    counts = np.maximum(np.bincount(date), 1)
    means = np.bincount(date, weights=y) / counts
    n = int(account.max()) + 1
    residual = np.bincount(account, weights=y - means[date], minlength=n)
    first = np.full(n, len(counts), dtype=np.int64)
    np.minimum.at(first, account, date)
    sizes = np.bincount(first, minlength=len(counts))
    joined, current, held = np.zeros(len(sizes), dtype=np.int64), 0, 0
    for number, size in enumerate(sizes):
        if held >= least and int(sizes[number:].sum()) >= least:
            current, held = current + 1, 0
        joined[number] = current
        held += int(size)
    cohort = joined[first]
    level = np.bincount(cohort, weights=residual) / np.maximum(np.bincount(cohort), 1)
    return Outcome(account, y, residual - level[cohort], cohort)


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Result of the cross-fitted search over all candidates.

    Parameters
    ----------
    statistic
        Weight of evidence of each candidate over all its conditions, shape (m,).
    p_values
        Its permutation p-value, shape (m,).
    held_out
        Standardised effect, on accounts left out, of what the others found, shape (m,); near normal with
        mean 0 or less and standard deviation of at most 1 where there is none.
    found
        For each candidate the best condition of each search, repeat by repeat and fold by fold (R * K of
        them).
    folds
        Fold of each account in each repeat, shape (R, n).
    final
        The best condition on all accounts, for the report; it proves nothing.
    """

    statistic: Array
    p_values: Array
    held_out: Array
    found: tuple[tuple[Found, ...], ...]
    folds: Ints
    final: tuple[Found, ...]


def permuted(residual: Array, cohort: Ints, count: int, rng: np.random.Generator) -> Array:
    """Permute residuals between accounts of the same entry cohort; shape (n, count)."""
    place = np.argsort(cohort, kind="stable")
    keys = rng.random((len(residual), count)) + cohort[:, None]
    out = np.empty((len(residual), count))
    out[place] = residual[np.argsort(keys, axis=0, kind="stable")]
    return out


def centred_bins(design: Design, outcome: Outcome) -> tuple[Array, Array]:
    """Share of each account's rows in each bin, shape (n, bins): centred, and as it is.

    A bin is compared with the *known* rest of its feature, so that what is unknown counts on neither side.
    """
    n = outcome.n_accounts
    soft = design.per_account(outcome.account, n, outcome.weights)
    known = design.known_per_account(outcome.account, n, outcome.weights)
    owner = np.repeat(np.arange(len(design.candidates)), np.diff(design.starts))
    share = soft.sum(axis=0) / np.maximum(known.sum(axis=0), 1e-12)[owner]
    centred = soft - known[:, owner] * share
    for cohort in range(int(outcome.cohort.max()) + 1):
        rows = outcome.cohort == cohort
        centred[rows] -= centred[rows].mean(axis=0)
    return centred, soft


def crossfit(
    design: Design,
    outcome: Outcome,
    *,
    n_folds: int = 5,
    n_repeats: int = 4,
    n_permutations: int = 6000,
    seed: int = 0,
    good: int = 1,
) -> CrossFit:
    """Search and test every candidate, on the outcome and on permuted outcomes.

    Candidates that 200, and again 2,000 permutations show to be unremarkable aren't run through the rest
    (Besag and Clifford 1991, *Biometrika* 78, 301-304: sequential Monte Carlo p-values).

    Parameters
    ----------
    design, outcome
        Bins and outcome of the same rows.
    n_folds, n_repeats
        K and R of the cross-fitting.
    n_permutations
        B.
    seed
        Seeds folds and permutations.
    good
        +1 when outcome 1 is the good one, else -1; decides how a condition is said, not how it is tested.
    """
    rng = np.random.default_rng(seed)
    n, m = outcome.n_accounts, len(design.candidates)
    folds = np.stack([rng.permutation(n) % n_folds for _ in range(n_repeats)])
    engine = _Engine.build(design, outcome, folds, n_folds)
    everyone = np.arange(m)
    statistic = engine.weight(everyone, outcome.residual[:, None])[:, 0]
    first = engine.weight(
        everyone, permuted(outcome.residual, outcome.cohort, min(SCREEN, n_permutations), rng)
    )
    slack = statistic - 1e-9 * (1.0 + np.abs(statistic))
    hits, runs = (first >= slack[:, None]).sum(axis=1), np.full(m, first.shape[1])
    going = np.flatnonzero((1.0 + hits) / (1.0 + runs) <= SCREEN_P)
    for start in range(SCREEN, n_permutations, CHUNK):
        if start >= SECOND_SCREEN:
            going = going[(1.0 + hits[going]) / (1.0 + runs[going]) <= SECOND_P]
        if not len(going):
            break
        count = min(CHUNK, n_permutations - start)
        more = engine.weight(going, permuted(outcome.residual, outcome.cohort, count, rng))
        hits[going] += (more >= slack[going, None]).sum(axis=1)
        runs[going] += more.shape[1]
    p_values = (1.0 + hits) / (1.0 + runs)
    residual = outcome.residual
    return CrossFit(
        statistic,
        p_values,
        engine.held_out(residual),
        engine.found(residual, good),
        folds,
        engine.final(residual, good),
    )


@dataclass(frozen=True, slots=True)
class _Split:
    """Some accounts (a fold left out, or all): which, their centred bins, and a side of each block."""

    inside: Bools
    bins: Array
    test: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class _Engine:
    """Everything that doesn't depend on the outcome's permutation."""

    design: Design
    blocks: tuple[Block, ...]
    everyone: _Split
    repeats: tuple[tuple[_Split, ...], ...]

    @classmethod
    def build(cls, design: Design, outcome: Outcome, folds: Ints, n_folds: int) -> _Engine:
        centred, soft = centred_bins(design, outcome)
        squares = np.bincount(outcome.cohort, weights=outcome.residual**2) / np.bincount(outcome.cohort)
        spread = np.sqrt(squares)[outcome.cohort]
        groups = tuple(blocks(design, np.arange(len(design.candidates))))
        repeats = tuple(
            tuple(_split(centred, soft, spread, fold == k, groups) for k in range(n_folds)) for fold in folds
        )
        everyone = _split(centred, soft, spread, np.ones(len(centred), dtype=np.bool_), groups)
        return cls(design, groups, everyone, repeats)

    def weight(self, members: Ints, effects: Array) -> Array:
        """Weigh the evidence for some candidates; shape (len(members), P), P columns of effects."""
        place = np.full(len(self.design.candidates), -1, dtype=np.int64)
        place[members] = np.arange(len(members))
        every = np.arange(self.design.n_bins)
        # Where all accounts are alike there is no candidate.
        needed = np.concatenate([every[:0], *(every[self.design.bins_of(j)] for j in members.tolist())])
        at = np.full(self.design.n_bins, -1, dtype=np.int64)
        at[needed] = np.arange(len(needed))
        sums = self.everyone.bins[:, needed].T @ effects
        out = np.zeros((len(members), effects.shape[1]))
        for block, side in zip(self.blocks, self.everyone.test, strict=True):
            rows = np.flatnonzero(place[block.members] >= 0)
            if len(rows):
                some = _some(block, rows, at)
                out[place[some.members]] = weight_of_evidence(some, sums[some.columns], _take(side, rows))
        return out

    def held_out(self, residual: Array) -> Array:
        """Test, fold by fold, what the other folds found; pooled, shape (m,)."""
        total = np.zeros(len(self.design.candidates))
        for splits in self.repeats:
            parts = [split.bins.T @ residual[split.inside, None] for split in splits]
            for b, block in enumerate(self.blocks):
                whole = _united([split.test[b] for split in splits])
                total[block.members] += _pooled(block, splits, parts, whole, b)[:, 0]
        return total / len(self.repeats)

    def found(self, residual: Array, good: int) -> tuple[tuple[Found, ...], ...]:
        """Best condition of every candidate in every search."""
        out: list[list[Found]] = [[] for _ in self.design.candidates]
        for splits in self.repeats:
            parts = [split.bins.T @ residual[split.inside, None] for split in splits]
            total = np.sum(parts, axis=0)
            whole = [_united([split.test[b] for split in splits]) for b in range(len(self.blocks))]
            for split, part in zip(splits, parts, strict=True):
                for b, block in enumerate(self.blocks):
                    side = whole[b].minus(split.test[b])
                    for member, pick in zip(
                        block.members, best(block, (total - part)[block.columns], side, good), strict=True
                    ):
                        out[member].append(pick)
        return tuple(tuple(picks) for picks in out)

    def final(self, residual: Array, good: int) -> tuple[Found, ...]:
        """Best condition of every candidate on all accounts."""
        out: dict[int, Found] = {}
        total = self.everyone.bins.T @ residual[:, None]
        for block, side in zip(self.blocks, self.everyone.test, strict=True):
            picks = best(block, total[block.columns], side, good)
            out.update(zip(block.members.tolist(), picks, strict=True))
        return tuple(out[j] for j in range(len(self.design.candidates)))


def _split(centred: Array, soft: Array, spread: Array, inside: Bools, groups: tuple[Block, ...]) -> _Split:
    local = centred[inside] - centred[inside].mean(axis=0)
    scaled = local * spread[inside][:, None]
    size = soft[inside].sum(axis=0)
    sides = []
    for block in groups:
        cut = scaled[:, block.columns].transpose(1, 2, 0)
        sides.append(Side(cut @ cut.transpose(0, 2, 1), size[block.columns], float(inside.sum())))
    return _Split(inside, local, tuple(sides))


def _united(sides: list[Side]) -> Side:
    gram = np.sum([side.gram for side in sides], axis=0)
    return Side(gram, np.sum([side.size for side in sides], axis=0), float(sum(side.n for side in sides)))


def _some(block: Block, rows: Ints, at: Ints) -> Block:
    """Take some members of a block, with their columns as places among those that were summed."""
    return Block(block.members[rows], at[block.columns[rows]], block.search, block.choosable[rows])


def _take(side: Side, rows: Ints) -> Side:
    return Side(side.gram[rows], side.size[rows], side.n)


def _pooled(block: Block, splits: tuple[_Split, ...], parts: list[Array], whole: Side, b: int) -> Array:
    total = np.sum([part[block.columns] for part in parts], axis=0)
    top, below = 0.0, 0.0
    for split, part in zip(splits, parts, strict=True):
        test, seen = split.test[b], part[block.columns]
        score = scores(block, total - seen, whole.minus(test))
        top = top + (score * seen).sum(axis=1)
        below = below + ((test.gram @ score) * score).sum(axis=1)
    return np.asarray(top / np.sqrt(np.maximum(below, 1e-300)), dtype=np.float64)
