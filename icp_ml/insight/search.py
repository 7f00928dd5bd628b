"""Searching one feature for its best condition, for many permuted outcomes at once.

All functions work on blocks of F candidates with b bins each and P outcomes (the real one and permuted ones):
``sums`` (F, b, P) are residuals summed over the centred bins, ``gram`` (F, b, b) their covariance under
permutation, ``size`` (F, b) the number of accounts in each bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from icp_ml.insight.candidates import Design

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Accounts with an average outcome added to each level before levels are sorted, so that rare ones stay put.
LEVEL_PRIOR = 10.0
#: Share of the log-likelihood by which conditions are averaged for the held-out test; 1 would trust the best
#: one most.
TEMPERING = 0.1
#: The same for the weight of evidence.
EVIDENCE = 0.3
#: The same for the condition that is reported; flatter, because a threshold is less certain than an effect.
REPORTING = 0.15
#: A condition names the helpful accounts unless they are more than this share of all.
HELPFUL_SHARE = 0.75
#: Prior chance of a level to belong to the group named.
GROUP_PRIOR = 0.15
#: Fewest accounts on either side of a condition.
LEAST = 5.0


@dataclass(frozen=True, slots=True)
class Block:
    """Candidates with the same search and number of bins, handled as one array.

    Parameters
    ----------
    members
        Candidate numbers, shape (F,).
    columns
        Bin columns of each, shape (F, b).
    search
        ``interval`` (a single bin is an interval of one) or ``levels``.
    choosable
        0.0 where a bin may never be part of a condition (pooled rare levels), shape (F, b).
    """

    members: Ints
    columns: Ints
    search: str
    choosable: Array


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of a split knows: covariance (F, b, b), sizes (F, b) and the number of accounts."""

    gram: Array
    size: Array
    n: float

    def minus(self, other: Side) -> Side:
        """Return what remains when the other side is taken away."""
        return Side(self.gram - other.gram, self.size - other.size, self.n - other.n)


@dataclass(frozen=True, slots=True)
class Found:
    """A condition found by one search: its bins, and whether the outcome is more (+1) or less frequent."""

    bins: Bools
    direction: int


def blocks(design: Design, members: Ints) -> list[Block]:
    """Group candidates by search and number of bins."""
    kinds: dict[tuple[str, int], list[int]] = {}
    for j in members.tolist():
        candidate = design.candidates[j]
        search = "levels" if candidate.search == "levels" else "interval"
        kinds.setdefault((search, candidate.n_bins), []).append(j)
    out = []
    for (search, n_bins), group in sorted(kinds.items()):
        numbers = np.asarray(group, dtype=np.int64)
        choosable = np.ones((len(group), n_bins))
        if search == "levels":
            choosable = np.array(
                [[label is not None for label in design.candidates[j].labels] for j in group]
            )
        out.append(
            Block(
                numbers,
                design.starts[numbers][:, None] + np.arange(n_bins),
                search,
                choosable.astype(np.float64),
            )
        )
    return out


@lru_cache(maxsize=64)
def intervals(n_bins: int) -> Bools:
    """Return all contiguous runs of bins but the whole, shape (runs, n_bins); a single bin is its own run."""
    if n_bins == 1:
        return np.ones((1, 1), dtype=np.bool_)
    place = np.arange(n_bins)
    runs = [
        (place >= low) & (place <= high)
        for low in range(n_bins)
        for high in range(low, n_bins)
        if high - low + 1 < n_bins
    ]
    return np.array(runs)


def scores(block: Block, sums: Array, side: Side) -> Array:
    """Average all conditions by how well each fits: a score per bin, shape (F, b, P).

    The weights are tempered likelihoods, exp(TEMPERING z^2 / 2), and each condition counts with its effect,
    so that a feature without a clear condition gets a small and flat score.
    """
    if block.search == "levels":
        return _level_scores(block, sums, side)
    weights, variance, usable = _runs(block, side)
    u = weights @ sums
    scale = np.where(usable, 1.0 / np.maximum(variance, 1e-12), 0.0)[:, :, None]
    z2 = u**2 * scale
    chance = np.exp(0.5 * TEMPERING * (z2 - z2.max(axis=1, keepdims=True))) * usable[:, :, None]
    chance /= np.maximum(chance.sum(axis=1, keepdims=True), 1e-300)
    chance *= u * scale
    return np.asarray(weights.T @ chance, dtype=np.float64)


def weight_of_evidence(block: Block, sums: Array, side: Side) -> Array:
    """Average the evidence of all conditions of each member: log mean exp(EVIDENCE z^2 / 2), shape (F, P).

    An average gains from neighbouring conditions that agree, which the best condition alone doesn't.
    """
    if block.search == "levels":
        _, running, _, variance, usable = _prefixes(sums, side)
        z2 = running**2 / np.where(usable, np.maximum(variance, 1e-12), np.inf)
        used = usable
    else:
        weights, spread, possible = _runs(block, side)
        used = possible[:, :, None]
        z2 = (weights @ sums) ** 2 / np.where(used, np.maximum(spread, 1e-12)[:, :, None], np.inf)
    evidence = 0.5 * EVIDENCE * z2
    most = evidence.max(axis=1, keepdims=True)
    mean = (np.exp(evidence - most) * used).sum(axis=1) / np.maximum(used.sum(axis=1), 1)
    return np.asarray(np.log(np.maximum(mean, 1e-300)) + most[:, 0], dtype=np.float64)


def best(block: Block, sums: Array, side: Side, good: int) -> list[Found]:
    """Return the condition to report for each member, for the first outcome.

    The best-scoring condition alone jumps about between samples, so bins are taken by the weight of all
    conditions that hold them. Of two conditions that say the same the one is taken that names the helpful
    accounts.

    Parameters
    ----------
    block, sums, side
        As everywhere here.
    good
        +1 when outcome 1 is the good one, else -1.
    """
    first = sums[:, :, 0]
    if block.search == "levels":
        order, running, _, variance, usable = _prefixes(first[:, :, None], side)
        z = np.where(usable, running / np.sqrt(np.maximum(variance, 1e-12)), 0.0)[..., 0]
        return [_best_group(block, f, order[f, :, 0], z[f], first[f], side, good) for f in range(len(first))]
    weights, variance, usable = _runs(block, side)
    z = np.where(usable, (first @ weights.T) / np.sqrt(np.maximum(variance, 1e-12)), 0.0)
    if block.columns.shape[1] == 1:
        return [Found(np.ones(1, dtype=np.bool_), -1 if row[0] < 0 else 1) for row in z]
    runs = intervals(block.columns.shape[1])
    return [_best_run(runs, z[f] * good, usable[f], side.size[f], good) for f in range(len(first))]


def _weights(z: Array, usable: Bools) -> Array:
    """Weight conditions by a flat likelihood; all alike when none can be used."""
    weight = np.exp(0.5 * REPORTING * (z**2 - float((z**2).max()))) * usable
    total = float(weight.sum())
    return weight / total if total > 0 else np.full(len(z), 1.0 / len(z))


def _best_run(runs: Bools, z: Array, usable: Bools, size: Array, good: int) -> Found:
    weight = _weights(z, usable)
    helpful = np.where((z > 0)[:, None], runs, ~runs)
    lean = weight @ helpful - 0.5
    gains = runs @ lean
    if usable.any():
        gains = np.where(usable, gains, 0.0)
    top, bottom = int(gains.argmax()), int(gains.argmin())
    takes_helpful = gains[top] >= -gains[bottom]
    bins = runs[top] if takes_helpful else runs[bottom]
    if bins[0] != bins[-1]:
        wanted = bins if takes_helpful else ~bins
        takes_helpful = float(size[wanted].sum()) <= HELPFUL_SHARE * float(size.sum())
        bins = wanted if takes_helpful else ~wanted
    return Found(bins, good if takes_helpful else -good)


def _best_group(block: Block, f: int, order: Ints, z: Array, sums: Array, side: Side, good: int) -> Found:
    """Start from the levels most cuts call helpful, then ask each level to which side it rather belongs."""
    size, total = side.size[f], max(float(side.size[f].sum()), 1e-12)
    weight = _weights(z, z != 0.0)
    below = np.empty(len(order))
    below[order] = weight[::-1].cumsum()[::-1]
    low = below >= 0.5
    helpful = ~low if good > 0 else low
    takes_helpful = float(size[helpful].sum()) <= HELPFUL_SHARE * total
    group = helpful if takes_helpful else ~helpful
    alone = np.diag(side.gram[f]) / np.maximum(1.0 - size / total, 1e-9)
    noise = max(float(alone.sum()) / total, 1e-12)
    for _ in range(5):
        inside = float(sums[group].sum()) / max(float(size[group].sum()), 1.0)
        outside = float(sums[~group].sum()) / max(float(size[~group].sum()), 1.0)
        ratio = ((inside - outside) * sums - 0.5 * (inside**2 - outside**2) * size) / noise
        again = ratio > np.log((1.0 - GROUP_PRIOR) / GROUP_PRIOR)
        if not (again & (block.choosable[f] > 0)).any() or again.all() or bool((again == group).all()):
            break
        group = again
    chosen = group & (block.choosable[f] > 0)
    if not chosen.any():
        chosen = ~group & (block.choosable[f] > 0)
    share = float(size[chosen].sum()) / total
    sign = 1 if float(sums[chosen].sum()) - share * float(sums.sum()) >= 0 else -1
    return Found(chosen, sign)


def _runs(block: Block, side: Side) -> tuple[Array, Array, Bools]:
    n_bins = block.columns.shape[1]
    weights = intervals(n_bins).astype(np.float64)
    variance = np.einsum("ib,fbc,ic->fi", weights, side.gram, weights, optimize=True)
    held = side.size @ weights.T
    known = side.size.sum(axis=1, keepdims=True) if n_bins > 1 else np.full((len(block.members), 1), side.n)
    usable = (held >= LEAST) & (held <= known - LEAST) & (variance > 1e-12)
    return weights, variance, usable


def _prefixes(sums: Array, side: Side) -> tuple[Ints, Array, Array, Array, Bools]:
    """Sort levels by shrunken outcome; sums, sizes and variances of the lowest 1, 2, ... levels together."""
    order = np.argsort(sums / (side.size + LEVEL_PRIOR)[:, :, None], axis=1, kind="stable")

    def cumulated(values: Array) -> Array:
        spread = np.broadcast_to(values[:, :, None], sums.shape)
        return np.take_along_axis(spread, order, axis=1).cumsum(axis=1)

    running = np.take_along_axis(sums, order, axis=1).cumsum(axis=1)
    held = cumulated(side.size)
    known = np.maximum(side.size.sum(axis=1, keepdims=True), 1e-12)
    alone = np.einsum("fbb->fb", side.gram) / np.maximum(1.0 - side.size / known, 1e-9)
    variance = cumulated(alone) * (1.0 - held / known[:, :, None])
    usable = (held >= LEAST) & (held <= known[:, :, None] - LEAST) & (variance > 1e-9)
    return order, running, held, variance, usable


def _level_scores(block: Block, sums: Array, side: Side) -> Array:
    order, running, _, variance, usable = _prefixes(sums, side)
    scale = np.where(usable, 1.0 / np.maximum(variance, 1e-12), 0.0)
    z2 = running**2 * scale
    chance = np.exp(0.5 * TEMPERING * (z2 - z2.max(axis=1, keepdims=True))) * usable
    chance /= np.maximum(chance.sum(axis=1, keepdims=True), 1e-300)
    chance *= running * scale
    by_rank = chance[:, ::-1].cumsum(axis=1)[:, ::-1]
    out = np.empty_like(by_rank)
    np.put_along_axis(out, order, by_rank, axis=1)
    return np.asarray(out * block.choosable[:, :, None], dtype=np.float64)
