"""Exact contributions of additive models: one function of steps, or of lines, per encoded column.

A tree with one split adds a step to one column. All trees of all bags together are a table per column,
looked up with one binary search, equal to LightGBM's own ``pred_contrib`` to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np

from icp_ml.errors import InputMismatchError
from icp_ml.model.arrays import check_finite, check_range, check_shape
from icp_ml.model.columns import Floats, Ints
from icp_ml.model.fasttree.parse import CATEGORICAL, DEFAULT_LEFT, MISSING_NAN, MISSING_ZERO, Forest

_SAID = ("steps", "missing")
KERNEL_ROWS = 2_000
"""Rows from which numba is worth its import."""


@dataclass(frozen=True, slots=True)
class StepTable:
    """The function of one encoded column in each bag: steps, or lines between thresholds.

    Parameters
    ----------
    column
        Position of the encoded column.
    thresholds
        Ascending; a value on a threshold belongs to the step on its left.
    steps
        Contribution per step and bag, shape (thresholds + 1, bags), centred on the training mean.
    missing
        Contribution of an unknown value per bag.
    slopes
        What a step adds per unit above the threshold on its left (the first step: below the first
        threshold), shape of ``steps``; None where all are flat.
    """

    column: int
    thresholds: Floats
    steps: Floats
    missing: Floats
    slopes: Floats | None = None


@dataclass(frozen=True)
class StepTables:
    """All step functions of a bag of additive boosters.

    Parameters
    ----------
    tables
        One per encoded column that any tree splits on.
    base
        Expected value per bag.
    n_columns
        Number of encoded columns.

    Raises
    ------
    InputMismatchError
        If a table's column is none of the encoded ones, its lists have other lengths than its thresholds and
        the bag want, thresholds don't rise or a number isn't finite: compiled code relies on all of these.
    """

    tables: tuple[StepTable, ...]
    base: Floats
    n_columns: int

    def __post_init__(self) -> None:
        n_bags = len(self.base)
        check_shape("base values", self.base, (max(n_bags, 1),))
        check_finite("base values", self.base)
        if not self.tables:
            return
        check_range("columns of steps", np.array([table.column for table in self.tables]), self.n_columns)
        for table in self.tables:
            shape = (len(table.thresholds) + 1, n_bags)
            fits = table.steps.shape == shape and table.missing.shape == (n_bags,) and shape[0] > 1
            if not fits or not (table.slopes is None or table.slopes.shape == shape):
                check_shape(f"thresholds of column {table.column}", table.thresholds, (max(1, shape[0] - 1),))
                check_shape(f"steps of column {table.column}", table.steps, shape)
                check_shape(f"steps of unknown values of column {table.column}", table.missing, (n_bags,))
                check_shape(f"slopes of column {table.column}", np.asarray(table.slopes), shape)
        cuts = np.concatenate([table.thresholds for table in self.tables])
        rises = cuts[1:] > cuts[:-1]
        rises[np.cumsum([len(table.thresholds) for table in self.tables[:-1]], dtype=np.int64) - 1] = True
        if np.isnan(cuts).any() or not rises.all():
            raise InputMismatchError(
                "expected rising thresholds of steps, found others: save the model again"
            )
        check_finite("steps", *(np.concatenate([getattr(t, name) for t in self.tables]) for name in _SAID))
        check_finite("slopes", *(table.slopes for table in self.tables if table.slopes is not None))

    def raw(self, X: Floats) -> Floats:
        """Return log-odds averaged over bags."""
        return np.asarray(self._look_up(X, self._means, np.empty((0, 0)), 1.0)[0])

    def raw_bags(self, X: Floats) -> Floats:
        """Return log-odds of each bag, shape (bags, rows)."""
        return self._look_up(X, self._all, np.empty((0, 0)), 1.0)[1:]

    def add_to(self, parts: Floats, X: Floats, scale: float) -> tuple[Floats, Floats]:
        """Return what :meth:`raw` and :meth:`raw_bags` return, and add contributions to ``parts``.

        Parameters
        ----------
        parts
            Shape (encoded columns, rows); contributions averaged over bags are added, times ``scale``.
        X
            Encoded matrix.
        scale
            Weight of the tables.
        """
        totals = self._look_up(X, self._all, parts, scale)
        return totals[0], totals[1:]

    @cached_property
    def _means(self) -> _Flat:
        return _flat(self.tables, self.base, bags=False)

    @cached_property
    def _all(self) -> _Flat:
        return _flat(self.tables, self.base, bags=True)

    def _look_up(self, X: Floats, flat: _Flat, parts: Floats, scale: float) -> Floats:
        if X.ndim != 2 or X.shape[1] != self.n_columns:
            check_shape("encoded rows", X, (len(X), self.n_columns))
        if len(parts):
            check_shape("contributions", parts, X.shape[::-1])
        totals = np.repeat(flat.base[:, None], len(X), axis=1)
        if by_kernel(len(X)):
            from icp_ml.model.stepkernel import look_up

            look_up(
                X,
                flat.columns,
                flat.thresholds,
                flat.start,
                flat.values,
                flat.slopes,
                flat.anchors,
                totals,
                parts,
                scale,
            )
            return totals
        for t, column in enumerate(flat.columns.tolist()):
            first, last = int(flat.start[t]), int(flat.start[t + 1])
            values = X[:, column]
            place = np.searchsorted(flat.thresholds[first:last], values, side="left")
            place = np.where(
                np.isnan(values), flat.values.shape[1] - len(flat.columns) + t, first + t + place
            )
            steps = flat.values[:, place]
            if flat.slopes.shape[1]:
                above = np.where(np.isnan(values), 0.0, values - flat.anchors[place])
                steps += flat.slopes[:, place] * above
            totals += steps
            if len(parts):
                parts[column] += scale * steps[0]
        return totals


@dataclass(frozen=True, slots=True)
class _Flat:
    """All tables end to end: mean over bags first, then the bags.

    Parameters
    ----------
    start
        First threshold of each table, and their number.
    values
        Shape (width, steps of all tables, then what each says of an unknown value).
    slopes
        What each of ``values`` adds per unit above its anchor; no columns if all are flat.
    anchors
        Where each of ``values`` is what a slope starts from.
    """

    columns: Ints
    thresholds: Floats
    start: Ints
    values: Floats
    slopes: Floats
    anchors: Floats
    base: Floats


def _flat(tables: tuple[StepTable, ...], base: Floats, *, bags: bool) -> _Flat:
    width = 1 + len(base) if bags else 1

    def widened(steps: Floats) -> Floats:
        return np.column_stack([steps.mean(axis=1), steps])[:, :width]

    def end_to_end(steps: list[Floats], missing: list[Floats]) -> Floats:
        rows = [*steps, *(row[None, :] for row in missing)]
        return np.ascontiguousarray(np.concatenate([np.empty((0, width)), *map(widened, rows)]).T)

    level, unknown = [np.zeros_like(table.missing) for table in tables], np.zeros(len(tables))
    slopes = [np.zeros_like(table.steps) if table.slopes is None else table.slopes for table in tables]
    return _Flat(
        np.array([table.column for table in tables], dtype=np.int64),
        np.concatenate([np.empty(0), *(table.thresholds for table in tables)]),
        np.cumsum([0, *(len(table.thresholds) for table in tables)]),
        end_to_end([table.steps for table in tables], [table.missing for table in tables]),
        end_to_end(slopes, level) if any(map(np.any, slopes)) else np.empty((width, 0)),
        np.concatenate([*(np.append(table.thresholds[0], table.thresholds) for table in tables), unknown]),
        np.append(base.mean(), base)[:width],
    )


def add_bags(bags: Floats) -> Floats:
    """Sum over bags one by one: numpy adds up a single row in another order than many."""
    total = np.zeros(bags.shape[1])
    for bag in bags:
        total += bag
    return total


def sums_by_source(parts: Floats, source_of: Ints, n_sources: int) -> Floats:
    """Add up contributions (rows × encoded columns) by the source of each column; rows × sources."""
    check_shape("sources", source_of, (min(len(source_of), parts.shape[1]),))
    check_range("sources", source_of, n_sources)
    summed = np.zeros((n_sources, len(parts)))
    if by_kernel(len(parts)):
        from icp_ml.model.stepkernel import add_up

        add_up(parts, source_of, summed)
    else:
        for j, source in enumerate(source_of.tolist()):
            summed[source] += parts[:, j]
    return summed.T


def by_kernel(rows: int) -> bool:
    """Whether so many rows are worth numba, and it's installed."""
    return rows >= KERNEL_ROWS and has_numba()


def has_numba() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def compile_steps(bags: list[Forest], n_columns: int) -> StepTables:
    """Compile bags of trees with at most one split each.

    Parameters
    ----------
    bags
        The trees of each bag, see :func:`icp_ml.model.fasttree.parse.parse_model`.
    n_columns
        Number of encoded columns.

    Raises
    ------
    ValueError
        If a tree has more than one split, or splits on a category or on zero as missing.
    """
    base = np.zeros(len(bags))
    splits: dict[int, list[tuple[int, float, float, float, float]]] = {}
    for bag, forest in enumerate(bags):
        for tree in forest.trees:
            mean = tree.expected_value()
            base[bag] += mean
            if len(tree.feature) == 0:
                continue
            if len(tree.feature) > 1:
                raise ValueError("expected trees with one split, found a deeper tree: use pred_contrib")
            decision = int(tree.decision[0])
            if decision & CATEGORICAL or decision >> 2 == MISSING_ZERO:
                raise ValueError(
                    "expected numeric splits where zero is a value, found another kind: use pred_contrib"
                )
            threshold = float(tree.threshold[0])
            unknown_left = bool(decision & DEFAULT_LEFT) if decision >> 2 == MISSING_NAN else threshold >= 0.0
            low, high = tree.leaf_value[~tree.left[0]] - mean, tree.leaf_value[~tree.right[0]] - mean
            splits.setdefault(int(tree.feature[0]), []).append(
                (bag, threshold, low, high, low if unknown_left else high)
            )
    tables = tuple(_table(column, splits[column], len(bags)) for column in sorted(splits))
    return StepTables(tables, base, n_columns)


def _table(column: int, splits: list[tuple[int, float, float, float, float]], n_bags: int) -> StepTable:
    thresholds = np.unique([threshold for _, threshold, *_ in splits])
    steps = np.zeros((len(thresholds) + 1, n_bags))
    missing = np.zeros(n_bags)
    for bag, threshold, low, high, unknown in splits:
        place = int(np.searchsorted(thresholds, threshold, side="left")) + 1
        steps[:place, bag] += low
        steps[place:, bag] += high
        missing[bag] += unknown
    return StepTable(column, thresholds, steps, missing)
