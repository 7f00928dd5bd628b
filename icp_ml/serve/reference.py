"""What a score is measured against: the training accounts' own scores, ranges, levels and tools.

A score's percentile and its applicability come from here and never from the batch it's scored in, so that
the same account gets the same row alone, among a thousand, today and next year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.schema import Schema
from icp_ml.model.columns import Columns, Tools, read_columns

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PERCENTILES = np.linspace(0.0, 100.0, 101)
TIERS = (("A", 80.0), ("B", 50.0), ("C", 20.0))
LOWEST_TIER = "D"
OUT_SHARE = 0.2
"""Share of known fields outside the training range above which an account is ``out``; also the share of an
account's tools that may be new before its technologies field counts as outside."""
_RANGE_MARGIN = 0.05
_RATIO_CAP_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Ratios:
    """Mean ending/starting ARR of past accounts by outcome; NaN where no ARR is known.

    Parameters
    ----------
    expanded
        ARR-weighted mean ratio among expanded accounts.
    flat
        The same among accounts retained and not expanded.
    retained
        The same among all retained accounts, for a model without an expansion target.
    cap
        Ratio above which a single account's ratio was cut (99th percentile), so that one outlier can't
        carry the mean.
    """

    expanded: float = float("nan")
    flat: float = float("nan")
    retained: float = float("nan")
    cap: float = float("nan")

    def expected(self, p_retained: Floats | None, p_expanded: Floats | None) -> Floats | None:
        """Return the expected ratio per row, or None where no retention model or no ARR is known."""
        if p_retained is None:
            return None
        if p_expanded is None:
            return p_retained * self.retained
        flat_part = np.maximum(p_retained - p_expanded, 0.0) * self.flat
        return p_expanded * self.expanded + flat_part


def arr_ratios(labels: pd.DataFrame) -> Ratios:
    """Average the labels' ARR ratios by outcome.

    Parameters
    ----------
    labels
        Labels of a dataset: retained, expanded, starting_arr, arr_ratio.

    Returns
    -------
    The ratios; all NaN when no row has a known ARR.
    """
    ratio = labels["arr_ratio"].to_numpy(dtype=np.float64, na_value=np.nan)
    weight = labels["starting_arr"].to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(ratio) & np.isfinite(weight) & (weight > 0)
    if not known.any():
        return Ratios()
    retained = _true(labels, "retained") & known
    expanded = _true(labels, "expanded") & known
    cap = float(np.quantile(ratio[known], _RATIO_CAP_QUANTILE))
    cut = np.minimum(ratio, cap)
    return Ratios(
        expanded=_weighted_mean(cut, weight, expanded),
        flat=_weighted_mean(cut, weight, retained & ~expanded),
        retained=_weighted_mean(cut, weight, retained),
        cap=cap,
    )


def _true(labels: pd.DataFrame, name: str) -> Flags:
    if name not in labels:
        return np.zeros(len(labels), dtype=bool)
    return np.asarray(labels[name].fillna(False).astype(bool).to_numpy(), dtype=bool)


def _weighted_mean(values: Floats, weights: Floats, rows: Flags) -> float:
    if not rows.any():
        # No past account had this outcome, so its probability is about 0 and its ratio doesn't matter.
        return 0.0
    return float(np.average(values[rows], weights=weights[rows]))


@dataclass(frozen=True, slots=True)
class FieldRange:
    """What one feature looked like in training.

    Parameters
    ----------
    kind
        Kind of the feature, see :class:`icp_ml.data.schema.Feature`.
    low, high
        For a number: 1st and 99th percentile, widened by a twentieth of their distance; None if never known.
    known
        For a category its levels; for technologies the case-folded tools; sorted.
    """

    kind: str
    low: float | None = None
    high: float | None = None
    known: tuple[str, ...] = ()


def field_ranges(features: pd.DataFrame, schema: Schema) -> dict[str, FieldRange]:
    """Summarise each feature of a features frame by the values it took."""
    columns = read_columns(features, schema)
    return {name: _field_range(columns, name, schema.kind(name)) for name in schema.names}


def _field_range(columns: Columns, name: str, kind: str) -> FieldRange:
    if kind == "category":
        return FieldRange(kind, known=tuple(sorted(columns.categories[name].levels)))
    if kind == "technologies":
        return FieldRange(kind, known=tuple(sorted(columns.tools[name].names)))
    values = columns.numbers[name]
    values = values[np.isfinite(values)]
    if kind == "boolean" or not len(values):
        return FieldRange(kind)
    low, high = (float(value) for value in np.quantile(values, [0.01, 0.99]))
    margin = _RANGE_MARGIN * (high - low)
    return FieldRange(kind, low=low - margin, high=high + margin)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Per row and feature: known fields, fields outside the training range, and mentions never seen.

    Parameters
    ----------
    known, outside
        Fields known, and fields outside, per row; shape (n_rows,).
    values
        Feature → rows with a level or tool that training never saw; only features that have some.
    """

    known: npt.NDArray[np.int64]
    outside: npt.NDArray[np.int64]
    values: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reference:
    """The training accounts that later scores are compared with.

    Parameters
    ----------
    quantiles
        101 values: the 0th to 100th percentile of the training accounts' out-of-fold fit scores.
    basis
        What the fit score is: ``expected_nrr``, ``p_retained`` or ``p_expanded``.
    ratios
        ARR ratios by outcome, for the expected NRR.
    ranges
        Feature → what it looked like in training.
    """

    quantiles: tuple[float, ...]
    basis: str
    ratios: Ratios
    ranges: Mapping[str, FieldRange]

    def percentile(self, fit_score: Floats) -> Floats:
        """Return where each score lies among the training accounts, 0-100; ties share the middle."""
        values, first, count = np.unique(np.asarray(self.quantiles), return_index=True, return_counts=True)
        middle = PERCENTILES[first] + (count - 1) / 2.0
        # between subnormal neighbours the slope overflows
        return np.clip(np.interp(fit_score, values, middle, left=0.0, right=100.0), 0.0, 100.0)

    def unseen(self, features: pd.DataFrame, schema: Schema) -> Unseen:
        """Compare each row of a features frame with the training ranges."""
        columns = read_columns(features, schema)
        known = np.zeros(columns.n_rows, dtype=np.int64)
        outside = np.zeros(columns.n_rows, dtype=np.int64)
        values: dict[str, int] = {}
        for name, span in self.ranges.items():
            field = _compare(columns, name, span)
            known += field.known
            outside += field.outside
            if new := int(field.new.sum()):
                values[name] = new
        return Unseen(known, outside, values)

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON; NaN becomes None."""
        ratios = self.ratios
        return {
            "quantiles": list(self.quantiles),
            "basis": self.basis,
            "ratios": {
                name: _or_none(getattr(ratios, name)) for name in ("expanded", "flat", "retained", "cap")
            },
            "ranges": {
                name: {"kind": span.kind, "low": span.low, "high": span.high, "known": list(span.known)}
                for name, span in self.ranges.items()
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Reference:
        """Rebuild what :meth:`to_state` wrote."""
        return cls(
            quantiles=tuple(float(value) for value in state["quantiles"]),
            basis=str(state["basis"]),
            ratios=Ratios(**{k: float("nan") if v is None else float(v) for k, v in state["ratios"].items()}),
            ranges={
                name: FieldRange(span["kind"], span["low"], span["high"], tuple(span["known"]))
                for name, span in state["ranges"].items()
            },
        )


def tiers(icp_fit: Floats, capped: Flags) -> npt.NDArray[np.object_]:
    """Return the tier of each account: A from 80, B from 50, C from 20, else D; capped rows are D.

    Examples
    --------
    >>> tiers(np.array([99.0, 50.0, 19.9, 99.0]), np.array([False, False, False, True])).tolist()
    ['A', 'B', 'D', 'D']
    """
    tier = np.full(len(icp_fit), LOWEST_TIER, dtype=object)
    for name, least in reversed(TIERS):
        tier[icp_fit >= least] = name
    tier[capped] = LOWEST_TIER
    return tier


def applicability(unseen: Unseen) -> npt.NDArray[np.object_]:
    """Return ``in``, ``edge`` or ``out`` per row from its share of known fields outside the ranges."""
    share = unseen.outside / np.maximum(unseen.known, 1)
    answer = np.full(len(share), "edge", dtype=object)
    answer[unseen.outside == 0] = "in"
    answer[(share > OUT_SHARE) | (unseen.known == 0)] = "out"
    return answer


@dataclass(frozen=True, slots=True)
class _Field:
    """One feature of a batch: which rows know it, lie outside its range, hold a value never seen."""

    known: Flags
    outside: Flags
    new: Flags


def _compare(columns: Columns, name: str, span: FieldRange) -> _Field:
    if span.kind == "technologies":
        return _compare_tools(columns.tools[name], span)
    none = np.zeros(columns.n_rows, dtype=bool)
    if span.kind == "category":
        category = columns.categories[name]
        known, seen = category.codes >= 0, set(span.known)
        is_new = np.array([level not in seen for level in category.levels] + [False], dtype=bool)
        new = is_new[category.codes]
        return _Field(known, new, new)
    values = columns.numbers[name]
    known = ~np.isnan(values)
    if span.kind == "boolean":
        return _Field(known, none, none)
    if span.low is None or span.high is None:
        return _Field(known, known, none)
    return _Field(known, known & ~((values >= span.low) & (values <= span.high)), none)


def _compare_tools(tools: Tools, span: FieldRange) -> _Field:
    seen = set(span.known)
    is_new = np.array([name not in seen for name in tools.names], dtype=np.float64)
    mentions = np.asarray(tools.uses.sum(axis=1), dtype=np.float64).ravel()
    new = np.asarray(tools.uses @ is_new, dtype=np.float64).ravel()
    return _Field(tools.known, new > OUT_SHARE * mentions, new > 0)


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
