"""Everything a trait search looks at: candidates cut into bins, counted per account.

Cutting uses feature values only, never an outcome, so that it can't help to find what isn't there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data import ladders
from icp_ml.data.floor import FLOOR
from icp_ml.data.schema import Schema
from icp_ml.insight import columns
from icp_ml.insight.predicates import Predicate

Search = Literal["interval", "ladder", "levels", "single"]
Array = npt.NDArray[np.float64]
MIN_ACCOUNTS = 10
MISSING_SHARE = (0.02, 0.98)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that may turn out to be a trait.

    Parameters
    ----------
    feature
        Feature column.
    search
        ``interval``: the best contiguous run of bins; ``ladder``: the best run of ordered levels; ``levels``:
        the best group of levels; ``single``: one bin.
    labels
        ``levels``: the level of each bin (None = pooled rare levels). ``ladder``: the levels of each bin.
        ``single``: (operator, value) of the bin.
    edges
        ``interval``: the inner bin edges in feature units, ascending; bin b is edges[b-1] <= x < edges[b].
    family
        Column type for pooling: ``numeric``, ``category``, ``boolean``, ``technologies`` or ``missing``.
    """

    feature: str
    search: Search
    family: str
    labels: tuple[Any, ...] = ()
    edges: tuple[float, ...] = ()

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        if self.search == "interval":
            return len(self.edges) + 1
        return 1 if self.search == "single" else len(self.labels)

    @property
    def key(self) -> str:
        """Short unique name: the feature, with the tool or ``is missing`` where a feature has several."""
        if self.search == "single":
            operator, value = self.labels
            return (
                f"{self.feature}: {value}"
                if self.family == "technologies"
                else (f"{self.feature} is missing" if operator == "is missing" else self.feature)
            )
        return self.feature

    def predicate(self, chosen: npt.NDArray[np.bool_]) -> Predicate:
        """Return the condition "the account is in one of the chosen bins"."""
        if self.search == "single":
            operator, value = self.labels
            return Predicate(self.feature, operator, value)
        if self.search == "ladder":
            levels = (level for held, use in zip(self.labels, chosen, strict=True) if use for level in held)
            return Predicate(self.feature, "in", tuple(sorted(levels)))
        if self.search == "levels":
            picked = (
                label for label, use in zip(self.labels, chosen, strict=True) if use and label is not None
            )
            return Predicate(self.feature, "in", tuple(sorted(picked)))
        inside = np.flatnonzero(chosen)
        first, last = int(inside[0]), int(inside[-1])
        low = None if first == 0 else self.edges[first - 1]
        high = None if last == len(self.edges) else self.edges[last]
        return Predicate(self.feature, "between", (low, high))


@dataclass(frozen=True, slots=True)
class Design:
    """All candidates of a frame, counted per account.

    Parameters
    ----------
    candidates
        In the order of the schema.
    starts
        First bin column of each candidate, shape (m + 1,).
    row, column
        Long form of the row-level indicator: row position and bin column of every hit.
    known
        Row-level share of knowledge: True where the candidate's field is known, shape (rows, m) as bytes.
    n_rows
        Number of rows of the frame.
    """

    candidates: tuple[Candidate, ...]
    starts: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    known: npt.NDArray[np.int8]
    n_rows: int

    @property
    def n_bins(self) -> int:
        """Total number of bin columns."""
        return int(self.starts[-1])

    def bins_of(self, candidate: int) -> slice:
        """Return the bin columns of a candidate."""
        return slice(int(self.starts[candidate]), int(self.starts[candidate + 1]))

    def dense(self, candidate: int) -> Array:
        """Return which bin of a candidate each row is in, 0.0 or 1.0; shape (rows, bins)."""
        columns = self.bins_of(candidate)
        hits = np.flatnonzero((self.column >= columns.start) & (self.column < columns.stop))
        out = np.zeros((self.n_rows, columns.stop - columns.start))
        out[self.row[hits], self.column[hits] - columns.start] = 1.0
        return out

    def meets(self, candidate: int, chosen: npt.NDArray[np.bool_]) -> Array:
        """Return whether each row is in one of the chosen bins, 0.0 or 1.0, NaN = unknown; shape (rows,)."""
        return np.where(self.known[:, candidate] > 0, self.dense(candidate) @ chosen, np.nan)

    def per_account(self, account: npt.NDArray[np.int64], n_accounts: int, weights: Array) -> Array:
        """Sum row weights per account and bin; shape (n_accounts, n_bins)."""
        flat = account[self.row] * self.n_bins + self.column
        total = np.bincount(flat, weights=weights[self.row], minlength=n_accounts * self.n_bins)
        return np.asarray(total.reshape(n_accounts, self.n_bins), dtype=np.float64)

    def known_per_account(self, account: npt.NDArray[np.int64], n_accounts: int, weights: Array) -> Array:
        """Sum the weights of rows with a known field, per account and candidate; shape (n_accounts, m)."""
        out = np.zeros((n_accounts, len(self.candidates)))
        for j in range(len(self.candidates)):
            out[:, j] = np.bincount(account, weights=weights * self.known[:, j], minlength=n_accounts)
        return out


def build_design(
    features: pd.DataFrame,
    schema: Schema,
    account: npt.NDArray[np.int64],
    *,
    max_bins: int = 12,
    skip: Sequence[str] = (),
) -> Design:
    """Cut every feature of a frame into candidates and bins.

    Parameters
    ----------
    features
        Features frame (architecture: ``Dataset.features``), one row per account and snapshot.
    schema
        Kinds of its columns.
    account
        Account number of each row, 0..n-1.
    max_bins
        Most quantile bins of a numeric feature.
    skip
        Feature names left out.
    """
    counter = _Counter(account)
    parts: list[tuple[Candidate, Array | None, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for feature in schema.features:
        if feature.name in skip or feature.name not in features.columns:
            continue
        column = features[feature.name]
        if feature.kind == "numeric":
            parts += _numeric(feature.name, columns.numbers(column), counter, max_bins)
        elif feature.kind == "boolean":
            parts += _boolean(feature.name, columns.numbers(column), counter)
        elif feature.kind == "category":
            parts += _category(feature.name, columns.texts(column), counter)
        else:
            parts += _technologies(feature.name, columns.tools(column), counter)
        parts += _missing(feature.name, column.isna().to_numpy(dtype=bool), counter)
    starts = np.concatenate([[0], np.cumsum([part[0].n_bins for part in parts])]).astype(np.int64)
    known = np.ones((len(features), len(parts)), dtype=np.int8)
    rows, cols = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for j, (_, is_known, row, code) in enumerate(parts):
        if is_known is not None:
            known[:, j] = is_known
        rows.append(row)
        cols.append(code + starts[j])
    return Design(
        tuple(part[0] for part in parts),
        starts,
        np.concatenate(rows),
        np.concatenate(cols),
        known,
        len(features),
    )


_Part = tuple[Candidate, "Array | None", npt.NDArray[np.int64], npt.NDArray[np.int64]]


class _Counter:
    """Count distinct accounts among rows."""

    def __init__(self, account: npt.NDArray[np.int64]) -> None:
        self.account = account
        self.total = int(account.max()) + 1 if len(account) else 0

    def __call__(self, rows: npt.NDArray[Any]) -> int:
        return len(np.unique(self.account[rows]))

    def per_code(self, rows: npt.NDArray[np.int64], code: npt.NDArray[np.int64], count: int) -> Array:
        pairs = np.unique(self.account[rows] * max(count, 1) + code)
        return np.bincount(pairs % max(count, 1), minlength=count).astype(np.float64)

    def usable(self, held: Array) -> npt.NDArray[np.bool_]:
        least = max(MIN_ACCOUNTS, 0.01 * self.total)
        return np.asarray((held >= least) & (held <= min(0.99 * self.total, self.total - MIN_ACCOUNTS)))


def _numeric(name: str, values: Array, counter: _Counter, max_bins: int) -> list[_Part]:
    is_known = ~np.isnan(values)
    edges = cut_points(values[is_known], max_bins)
    if not edges:
        return []
    rows = np.flatnonzero(is_known)
    code = np.searchsorted(np.asarray(edges), values[rows], side="right").astype(np.int64)
    return [(Candidate(name, "interval", "numeric", edges=edges), is_known.astype(np.float64), rows, code)]


def _boolean(name: str, values: Array, counter: _Counter) -> list[_Part]:
    is_known = ~np.isnan(values)
    rows = np.flatnonzero(values == 1.0)
    if not counter.usable(np.array([counter(rows)], dtype=np.float64))[0] and not (
        counter(np.flatnonzero(values == 0.0)) >= MIN_ACCOUNTS <= counter(rows)
    ):
        return []
    candidate = Candidate(name, "single", "boolean", labels=("has", True))
    return [(candidate, is_known.astype(np.float64), rows, np.zeros(len(rows), dtype=np.int64))]


def _category(name: str, values: npt.NDArray[np.object_], counter: _Counter) -> list[_Part]:
    code, levels = columns.codes(values)
    is_known = code >= 0
    rows = np.flatnonzero(is_known)
    held = counter.per_code(rows, code[rows], len(levels))
    if (order := ladders.steps([str(level) for level in levels])) is not None:
        # A level of a few accounts isn't named, so rows that have it can't be judged.
        named = held >= FLOOR
        rungs, labels_of = _rungs(np.asarray(order)[named], held[named], levels[named])
        if len(labels_of) < 2:
            return []
        ladder = Candidate(name, "ladder", "category", labels=labels_of)
        is_known[rows] = named[code[rows]]
        rows = np.flatnonzero(is_known)
        return [(ladder, is_known.astype(np.float64), rows, rungs[(np.cumsum(named) - 1)[code[rows]]])]
    frequent = held >= MIN_ACCOUNTS
    labels: list[Any] = [level for level, keep in zip(levels, frequent, strict=True) if keep]
    place = np.full(len(levels), len(labels), dtype=np.int64)
    place[frequent] = np.arange(len(labels))
    if not frequent.all():
        labels.append(None)
    if len(labels) < 2 or not frequent.any():
        return []
    candidate = Candidate(name, "levels", "category", labels=tuple(labels))
    return [(candidate, is_known.astype(np.float64), rows, place[code[rows]])]


def _rungs(
    order: npt.NDArray[np.int64], held: Array, levels: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.int64], tuple[tuple[Any, ...], ...]]:
    """Join rare steps with the one below (the lowest with the one above): bins, and levels of each."""
    step = order
    size = np.bincount(step, weights=held)
    bin_of, current, filled = np.zeros(len(size), dtype=np.int64), 0, 0.0
    for number, count in enumerate(size.tolist()):
        if filled >= MIN_ACCOUNTS and count >= MIN_ACCOUNTS:
            current, filled = current + 1, 0.0
        bin_of[number] = current
        filled += count
    rungs = bin_of[step]
    return rungs, tuple(
        tuple(level for level, rung in zip(levels, rungs, strict=True) if rung == b)
        for b in range(current + 1)
    )


def _technologies(name: str, parts: columns.Tools, counter: _Counter) -> list[_Part]:
    folded = np.array([tool.casefold() for tool in parts.tool], dtype=object)
    code, keys = columns.codes(folded) if len(folded) else (np.zeros(0, dtype=np.int64), folded)
    keep = counter.usable(counter.per_code(parts.row, code, len(keys)))
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(keys) + 1))
    known = parts.known.astype(np.float64)
    out: list[_Part] = []
    for number in np.flatnonzero(keep):
        hits = order[bounds[number] : bounds[number + 1]]
        rows = np.unique(parts.row[hits])
        written, times = np.unique(parts.tool[hits].astype(str), return_counts=True)
        label = str(written[int(np.argmax(times))])
        candidate = Candidate(name, "single", "technologies", labels=("has", label))
        out.append((candidate, known, rows, np.zeros(len(rows), dtype=np.int64)))
    return out


def _missing(name: str, is_missing: npt.NDArray[np.bool_], counter: _Counter) -> list[_Part]:
    share = float(is_missing.mean()) if len(is_missing) else 0.0
    rows = np.flatnonzero(is_missing)
    if not MISSING_SHARE[0] <= share <= MISSING_SHARE[1] or counter(rows) < MIN_ACCOUNTS:
        return []
    candidate = Candidate(name, "single", "missing", labels=("is missing", None))
    return [(candidate, None, rows, np.zeros(len(rows), dtype=np.int64))]


def cut_points(values: Array, max_bins: int, *, slack: float = 0.01) -> tuple[float, ...]:
    """Choose inner bin edges: quantiles of the values, moved to rounder numbers where that costs little.

    Parameters
    ----------
    values
        Known values, any order.
    max_bins
        Most bins; fewer come out when values repeat.
    slack
        Largest share of rows that rounding an edge may move to the neighbouring bin.

    Examples
    --------
    >>> cut_points(np.arange(1.0, 1001.0), 4)
    (250.0, 500.0, 750.0)
    >>> cut_points(np.array([0.0, 1.0, 0.0, 1.0, 1.0]), 10)
    (1.0,)
    """
    ordered = np.sort(values)
    n = len(ordered)
    if n == 0 or ordered[0] == ordered[-1]:
        return ()
    distinct = np.unique(ordered)
    if len(distinct) <= max_bins:
        uppers = distinct[1:]
    else:
        at = np.floor(np.arange(1, max_bins) / max_bins * n).astype(np.int64)
        uppers = np.unique(ordered[at])
        uppers = uppers[uppers > ordered[0]]
    whole = bool((distinct == np.round(distinct)).all())
    edges: list[float] = []
    for upper in uppers:
        lower = float(distinct[int(np.searchsorted(distinct, upper)) - 1])
        edge = _rounded_edge(ordered, lower, float(upper), slack, whole)
        below = int(np.searchsorted(ordered, edge, side="left"))
        previous = int(np.searchsorted(ordered, edges[-1], side="left")) if edges else 0
        if previous < below < n:
            edges.append(edge)
    return tuple(edges)


def _rounded_edge(ordered: Array, lower: float, upper: float, slack: float, whole: bool) -> float:
    """Find the roundest number that parts (nearly) the same rows; between counts only whole numbers."""
    place = int(np.searchsorted(ordered, upper, side="left"))
    exact = upper if whole or upper - lower <= 1e-9 * max(abs(upper), 1.0) else 0.5 * (lower + upper)
    for steps in (1, 2, 4, 10, 20, 100, 1000):
        for middle in dict.fromkeys((exact, upper)):
            rounded = _round_to(middle, steps)
            if whole and not rounded.is_integer():
                continue
            moved = abs(int(np.searchsorted(ordered, rounded, side="left")) - place)
            if moved == 0 or moved < slack * len(ordered):
                return rounded
    return upper


def _round_to(value: float, steps: int) -> float:
    """Round to the nearest number of ``steps`` steps per decade unit; one step means 1, 2, 5 or 10."""
    if value == 0.0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(abs(value)))
    scaled = abs(value) / unit
    if steps == 1:
        near = min((1.0, 2.0, 5.0, 10.0), key=lambda nice: abs(math.log(scaled / nice)))
    else:
        near = round(scaled * steps / 2) / (steps / 2)
    return math.copysign(float(f"{near * unit:.10g}"), value)
