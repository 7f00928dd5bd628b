"""The two tests behind every trait: against outcomes handed to other accounts, and on accounts left out.

For each candidate the evidence of all its conditions (intervals, groups of levels, one flag) is averaged, and
the same search is run on events handed at random to others of the same risk set (day and tenure), so that
the p-value pays for the search, for mixed column types, for missing values, and knows nothing of how long an
account stays (decision 018). Apart from that, conditions are weighed on K-1 folds of accounts and the
weighted condition is tested on the fold left out, pooled over folds and repeats. A trait must pass both
(decision 009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icp_ml.insight.candidates import Design
from icp_ml.insight.riskset import Outcome
from icp_ml.insight.search import Block, Found, Side, best, blocks, scores, weight_of_evidence
from icp_ml.insight.units import Units
from icp_ml.statistics.tails import ENOUGH, tail_p

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
CHUNK = 200
SCREEN = 200
SCREEN_P = 0.15
SECOND_SCREEN = 2000
SECOND_P = 0.02
#: Draws for candidates that fewer than ten of the usual number reach: enough to fit a tail to.
MOST_DRAWS = 20_000
#: Cells of a dense block of centred bins.
DENSE = 8_000_000


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Result of the cross-fitted search over all candidates.

    Parameters
    ----------
    statistic
        Weight of evidence of each candidate over all its conditions, shape (m,).
    p_values
        Its p-value from events handed to others at risk, its tail fitted where few reach as far; shape (m,).
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
    """Search and test every candidate, on the outcome and on events handed to others at risk.

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
    folds = np.stack([rng.permutation(outcome.n_accounts) % n_folds for _ in range(n_repeats)])
    engine = _Engine.build(design, outcome, folds, n_folds)
    statistic = engine.weight(np.arange(len(design.candidates)), engine.whole[:, None])[:, 0]
    p_values = _p_values(engine, statistic, n_permutations, rng)
    return CrossFit(statistic, p_values, engine.held_out(), engine.found(good), folds, engine.final(good))


def _p_values(engine: _Engine, statistic: Array, n_permutations: int, rng: np.random.Generator) -> Array:
    """Draw more and more, for fewer and fewer candidates; the most remarkable get a fitted tail as well."""
    draws = _Draws(engine, statistic, rng)
    for upto, least in ((SCREEN, 1.0), (SECOND_SCREEN, SCREEN_P), (n_permutations, SECOND_P)):
        draws.keep(draws.p_values <= least)
        draws.continue_to(min(upto, n_permutations))
    if n_permutations >= SECOND_SCREEN:
        draws.keep(draws.hits < ENOUGH)
        draws.continue_to(max(MOST_DRAWS, n_permutations))
        draws.fit_tails()
    return draws.p_values


class _Draws:
    """How many draws reach each candidate's statistic, and those of the candidates still going."""

    def __init__(self, engine: _Engine, statistic: Array, rng: np.random.Generator) -> None:
        self._engine, self._statistic, self._rng = engine, statistic, rng
        self._slack = statistic - 1e-9 * (1.0 + np.abs(statistic))
        self._going = np.arange(len(statistic))
        self._kept: list[Array] = []
        self._done = 0
        self.hits, self._runs = np.zeros(len(statistic)), np.zeros(len(statistic))
        self._fitted = np.full(len(statistic), np.nan)

    @property
    def p_values(self) -> Array:
        """Return (1 + draws at least as large) / (1 + draws), or what a fitted tail says."""
        counted = (1.0 + self.hits) / (1.0 + self._runs)
        return np.where(np.isnan(self._fitted), counted, self._fitted)

    def keep(self, wanted: Bools) -> None:
        """Go on with some candidates only, shape (m,)."""
        few = wanted[self._going]
        self._kept, self._going = [part[few] for part in self._kept], self._going[few]

    def continue_to(self, goal: int) -> None:
        """Draw until there are so many draws of the candidates still going."""
        while self._done < goal and len(self._going):
            count = min(CHUNK, goal - self._done)
            drawn = self._engine.drawn(self._going, count, self._rng)
            self.hits[self._going] += (drawn >= self._slack[self._going, None]).sum(axis=1)
            self._runs[self._going] += count
            self._kept.append(drawn)
            self._done += count

    def fit_tails(self) -> None:
        """Extrapolate the p-values of the candidates still going."""
        if len(self._going):
            drawn = np.concatenate(self._kept, axis=1)
            self._fitted[self._going] = tail_p(self._statistic[self._going], drawn)


@dataclass(frozen=True, slots=True)
class _Split:
    """The accounts of a fold: their sums of centred bins, and a side of each block."""

    sums: Array
    test: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class _Engine:
    """What was seen, in all and fold by fold, and how to draw what might have been seen instead."""

    design: Design
    units: Units
    blocks: tuple[Block, ...]
    clustering: float
    whole: Array
    sides: tuple[Side, ...]
    repeats: tuple[tuple[_Split, ...], ...]

    @classmethod
    def build(cls, design: Design, outcome: Outcome, folds: Ints, n_folds: int) -> _Engine:
        units = Units.of(design, outcome)
        residual, clustering = outcome.residual, outcome.clustering
        groups = tuple(blocks(design, np.arange(len(design.candidates))))
        inside = [fold[outcome.owner] == k for fold in folds for k in range(n_folds)]
        masked = np.stack([np.where(mask, residual, 0.0) for mask in inside], axis=1)
        sums = units.sums(masked, outcome.stratum)
        scale = np.sqrt(clustering * outcome.spread)[outcome.stratum]
        share = outcome.n_accounts / outcome.n_units
        size = np.asarray(units.size.T @ np.stack(inside, axis=1).astype(np.float64)) * share
        accounts = [float((fold == k).sum()) for fold in folds for k in range(n_folds)]
        grams = [_grams(units, block, outcome.stratum, scale, inside) for block in groups]
        splits = [
            _Split(
                sums[:, i],
                tuple(
                    Side(grams[b][i], size[:, i][block.columns], accounts[i])
                    for b, block in enumerate(groups)
                ),
            )
            for i in range(len(inside))
        ]
        repeats = tuple(tuple(splits[r * n_folds + k] for k in range(n_folds)) for r in range(len(folds)))
        sides = tuple(_united([split.test[b] for split in repeats[0]]) for b in range(len(groups)))
        whole = np.sum([split.sums for split in repeats[0]], axis=0)
        return cls(design, units, groups, clustering, whole, sides, repeats)

    def weight(self, members: Ints, sums: Array) -> Array:
        """Weigh the evidence for some candidates; shape (len(members), P), from sums of all their bins."""
        place = np.full(len(self.design.candidates), -1, dtype=np.int64)
        place[members] = np.arange(len(members))
        at = np.full(self.design.n_bins, -1, dtype=np.int64)
        needed = self._bins(members)
        at[needed] = np.arange(len(needed))
        out = np.zeros((len(members), sums.shape[1]))
        for block, side in zip(self.blocks, self.sides, strict=True):
            rows = np.flatnonzero(place[block.members] >= 0)
            if len(rows):
                some = _some(block, rows, at)
                out[place[some.members]] = weight_of_evidence(some, sums[some.columns], _take(side, rows))
        return out

    def drawn(self, members: Ints, count: int, rng: np.random.Generator) -> Array:
        """Weigh the evidence in outcomes handed to other accounts at risk; shape (len(members), count)."""
        sums = self.units.drawn(self._bins(members), count, rng)
        return self.weight(members, np.sqrt(self.clustering) * sums)

    def held_out(self) -> Array:
        """Test, fold by fold, what the other folds found; pooled, shape (m,)."""
        total = np.zeros(len(self.design.candidates))
        for splits in self.repeats:
            for b, block in enumerate(self.blocks):
                whole = _united([split.test[b] for split in splits])
                total[block.members] += _pooled(block, splits, whole, b)
        return total / len(self.repeats)

    def found(self, good: int) -> tuple[tuple[Found, ...], ...]:
        """Best condition of every candidate in every search."""
        out: list[list[Found]] = [[] for _ in self.design.candidates]
        for splits in self.repeats:
            whole = [_united([split.test[b] for split in splits]) for b in range(len(self.blocks))]
            for split in splits:
                rest = (self.whole - split.sums)[:, None]
                for b, block in enumerate(self.blocks):
                    side = whole[b].minus(split.test[b])
                    for member, pick in zip(
                        block.members, best(block, rest[block.columns], side, good), strict=True
                    ):
                        out[member].append(pick)
        return tuple(tuple(picks) for picks in out)

    def final(self, good: int) -> tuple[Found, ...]:
        """Best condition of every candidate on all accounts."""
        out: dict[int, Found] = {}
        for block, side in zip(self.blocks, self.sides, strict=True):
            picks = best(block, self.whole[block.columns][:, :, None], side, good)
            out.update(zip(block.members.tolist(), picks, strict=True))
        return tuple(out[j] for j in range(len(self.design.candidates)))

    def _bins(self, members: Ints) -> Ints:
        # where all accounts are alike there is no candidate
        spans = [np.arange(self.design.starts[j], self.design.starts[j + 1]) for j in members.tolist()]
        return np.concatenate([np.zeros(0), *spans]).astype(np.int64)


def _grams(units: Units, block: Block, stratum: Ints, scale: Array, inside: list[Bools]) -> list[Array]:
    """Covariance of each member's bins under exchange, per fold, shape (F, b, b) each."""
    width = block.columns.shape[1]
    step = max(1, DENSE // max(len(stratum) * width, 1))
    parts: list[list[Array]] = [[] for _ in inside]
    for start in range(0, len(block.members), step):
        columns = block.columns[start : start + step]
        dense = units.centred(columns.ravel(), stratum) * scale[:, None]
        cube = dense.reshape(len(dense), len(columns), width).transpose(1, 2, 0)
        for part, mask in zip(parts, inside, strict=True):
            cut = cube[:, :, mask]
            part.append(cut @ cut.transpose(0, 2, 1))
    return [np.concatenate(part) for part in parts]


def _united(sides: list[Side]) -> Side:
    gram = np.sum([side.gram for side in sides], axis=0)
    return Side(gram, np.sum([side.size for side in sides], axis=0), float(sum(side.n for side in sides)))


def _some(block: Block, rows: Ints, at: Ints) -> Block:
    """Take some members of a block, with their columns as places among those that were summed."""
    return Block(block.members[rows], at[block.columns[rows]], block.search, block.choosable[rows])


def _take(side: Side, rows: Ints) -> Side:
    return Side(side.gram[rows], side.size[rows], side.n)


def _pooled(block: Block, splits: tuple[_Split, ...], whole: Side, b: int) -> Array:
    parts = [split.sums[block.columns][:, :, None] for split in splits]
    total = np.sum(parts, axis=0)
    top, below = 0.0, 0.0
    for split, seen in zip(splits, parts, strict=True):
        test = split.test[b]
        score = scores(block, total - seen, whole.minus(test))
        top = top + (score * seen).sum(axis=1)
        below = below + ((test.gram @ score) * score).sum(axis=1)
    return np.asarray((top / np.sqrt(np.maximum(below, 1e-300)))[:, 0], dtype=np.float64)
