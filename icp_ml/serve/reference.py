"""What a score is measured against: the training accounts' own scores, values, levels and tools.

A score's percentile and its applicability come from here and never from the batch it's scored in, so that
the same account gets the same row alone, among a thousand, today and next year.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.floor import FLOOR, accounts_per_code, grouped_numbers
from icp_ml.data.schema import Schema
from icp_ml.errors import BundleError
from icp_ml.foreign import Given
from icp_ml.model.columns import Columns, read_columns
from icp_ml.model.folds import group_codes
from icp_ml.serve.typicality import EDGE, OUT, Typicality

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PERCENTILES = np.linspace(0.0, 100.0, 101)
TIERS = pd.CategoricalDtype(["D", "C", "B", "A"])
TIER_STARTS = (20.0, 50.0, 80.0)
APPLICABILITY = pd.CategoricalDtype(["in", "edge", "out"])
BASES = ("expected_nrr", "p_retained", "p_expanded")
RATIOS = ("expanded", "flat", "retained", "cap")
_RATIO_CAP_QUANTILE = 0.99
_LARGE = 1e300


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
    owner = group_codes(labels.get("account_id"), len(labels))[known]
    shared = grouped_numbers(ratio[known], owner, clip=False)
    few = not np.isfinite(shared).all()
    cap = float(np.quantile(ratio[known] if few else shared, _RATIO_CAP_QUANTILE))
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


def seen_values(
    features: pd.DataFrame, schema: Schema, groups: npt.NDArray[Any] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the levels and case-folded tools that five accounts had, sorted, per column that has such."""
    columns = read_columns(features, schema)
    owner = group_codes(groups, len(features))
    seen = {}
    for name, column in columns.categories.items():
        seen[name] = _shared(column.levels, accounts_per_code(column.codes, owner, len(column.levels)))
    for name, tools in columns.tools.items():
        users = np.repeat(owner, np.diff(tools.uses.indptr))
        seen[name] = _shared(tools.names, accounts_per_code(tools.uses.indices, users, len(tools.names)))
    return seen


def _shared(names: tuple[str, ...], held: npt.NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(sorted(name for name, n in zip(names, held, strict=True) if n >= FLOOR))


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
    seen
        Category or technologies column → the levels or tools that five training accounts had.
    typicality
        How unlike the training accounts a row is.
    """

    quantiles: tuple[float, ...]
    basis: str
    ratios: Ratios
    seen: Mapping[str, tuple[str, ...]]
    typicality: Typicality

    def percentile(self, fit_score: Floats) -> Floats:
        """Return where each score lies among the training accounts, 0-100; ties share the middle."""
        quantiles = np.asarray(self.quantiles)
        # Between neighbours that are nearly subnormal the slope overflows.
        quantiles = np.where(np.abs(quantiles) < 1e-290, 0.0, quantiles)
        values, first, count = np.unique(quantiles, return_index=True, return_counts=True)
        middle = PERCENTILES[first] + (count - 1) / 2.0
        return np.clip(np.interp(fit_score, values, middle, left=0.0, right=100.0), 0.0, 100.0)

    def unseen(self, columns: Columns) -> dict[str, int]:
        """Return feature → rows with a level or tool that isn't in ``seen``; features that have some."""
        counts: dict[str, int] = {}
        for name, known in self.seen.items():
            if new := int(_has_new(columns, name, frozenset(known)).sum()):
                counts[name] = new
        return counts

    def applicability(self, columns: Columns) -> pd.Categorical:
        """Return ``in``, ``edge`` or ``out`` per row, see :mod:`icp_ml.serve.applicability`."""
        return applicability_of(self.typicality.percentile(columns))

    def to_state(self) -> dict[str, Any]:
        """Return a plain dict for JSON; NaN becomes None."""
        ratios = self.ratios
        return {
            "quantiles": list(self.quantiles),
            "basis": self.basis,
            "ratios": {name: _or_none(getattr(ratios, name)) for name in RATIOS},
            "seen": {name: list(values) for name, values in self.seen.items()},
            "typicality": self.typicality.to_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | Given) -> Reference:
        """Rebuild what :meth:`to_state` wrote.

        Raises
        ------
        BundleError
            A field is missing, of another type or out of range, or the state was written before applicability
            was ranked on accounts left out.
        """
        given = Given.of(state, "reference")
        if isinstance(given.value, dict) and "typicality" not in given.value:
            raise BundleError(
                "expected a reference with a typicality, found one of an older icp_ml: train the model anew"
            )
        given.record("quantiles", "basis", "ratios", "seen", "typicality")
        ratios = {name: given["ratios"].record(*RATIOS).get(name) for name in RATIOS}
        return cls(
            quantiles=tuple(
                given["quantiles"].numbers(low=-_LARGE, high=_LARGE, length=len(PERCENTILES)).tolist()
            ),
            basis=given["basis"].choice(BASES),
            ratios=Ratios(
                **{
                    name: float("nan") if ratio is None else ratio.number(low=-_LARGE, high=_LARGE)
                    for name, ratio in ratios.items()
                }
            ),
            seen={name: values.texts() for name, values in given["seen"].entries().items()},
            typicality=Typicality.from_state(given["typicality"]),
        )

    def check_fields(self, given: Given, schema: Schema, targets: Sequence[str]) -> None:
        """Refuse what names other fields than a schema has, or ranks by what no target gives."""
        told = set(schema.of_kind("category", "technologies"))
        if wrong := sorted(set(self.seen) ^ told):
            given["seen"].refuse(
                "the levels and tools of every category and technologies feature", repr(wrong[0])
            )
        needed = {"p_retained": ["retained"], "p_expanded": ["expanded"], "expected_nrr": ["retained"]}
        if not set(needed[self.basis]) <= set(targets):
            given["basis"].refuse(f"what the targets {', '.join(targets)} give")
        used = ("expanded", "flat") if "expanded" in targets else ("retained",)
        if self.basis == "expected_nrr" and not all(np.isfinite(getattr(self.ratios, name)) for name in used):
            given["ratios"].refuse(f"the ratios {' and '.join(used)} for an expected NRR", "null")
        self.typicality.detector.check_fields(given["typicality"]["detector"], schema)


def tiers(icp_fit: Floats, capped: Flags) -> pd.Categorical:
    """Return the tier of each account: A from 80, B from 50, C from 20, else D; capped rows are D.

    Examples
    --------
    >>> tiers(np.array([99.0, 50.0, 19.9, 99.0]), np.array([False, False, False, True])).tolist()
    ['A', 'B', 'D', 'D']
    """
    passed = sum((icp_fit >= least).astype(np.int8) for least in TIER_STARTS)
    return pd.Categorical.from_codes(np.where(capped, 0, passed), dtype=TIERS)


def applicability_of(percentile: Floats) -> pd.Categorical:
    """Return ``in``, ``edge`` or ``out`` per percentile of atypicality.

    Examples
    --------
    >>> applicability_of(np.array([50.0, 97.5, 99.9])).tolist()
    ['in', 'edge', 'out']
    """
    passed = (percentile >= EDGE).astype(np.int8) + (percentile >= OUT)
    return pd.Categorical.from_codes(passed, dtype=APPLICABILITY)


def _has_new(columns: Columns, name: str, seen: frozenset[str]) -> Flags:
    if name in columns.categories:
        category = columns.categories[name]
        is_new = np.array([level not in seen for level in category.levels] + [False], dtype=bool)
        return np.asarray(is_new[category.codes], dtype=bool)
    tools = columns.tools[name]
    new = np.array([tool not in seen for tool in tools.names], dtype=np.float64)
    return np.asarray(tools.uses @ new, dtype=np.float64).ravel() > 0


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
