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
#: Share of the log-likelihood by which conditions are averaged; 1 would trust the best one most.
TEMPERING = 0.4
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
    """A condition found by one search: the bins it takes and whether the outcome is more (+1) or less frequent."""

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
            choosable = np.array([[label is not None for label in design.candidates[j].labels] for j in group])
        out.append(
            Block(numbers, design.starts[numbers][:, None] + np.arange(n_bins), search, choosable.astype(np.float64))
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

    The weights are tempered likelihoods, exp(TEMPERING z^2 / 2), and each condition counts with its effect, so that
    a feature without a clear condition gets a small and flat score.
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


def best(block: Block, sums: Array, side: Side) -> list[Found]:
    """Return the single best condition of each member for the first outcome."""
    first = sums[..., :1]
    if block.search == "levels":
        order, running, held, variance, usable = _prefixes(first, side)
        z = np.where(usable, running / np.sqrt(np.maximum(variance, 1e-12)), 0.0)[..., 0]
        return [_level_group(block, f, order[..., 0], held[..., 0], z) for f in range(len(block.members))]
    weights, variance, usable = _runs(block, side)
    z = np.where(usable, (weights @ first)[..., 0] / np.sqrt(np.maximum(variance, 1e-12)), 0.0)
    runs = intervals(block.columns.shape[1])
    top = np.abs(z).argmax(axis=1)
    return [Found(runs[t], -1 if z[f, t] < 0 else 1) for f, t in enumerate(top)]


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


def _level_group(block: Block, f: int, order: Ints, held: Array, z: Array) -> Found:
    """Take the better side of the best cut; between equals the smaller group is the more readable one."""
    cut = int(np.abs(z[f]).argmax())
    lower = np.zeros(order.shape[1], dtype=np.bool_)
    lower[order[f, : cut + 1]] = True
    low_side = bool(held[f, cut] <= held[f, -1] / 2)
    chosen = (lower if low_side else ~lower) & (block.choosable[f] > 0)
    sign = -1 if z[f, cut] < 0 else 1
    return Found(chosen, sign if low_side else -sign)
