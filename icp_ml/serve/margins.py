"""How unusual one field's value is among the training accounts: a tail probability per row and field.

Each field is taken alone here. A number's tails follow a generalised Pareto law, so that a value a little
beyond the largest one known is only a little more unusual, whatever the column's shape; a level's tail
probability is the share of accounts with a level as rare; a level or tool never seen costs as much as
training accounts were seen to bring new ones (Good 1953, *Biometrika* 40, 237-264).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from icp_ml.data.floor import FLOOR, grouped_numbers
from icp_ml.foreign import LARGEST, Given
from icp_ml.model.arrays import check_shape
from icp_ml.model.columns import Categories, Tools
from icp_ml.model.contributions import by_kernel

Floats = npt.NDArray[np.float64]

TAIL = 0.05
"""Share of accounts in each tail of a number."""
KNOTS = 51
_SHAPES = (0.05, 0.9)
_PRIOR_SHAPE, _PRIOR_WEIGHT = 0.25, 10.0
_FEWEST = 1e-300
_LEAST_SHAPE, _MOST_SHAPE, _MOST_SCORE = 1e-3, 1e3, 100.0
_MOST_ACCOUNTS = 10**12
POOLED = ""
"""Stands for all levels below the floor in the counts of a category; no cell is empty text."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Generalised Pareto tail beyond a threshold.

    Parameters
    ----------
    at
        The threshold.
    share
        Share of accounts beyond it.
    scale, shape
        Scale in units of the number, and shape 0.05 to 0.9 (heavier tails are cut there).
    """

    at: float
    share: float
    scale: float
    shape: float

    @classmethod
    def from_state(cls, given: Given) -> Tail:
        """Read what ``dataclasses.asdict`` gave."""
        given.record("at", "share", "scale", "shape")
        return cls(
            given["at"].number(low=-LARGEST, high=LARGEST),
            given["share"].number(low=0.0, high=1.0, above=0.0),
            given["scale"].number(low=0.0, high=LARGEST, above=0.0),
            given["shape"].number(low=_LEAST_SHAPE, high=_MOST_SHAPE),
        )


def tail_chances(
    beyond: Floats, share: float | Floats, scale: float | Floats, shape: float | Floats
) -> Floats:
    """Return the chance of values as far as this beyond the threshold of a :class:`Tail`, or of one each."""
    with np.errstate(over="ignore"):
        ratio = 1.0 + shape * np.maximum(beyond, 0.0) / scale
    return np.maximum(share * ratio ** (-1.0 / shape), _FEWEST)


def fit_tail(beyond: Floats, at: float, n: int, spread: float) -> Tail:
    """Fit a tail by probability-weighted moments (Hosking and Wallis 1987, *Technometrics* 29, 339-349).

    Parameters
    ----------
    beyond
        Distances of the accounts beyond the threshold, all above 0.
    at
        The threshold.
    n
        Number of accounts in all.
    spread
        Scale to take where no account lies beyond.
    """
    m = len(beyond)
    if m == 0:
        return Tail(at, 0.5 / (n + 1.0), spread, _PRIOR_SHAPE)
    ordered = np.sort(beyond)
    mean = float(ordered.mean())
    weights = (m - np.arange(1, m + 1)) / max(m - 1.0, 1.0)
    first = float((weights * ordered).mean())
    raw = 2.0 - mean / max(mean - 2.0 * first, 1e-12 * mean) if m > 1 else _PRIOR_SHAPE
    shrunk = (m * raw + _PRIOR_WEIGHT * _PRIOR_SHAPE) / (m + _PRIOR_WEIGHT)
    shape = float(np.clip(shrunk, *_SHAPES))
    return Tail(at, m / n, max(mean * (1.0 - shape), 1e-12 * max(spread, 1e-300)), shape)


@dataclass(frozen=True, slots=True)
class NumberMargin:
    """A number's distribution: knots in the middle, a tail on each side.

    Parameters
    ----------
    knots, scores
        Values and their normal scores, rising.
    lower, upper
        The tails; the lower one is that of the negated number.
    low, high
        1st and 99th percentile, for the words.
    """

    knots: tuple[float, ...]
    scores: tuple[float, ...]
    lower: Tail
    upper: Tail
    low: float
    high: float

    @classmethod
    def fit(cls, values: Floats) -> NumberMargin | None:
        """Fit the known values of one column, one an account; None if fewer than five are known."""
        known = np.sort(values[np.isfinite(values)])
        if len(known) < FLOOR:
            return None
        n = len(known)
        known = grouped_numbers(known, np.arange(n), clip=False)
        at_low, at_high = np.quantile(known, [TAIL, 1.0 - TAIL], method="nearest")
        spread = max(float(known[-1] - known[0]), 0.1 * abs(float(known[-1])), 1e-9)
        lower = fit_tail(at_low - known[known < at_low], -float(at_low), n, spread)
        upper = fit_tail(known[known > at_high] - at_high, float(at_high), n, spread)
        unique, counts = np.unique(known[(known >= at_low) & (known <= at_high)], return_counts=True)
        middle = (np.cumsum(counts) - 0.5 * counts) / n + (known < at_low).mean()
        if len(unique) > KNOTS:
            chosen = np.unique(np.linspace(0, len(unique) - 1, KNOTS).round().astype(np.int64))
            unique, middle = unique[chosen], middle[chosen]
        scores = ndtri(np.clip(middle, 0.5 / (n + 1), 1 - 0.5 / (n + 1)))
        low, high = (float(value) for value in np.quantile(known, [0.01, 0.99]))
        return cls(tuple(unique.tolist()), tuple(scores.tolist()), lower, upper, low, high)

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> NumberMargin:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another length or out of range, or knots don't rise.
        """
        given = Given.of(state, "margin").record("knots", "scores", "lower", "upper", "low", "high")
        knots = given["knots"].numbers(low=-LARGEST, high=LARGEST, least=1, rising=True)
        return cls(
            tuple(knots.tolist()),
            tuple(given["scores"].numbers(low=-_MOST_SCORE, high=_MOST_SCORE, length=len(knots)).tolist()),
            Tail.from_state(given["lower"]),
            Tail.from_state(given["upper"]),
            given["low"].number(low=-LARGEST, high=LARGEST),
            given["high"].number(low=-LARGEST, high=LARGEST),
        )


def normal_scores(margins: Sequence[NumberMargin], values: Sequence[Floats]) -> Floats:
    """Return the normal score of each value by its margin, shape (n_margins, n_rows); NaN where it's unknown.

    All tails are worked out together: a few long steps are faster than many short ones, and threads wait less
    for each other.
    """
    if not margins:
        return np.empty((0, 0))
    given = np.array(values)
    scores = _between_knots(margins, given)
    for side, further in ((1.0, np.maximum), (-1.0, np.minimum)):
        tails = [margin.upper if side > 0 else margin.lower for margin in margins]
        at, share, scale, shape = np.array([(t.at, t.share, t.scale, t.shape) for t in tails]).T
        places = np.flatnonzero((side * given > at[:, None]).ravel())
        of = places // given.shape[1]
        chances = tail_chances(side * given.ravel()[places] - at[of], share[of], scale[of], shape[of])
        scores.ravel()[places] = further(scores.ravel()[places], -side * ndtri(chances))
    return scores


def _between_knots(margins: Sequence[NumberMargin], values: Floats) -> Floats:
    """Return normal scores by the knots alone: lines between them, level beyond; NaN stays."""
    check_shape("values", values, (len(margins), *values.shape[1:2]))
    scores = np.empty(values.shape)
    in_kernel = by_kernel(values.shape[1])
    for score, margin, own in zip(scores, margins, values, strict=True):
        knots, at = np.array(margin.knots), np.array(margin.scores)
        check_shape("scores of knots", at, (max(1, len(knots)),))
        with np.errstate(over="ignore"):  # knots as close as subnormal numbers
            slopes = np.diff(at) / np.diff(knots)
        if in_kernel:
            from icp_ml.serve.factorkernel import interpolate

            interpolate(own, knots, at, slopes, score)
            continue
        place = np.searchsorted(knots, own, side="left")
        between = np.flatnonzero((place > 0) & (place < len(knots)))
        k, x = place[between] - 1, own[between]
        score[:] = np.where(place == 0, at[0], at[-1])
        score[between] = np.minimum(slopes[k] * (x - knots[k]) + at[k], at[k + 1])
        score[np.isnan(own)] = np.nan
    return scores


def surprise_of_scores(scores: Floats) -> Floats:
    """Return ``-log`` of the two-sided tail probability of normal scores; NaN stays."""
    return np.asarray(-np.log(np.maximum(2.0 * ndtr(-np.abs(scores)), _FEWEST)))


@dataclass(frozen=True, slots=True)
class LevelMargin:
    """How often each level of a category (or each answer of a yes/no field) occurs.

    Parameters
    ----------
    counts
        Level → number of training accounts; under :data:`POOLED` those whose level fewer than five have.
    """

    counts: Mapping[str, int]

    @classmethod
    def from_state(cls, state: Mapping[str, int] | Given) -> LevelMargin:
        """Read counts."""
        return cls(_counts(Given.of(state, "levels")))

    @classmethod
    def fit(cls, column: Categories) -> LevelMargin:
        """Count the levels of one column."""
        found = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
        counts = {name: int(n) for name, n in zip(column.levels, found, strict=True) if n >= FLOOR}
        pooled = int(found.sum()) - sum(counts.values())
        return cls(counts | ({POOLED: pooled} if pooled else {}))

    @property
    def shared(self) -> dict[str, int]:
        """Level → number of accounts, without those that are pooled."""
        return {level: n for level, n in self.counts.items() if level != POOLED}

    @property
    def total(self) -> int:
        """Number of accounts that have the field."""
        return sum(self.counts.values())

    @property
    def new(self) -> float:
        """Surprise of a level that isn't kept: ``-log`` of the share of accounts that had such a one."""
        alone = self.counts.get(POOLED, sum(count == 1 for count in self.counts.values()))
        return float(-np.log((alone + 0.5) / (self.total + 1.0)))

    def by_level(self, levels: Sequence[str]) -> Floats:
        """Return ``-log`` of the share of accounts with a level as rare, for levels that are kept."""
        ordered = sorted(self.shared.values())
        upto = dict(zip(ordered, self.counts.get(POOLED, 0) + np.cumsum(ordered), strict=True))
        shares = np.array([upto[self.counts[level]] for level in levels], dtype=np.float64)
        return np.asarray(-np.log(shares / max(self.total, 1)))


@dataclass(frozen=True, slots=True)
class ToolMargin:
    """How often each tool is used, and how many tools an account uses.

    Parameters
    ----------
    counts
        Folded tool name → number of training accounts, five at least.
    total
        Accounts whose stack is known.
    alone
        Accounts with a tool that fewer than five have.
    number
        Distribution of the number of tools; None if no stack is known.
    """

    counts: Mapping[str, int]
    total: int
    alone: int
    number: NumberMargin | None

    @classmethod
    def fit(cls, tools: Tools) -> ToolMargin:
        """Count the tools of one column."""
        uses = tools.uses[np.flatnonzero(tools.known)]
        found = np.asarray(uses.sum(axis=0)).ravel().astype(np.int64)
        alone = int((np.asarray(uses[:, np.flatnonzero(found < FLOOR)].sum(axis=1)).ravel() > 0).sum())
        counts = {name: int(n) for name, n in zip(tools.names, found, strict=True) if n >= FLOOR}
        bare = cls(counts, int(tools.known.sum()), alone, None)
        return cls(counts, bare.total, alone, NumberMargin.fit(bare.measure(tools)[0]))

    @property
    def new(self) -> float:
        """Surprise of one tool never seen."""
        return float(-np.log((self.alone + 0.5) / (self.total + 1.0)))

    def measure(self, tools: Tools) -> tuple[Floats, Floats, Floats]:
        """Return per row the number of known tools, their rarity (in sd), and the number of tools never seen.

        Number and rarity are NaN where the stack is unknown, the rarity also without a known tool.
        """
        n = max(self.total, 1)
        seen = np.array([name in self.counts for name in tools.names], dtype=np.float64)
        bits = -np.log(np.array([self.counts.get(name, n) for name in tools.names], dtype=np.float64) / n)
        shares = np.array(list(self.counts.values()), dtype=np.float64)
        usual = float(np.average(-np.log(shares / n), weights=shares)) if len(shares) else 0.0
        spread = float(np.average((-np.log(shares / n) - usual) ** 2, weights=shares)) if len(shares) else 0.0
        number = np.asarray(tools.uses @ seen, dtype=np.float64).ravel()
        total = np.asarray(tools.uses @ bits, dtype=np.float64).ravel()
        new = np.asarray(tools.uses @ (1.0 - seen), dtype=np.float64).ravel()
        some = np.maximum(number, 1.0)
        rarity = (total - usual * number) / np.sqrt(some * max(spread, 1e-12))
        rarity[(number == 0) | ~tools.known] = np.nan
        number[~tools.known] = np.nan
        return number, rarity, new

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON."""
        return {
            "counts": dict(self.counts),
            "total": self.total,
            "alone": self.alone,
            "number": None if self.number is None else self.number.to_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> ToolMargin:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range.
        """
        given = Given.of(state, "tools").record("counts", "total", "alone", "number")
        total, number = given["total"].whole(high=_MOST_ACCOUNTS), given.get("number")
        return cls(
            _counts(given["counts"], total),
            total,
            given["alone"].whole(high=total),
            None if number is None else NumberMargin.from_state(number),
        )


def _counts(given: Given, most: int = _MOST_ACCOUNTS) -> dict[str, int]:
    return {name: count.whole(low=1, high=most) for name, count in given.entries().items()}
