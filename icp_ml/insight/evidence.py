"""The test behind every trait: found on some accounts, proven on the others, against permuted outcomes.

For each candidate the best condition is searched on K-1 folds of accounts and tested, in the direction found, on
the fold left out; this is pooled over folds and averaged over repeats. The *whole* loop, search and test, is
then run on outcomes permuted between accounts of the same entry cohort, so that the p-value accounts for the
search, for mixed column types, for missing values and for several snapshots of one account.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from icp_ml.insight.candidates import Candidate, Design

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
LEVEL_PRIOR = 10.0
CHUNK = 128


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
        Sum over the account's rows of outcome minus the mean outcome of that snapshot date, shape (n,).
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


def build_outcome(account: Ints, y: Array, date: Ints, *, least: int = 20) -> Outcome:
    """Centre an outcome by snapshot date and sum it per account.

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
    totals = np.bincount(date, weights=y)
    counts = np.maximum(np.bincount(date), 1)
    n = int(account.max()) + 1
    residual = np.bincount(account, weights=y - (totals / counts)[date], minlength=n)
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, account, date)
    sizes = np.bincount(first)
    joined = np.zeros(len(sizes), dtype=np.int64)
    current, held = 0, 0
    for number, size in enumerate(sizes):
        if held >= least and int(sizes[number:].sum()) >= least:
            current, held = current + 1, 0
        joined[number] = current
        held += int(size)
    return Outcome(account, y, residual, joined[first])


@dataclass(frozen=True, slots=True)
class Found:
    """What one search on K-1 folds found for one candidate."""

    bins: Bools
    direction: int


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Result of the cross-fitted search over all candidates.

    Parameters
    ----------
    statistic
        Held-out statistic of each candidate, averaged over repeats, shape (m,).
    null
        The same under permuted outcomes, shape (m, B).
    found
        For each candidate the conditions found, repeat by repeat and fold by fold (R * K of them).
    folds
        Fold of each account in each repeat, shape (R, n).
    final
        The condition found on all accounts, for the report; it proves nothing.
    """

    statistic: Array
    null: Array
    found: tuple[tuple[Found, ...], ...]
    folds: Ints
    final: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    """Candidates with the same search and number of bins, handled as one array."""

    members: Ints
    columns: Ints
    search: str
    choosable: Array


def permuted(outcome: Outcome, count: int, rng: np.random.Generator) -> Array:
    """Permute the residuals between accounts of the same entry cohort; shape (n, count)."""
    centred = centred_residual(outcome)
    n = outcome.n_accounts
    place = np.argsort(outcome.cohort, kind="stable")
    out = np.empty((n, count))
    keys = rng.random((n, count)) + outcome.cohort[:, None]
    order = np.argsort(keys, axis=0, kind="stable")
    out[place] = centred[order]
    return out


def centred_residual(outcome: Outcome) -> Array:
    """Residual minus the mean of the account's entry cohort."""
    counts = np.maximum(np.bincount(outcome.cohort), 1)
    means = np.bincount(outcome.cohort, weights=outcome.residual) / counts
    return np.asarray(outcome.residual - means[outcome.cohort])


def centred_bins(design: Design, outcome: Outcome) -> tuple[Array, Array, Array]:
    """Share of each account's rows in each bin, centred; also uncentred, and the cohort's residual spread.

    A bin is compared with the *known* rest of its feature, so that what is unknown counts on neither side.
    """
    n = outcome.n_accounts
    soft = design.per_account(outcome.account, n, outcome.weights)
    known = design.known_per_account(outcome.account, n, outcome.weights)
    owner = np.repeat(np.arange(len(design.candidates)), np.diff(design.starts))
    share = soft.sum(axis=0) / np.maximum(known.sum(axis=0), 1e-12)[owner]
    centred = soft - known[:, owner] * share
    counts = np.maximum(np.bincount(outcome.cohort), 1)
    squares = np.bincount(outcome.cohort, weights=centred_residual(outcome) ** 2)
    for cohort in range(len(counts)):
        rows = outcome.cohort == cohort
        centred[rows] -= centred[rows].mean(axis=0)
    return centred, soft, np.sqrt(squares / counts)[outcome.cohort]


def crossfit(
    design: Design,
    outcome: Outcome,
    *,
    n_folds: int = 5,
    n_repeats: int = 5,
    n_permutations: int = 500,
    seed: int = 0,
    only: Ints | None = None,
) -> CrossFit:
    """Search and test every candidate, on the outcome and on permuted outcomes.

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
    only
        Candidate numbers to handle; None means all.
    """
    rng = np.random.default_rng(seed)
    n = outcome.n_accounts
    folds = np.stack([rng.permutation(n) % n_folds for _ in range(n_repeats)])
    centred, soft, spread = centred_bins(design, outcome)
    members = np.arange(len(design.candidates)) if only is None else only
    blocks = _blocks(design, members)
    effects = np.concatenate([centred_residual(outcome)[:, None], permuted(outcome, n_permutations, rng)], axis=1)
    total = np.zeros((len(design.candidates), effects.shape[1]))
    found: list[list[Found]] = [[] for _ in design.candidates]
    for fold in folds:
        parts = [_FoldSums.build(centred, soft, effects, spread, fold == k) for k in range(n_folds)]
        for block in blocks:
            total[block.members] += _repeat_statistic(block, parts, found, n_folds)
    total /= n_repeats
    whole = [_FoldSums.build(centred, soft, effects[:, :1], spread, np.ones(n, dtype=bool))]
    final: list[Found] = [Found(np.zeros(0, dtype=bool), 1) for _ in design.candidates]
    for block in blocks:
        for member, pick in zip(block.members, _observed(block, *_gather(block, whole)), strict=True):
            final[member] = pick
    return CrossFit(total[:, 0], total[:, 1:], tuple(map(tuple, found)), folds, tuple(final))


@dataclass(frozen=True, slots=True)
class _FoldSums:
    """Sums of one fold: bins x permutations, bins x bins (by candidate, lazily), and bin sizes."""

    sums: Array
    rows: Array
    size: Array
    n: int

    @classmethod
    def build(cls, centred: Array, soft: Array, effects: Array, spread: Array, inside: Bools) -> _FoldSums:
        local = centred[inside] - centred[inside].mean(axis=0)
        return cls(
            local.T @ effects[inside], local * spread[inside][:, None], soft[inside].sum(axis=0), int(inside.sum())
        )


def _blocks(design: Design, members: Ints) -> list[_Block]:
    kinds: dict[tuple[str, int], list[int]] = {}
    for j in members:
        candidate = design.candidates[j]
        search = "levels" if candidate.search == "levels" else "interval"
        kinds.setdefault((search, candidate.n_bins), []).append(int(j))
    out = []
    for (search, n_bins), group in sorted(kinds.items()):
        numbers = np.asarray(group, dtype=np.int64)
        named = [[label is not None for label in design.candidates[j].labels] for j in group]
        choosable = np.array(named if search == "levels" else np.ones((len(group), n_bins)), dtype=np.float64)
        out.append(_Block(numbers, design.starts[numbers][:, None] + np.arange(n_bins), search, choosable))
    return out


def _gather(block: _Block, parts: list[_FoldSums]) -> tuple[Array, Array, Array, float]:
    """Add up the parts: sums (F, b, P), Gram matrices (F, b, b), sizes (F, b), accounts."""
    sums = sum((part.sums[block.columns] for part in parts), np.zeros(1))
    size = sum((part.size[block.columns] for part in parts), np.zeros(1))
    gram = np.zeros(1)
    for part in parts:
        local = np.moveaxis(part.rows[:, block.columns], 0, 2)
        gram = gram + local @ local.transpose(0, 2, 1)
    return sums, gram, size, float(sum(part.n for part in parts))


def _repeat_statistic(block: _Block, parts: list[_FoldSums], found: list[list[Found]], n_folds: int) -> Array:
    gathered = [_gather(block, [part]) for part in parts]
    everything = [sum((g[i] for g in gathered), np.zeros(1)) for i in range(3)]
    n_all = sum(g[3] for g in gathered)
    width = parts[0].sums.shape[1]
    top, below = np.zeros((len(block.members), width)), np.zeros((len(block.members), width))
    for sums, gram, size, n in gathered:
        train = (everything[0] - sums, everything[1] - gram, everything[2] - size, n_all - n)
        for member, pick in zip(block.members, _observed(block, *train), strict=True):
            found[member].append(pick)
        for chunk in _chunks(width):
            part_train = (train[0][..., chunk], *train[1:])
            u, v = _search_and_test(block, part_train, sums[..., chunk], gram)
            top[:, chunk] += u
            below[:, chunk] += v
    return top / np.sqrt(np.maximum(below, 1e-300))


def _chunks(width: int) -> Iterator[slice]:
    for start in range(0, width, CHUNK):
        yield slice(start, min(start + CHUNK, width))


@lru_cache(maxsize=64)
def intervals(n_bins: int) -> Bools:
    """All contiguous runs of bins but the whole, shape (runs, n_bins); a single bin is its own run."""
    if n_bins == 1:
        return np.ones((1, 1), dtype=bool)
    runs = [
        [low <= b <= high for b in range(n_bins)]
        for low in range(n_bins)
        for high in range(low, n_bins)
        if high - low + 1 < n_bins
    ]
    return np.array(runs, dtype=bool)


def _interval_scores(sums: Array, gram: Array, size: Array, n: float) -> tuple[Array, Bools]:
    """Signed z of every run (F, runs, P); runs held by too few or too many get 0."""
    runs = intervals(sums.shape[1])
    weights = runs.astype(np.float64)
    variance = np.einsum("ib,fbc,ic->fi", weights, gram, weights, optimize=True)
    held = size @ weights.T
    known = np.maximum(size.sum(axis=1, keepdims=True), 1e-12) if sums.shape[1] > 1 else n
    usable = (held >= 5.0) & (held <= known - 5.0) & (variance > 1e-12)
    scale = np.where(usable, 1.0 / np.sqrt(np.maximum(variance, 1e-12)), 0.0)
    return (weights @ sums) * scale[:, :, None], runs


def _search_and_test(
    block: _Block, train: tuple[Array, Array, Array, float], test_sums: Array, test_gram: Array
) -> tuple[Array, Array]:
    if block.search == "levels":
        chosen, direction = _best_levels(*train[:3], block.choosable)
        u = (chosen * test_sums).sum(axis=1)
        diagonal = np.einsum("fbb->fb", test_gram)
        cross = np.einsum("fbp,fbc,fcp->fp", chosen, test_gram, chosen, optimize=True)
        v = np.where(cross > 0, cross, (chosen * diagonal[:, :, None]).sum(axis=1))
        return u * direction, v
    scores, runs = _interval_scores(*train)
    best = np.abs(scores).argmax(axis=1)
    sign = np.sign(np.take_along_axis(scores, best[:, None], axis=1)[:, 0])
    weights = runs.astype(np.float64)
    test = weights @ test_sums
    u = np.take_along_axis(test, best[:, None], axis=1)[:, 0] * sign
    variance = np.einsum("ib,fbc,ic->fi", weights, test_gram, weights, optimize=True)
    return u, np.take_along_axis(variance, best, axis=1)


def _best_levels(sums: Array, gram: Array, size: Array, choosable: Array) -> tuple[Array, Array]:
    """Best prefix or suffix of levels sorted by shrunken outcome: membership (F, b, P) and direction (F, P)."""
    rate = sums / (size + LEVEL_PRIOR)[:, :, None]
    order = np.argsort(rate, axis=1, kind="stable")
    running = np.take_along_axis(sums, order, axis=1).cumsum(axis=1)
    held = np.take_along_axis(np.broadcast_to(size[:, :, None], sums.shape), order, axis=1).cumsum(axis=1)
    known = held[:, -1:, :]
    alone = np.einsum("fbb->fb", gram) / np.maximum(1.0 - size / size.sum(axis=1, keepdims=True), 1e-9)
    spread = np.broadcast_to(alone[:, :, None], sums.shape)
    variance = np.take_along_axis(spread, order, axis=1).cumsum(axis=1) * (1.0 - held / known)
    usable = (held >= 5.0) & (held <= known - 5.0) & (variance > 1e-9)
    score = np.where(usable, np.abs(running) / np.sqrt(np.maximum(variance, 1e-9)), 0.0)
    cut = score.argmax(axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1])[None, :, None], order.shape), axis=1)
    low_side = rank <= cut[:, None, :]
    low_is_smaller = np.take_along_axis(held, cut[:, None, :], axis=1) <= known / 2
    chosen = np.where(low_is_smaller, low_side, ~low_side) * choosable[:, :, None]
    return chosen, np.where(low_is_smaller[:, 0, :], -1.0, 1.0)


def _observed(block: _Block, sums: Array, gram: Array, size: Array, n: float) -> list[Found]:
    """Return the condition found for the outcome itself (first column), for each member of the block."""
    first = sums[..., :1]
    if block.search == "levels":
        chosen, direction = _best_levels(first, gram, size, block.choosable)
        return [Found(c[:, 0] > 0, int(d[0])) for c, d in zip(chosen, direction, strict=True)]
    scores, runs = _interval_scores(first, gram, size, n)
    best = np.abs(scores).argmax(axis=1)[:, 0]
    signs = np.sign(np.take_along_axis(scores, best[:, None, None], axis=1)[:, 0, 0])
    return [Found(runs[b], int(s) if s else 1) for b, s in zip(best, signs, strict=True)]


def candidate_names(candidates: tuple[Candidate, ...]) -> list[str]:
    """Return the keys of the candidates in order."""
    return [candidate.key for candidate in candidates]
