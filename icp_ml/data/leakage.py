"""Features that know the outcome: found one by one, before a model is proud of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.data.technologies import encode, flatten
from icp_ml.data.values import by_distinct
from icp_ml.errors import LeakageError

Floats = npt.NDArray[np.float64]

#: Area from which a single feature is refused.
LIMIT = 0.98
_LEAST_ROWS, _LEAST_EVENTS = 50, 5
_FOLDS, _BINS, _PRIOR_ROWS = 5, 20, 1.0

#: What a leak by a cell being filled or empty is called.
FILLED = "whether it is filled"


@dataclass(frozen=True, slots=True)
class Leak:
    """One feature that separates a target nearly by itself.

    Parameters
    ----------
    column
        Feature.
    target
        Target it gives away.
    what
        In which way: its value, one tool, or being filled.
    auc
        Area under the ROC curve of that alone, 0.5 to 1.
    errors
        By how many standard errors the area exceeds one half, were the two independent (Mann & Whitney 1947).
    tool
        The tool that separates, where it is one of a list.
    """

    column: str
    target: str
    what: str
    auc: float
    errors: float = np.inf
    tool: str | None = None


def check_leakage(
    dataset: Dataset, allow: Sequence[str] = (), measured: Sequence[Leak] | None = None
) -> None:
    """Refuse a dataset in which a single feature separates a target with an AUC of .98 or more.

    Looked at are values (ranks of numbers, out-of-fold rates of categories and of number ranges), each tool,
    and whether a cell is filled; on at least 50 known rows with at least 5 of each outcome.

    Parameters
    ----------
    dataset
        To be checked.
    allow
        Columns that are known to be honest.
    measured
        What :func:`measure` returned for the dataset; None measures it.

    Raises
    ------
    LeakageError
        Naming the columns; ``leaks`` holds a :class:`Leak` for each.
    """
    leaks = [leak for leak in find_leaks(dataset, measured) if leak.column not in allow]
    if not leaks:
        return
    columns = list(dict.fromkeys(leak.column for leak in leaks))
    shown = "; ".join(
        f"{leak.column} ({leak.what}) gives away {leak.target}, AUC {leak.auc:.3f}" for leak in leaks[:5]
    )
    raise LeakageError(
        f"expected no single feature to tell the outcome (AUC below {LIMIT}), found {len(columns)}: "
        f"{shown}. "
        f"Most likely it was filled in after the outcome: leave it out with drop={columns[:5]}, or, if it "
        "was "
        f"known before, let it in with allow={columns[:5]}",
        columns=columns,
        leaks=leaks,
    )


def find_leaks(dataset: Dataset, measured: Sequence[Leak] | None = None) -> list[Leak]:
    """Return every leak of a dataset, in the order of targets and features, one per target and feature."""
    found: dict[tuple[str, str], Leak] = {}
    for leak in measure(dataset) if measured is None else measured:
        if leak.auc >= LIMIT:
            found.setdefault((leak.target, leak.column), leak)
    return list(found.values())


def measure(dataset: Dataset) -> list[Leak]:
    """Return how well each feature alone separates each target, in every way that is looked at."""
    measured = []
    for target in dataset.targets:
        rows, y = dataset.target(target)
        if not _enough(y):
            continue
        folds = deal_folds(dataset.groups[rows])
        for feature in dataset.schema.features:
            column = dataset.features[feature.name].iloc[rows].reset_index(drop=True)
            known = y[column.notna().to_numpy()]
            for what, auc, tool in separations(column, feature.kind, y, folds):
                errors = (auc - 0.5) / _null_error(y if what == FILLED else known)
                measured.append(Leak(feature.name, target, what, auc, errors, tool))
    return measured


def _null_error(y: Floats) -> float:
    """Return the standard error of the area under the ROC curve of a feature independent of ``y``."""
    events = float(y.sum())
    others = len(y) - events
    return float(np.sqrt((len(y) + 1.0) / (12.0 * events * others))) if events and others else np.inf


def _enough(y: Floats) -> bool:
    events = min(float(y.sum()), float(len(y) - y.sum()))
    return len(y) >= _LEAST_ROWS and events >= _LEAST_EVENTS


def deal_folds(groups: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Deal groups to five folds, the same ones every time."""
    names, code = np.unique(groups.astype(str), return_inverse=True)
    dealt: npt.NDArray[np.int64] = np.random.default_rng(0).permutation(len(names))[code.ravel()] % _FOLDS
    return dealt


def separations(
    column: pd.Series[Any], kind: str, y: Floats, folds: npt.NDArray[np.int64]
) -> Iterator[tuple[str, float, str | None]]:
    """Yield in which way a column separates an outcome, by which area under the ROC curve, and the tool."""
    missing = column.isna().to_numpy()
    if missing.any():
        yield FILLED, _flag_auc(missing, y), None
    known = ~missing
    if kind == "technologies":
        yield from _tool_separations(column, y)
        return
    if not _enough(y[known]):
        return
    if kind == "category":
        codes, distinct = by_distinct(column)
        levels = np.where(codes < 0, len(distinct), codes)
        yield _level_text(distinct, levels, y), auc_of(out_of_fold_rates(levels, y, folds), y), None
        return
    values = column.to_numpy(dtype=np.float64)
    area = auc_of(values[known], y[known])
    yield "its value", max(area, 1.0 - area), None
    edges = np.unique(np.quantile(values[known], np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    bins = np.where(known, np.searchsorted(edges, values, side="right"), len(edges) + 1)
    yield "its range or being empty", auc_of(out_of_fold_rates(bins, y, folds), y), None


def _level_text(distinct: list[Any], levels: npt.NDArray[Any], y: Floats) -> str:
    counts = np.bincount(levels, minlength=len(distinct) + 1)
    rates = np.bincount(levels, weights=y, minlength=len(distinct) + 1) / np.maximum(counts, 1)
    frequent = np.argsort(-counts[: len(distinct)], kind="stable")[:3]
    return "values " + ", ".join(
        f"{distinct[place]!r}: {rates[place]:.0%} of {counts[place]}" for place in frequent
    )


def _tool_separations(column: pd.Series[Any], y: Floats) -> Iterator[tuple[str, float, str | None]]:
    rows, tools, _ = flatten(column)
    if not len(rows):
        return
    codes, distinct = encode(tools)
    held = np.bincount(codes, minlength=len(distinct))
    with_event = np.bincount(codes, weights=y[rows], minlength=len(distinct))
    hit, false = with_event / y.sum(), (held - with_event) / (len(y) - y.sum())
    areas = 0.5 + np.abs(hit - false) / 2.0
    best = int(np.argmax(areas))
    yield f"the tool {distinct[best]!r}", float(areas[best]), str(distinct[best])


def _flag_auc(flag: npt.NDArray[np.bool_], y: Floats) -> float:
    return 0.5 + abs(float(flag[y == 1].mean()) - float(flag[y == 0].mean())) / 2.0


def out_of_fold_rates(levels: npt.NDArray[Any], y: Floats, folds: npt.NDArray[np.int64]) -> Floats:
    """Return each row's target rate of its level, counted in the other folds only."""
    n = int(levels.max()) + 1
    total, events = np.bincount(levels, minlength=n), np.bincount(levels, weights=y, minlength=n)
    result = np.empty(len(y))
    for fold in range(_FOLDS):
        inside = folds == fold
        base = y[~inside].mean() if (~inside).any() else y.mean()
        count = total - np.bincount(levels[inside], minlength=n)
        hits = events - np.bincount(levels[inside], weights=y[inside], minlength=n)
        result[inside] = ((hits + base * _PRIOR_ROWS) / (count + _PRIOR_ROWS))[levels[inside]]
    return result


def auc_of(score: Floats, y: Floats) -> float:
    """Return the area under the ROC curve; ties count half."""
    ranks = pd.Series(score).rank(method="average").to_numpy()
    positives = float(y.sum())
    negatives = len(y) - positives
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))
