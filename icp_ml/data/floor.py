"""What a model may keep of its accounts: nothing that fewer than five of them share.

A bundle is copied, mailed and registered, so no level, tool or number in it may point at one account. Levels
and tools below the floor are pooled where each table is made. Numbers are grouped here, before anything is
fitted: neighbours in value are replaced by their mean, at least five accounts together (microaggregation:
Domingo-Ferrer and Mateo-Sanz 2002, *IEEE Transactions on Knowledge and Data Engineering* 14, 189-201). What
five accounts share stays as it is, so counts, years and yes/no hardly change.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.schema import Schema

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLOOR = 5
"""Least number of accounts that share what is kept of them."""


def accounts_per_code(codes: npt.NDArray[np.integer], groups: npt.NDArray[np.integer], n_codes: int) -> Ints:
    """Count the different groups that have each code; codes below 0 are unknown.

    Examples
    --------
    >>> accounts_per_code(np.array([0, 0, 1, -1]), np.array([7, 7, 8, 9]), 3).tolist()
    [1, 1, 0]
    """
    known = codes >= 0
    pairs = np.unique(np.stack([codes[known], groups[known]]), axis=1)[0]
    return np.bincount(pairs, minlength=n_codes).astype(np.int64)


def grouped_numbers(values: Floats, accounts: npt.NDArray[np.integer], *, clip: bool = True) -> Floats:
    """Replace each value that fewer than five accounts share by the mean of its neighbours in value.

    Parameters
    ----------
    values
        One per row, NaN = unknown.
    accounts
        Account number of each row.
    clip
        Whether the outermost groups take the middle of their two innermost values, so that one extreme
        account doesn't move them; a mean keeps what the tail sums to.

    Returns
    -------
    Values in the same order; all NaN where fewer than five accounts have one.

    Examples
    --------
    >>> grouped_numbers(np.array([1.0, 2, 3, 4, 5, 60, 7, 7, 7, 7, 7]), np.arange(11)).tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]
    """
    known = np.flatnonzero(np.isfinite(values))
    distinct, code = np.unique(values[known], return_inverse=True)
    if np.isin(distinct, (0.0, 1.0)).all():
        return values
    who = accounts[known]
    if len(np.unique(who)) < FLOOR:
        return np.full(len(values), np.nan)
    pairs = np.unique(np.stack([code, who]), axis=1)
    held = np.bincount(pairs[0], minlength=len(distinct))
    # Windows of this many different values of accounts hold five accounts at least.
    size = FLOOR * int(np.unique(pairs[1], return_counts=True)[1].max())
    kept = _grouped(distinct, held, size, clip=clip)
    if (distinct == np.floor(distinct)).all():
        kept = np.round(kept)
    result = values.copy()
    result[known] = kept[code]
    return result


def _grouped(distinct: Floats, held: npt.NDArray[np.integer], size: int, *, clip: bool) -> Floats:
    """Return what stands for each of the rising values."""
    kept = distinct.copy()
    shared = held >= FLOOR
    start = np.flatnonzero(~shared & np.append(True, shared[:-1]))
    end = np.flatnonzero(~shared & np.append(shared[1:], True)) + 1
    for first, last in zip(start.tolist(), end.tolist(), strict=True):
        before = np.cumsum(held[first:last]) - held[first:last]
        total = int(before[-1] + held[last - 1])
        if total < size:
            kept[first:last] = _nearest(distinct, first, last)
            continue
        # A value's accounts stay together, so the last one of a window may fill the next one's places.
        window = size + int(held[first:last].max()) - 1
        number = np.minimum(before // window, max(total // window - 1, 0))
        opens = np.searchsorted(number, np.arange(number[-1] + 1))
        weights = np.add.reduceat(held[first:last], opens)[number]
        means = np.add.reduceat(distinct[first:last] * (held[first:last] / weights), opens)
        if clip and first == 0:
            means[0] = _middle(distinct[first:last][number == 0][-2:])
        if clip and last == len(distinct):
            means[-1] = _middle(distinct[first:last][number == number[-1]][:2])
        kept[first:last] = means[number]
    return kept


def _nearest(distinct: Floats, first: int, last: int) -> Floats:
    """Return the shared neighbour that is nearer to each of a few values; without one, their middle."""
    inside = distinct[first:last]
    below = distinct[first - 1] if first > 0 else -np.inf
    above = distinct[last] if last < len(distinct) else np.inf
    if not np.isfinite([below, above]).any():
        return np.full(len(inside), _middle(np.quantile(inside, [0.25, 0.75])))
    with np.errstate(over="ignore"):
        return np.where(inside - below <= above - inside, below, above)


def _middle(values: Floats) -> float:
    return float((values / len(values)).sum())


def grouped_features(
    features: pd.DataFrame, schema: Schema, accounts: npt.NDArray[np.integer]
) -> pd.DataFrame:
    """Return features whose numbers are those of :func:`grouped_numbers`; nothing else changes."""
    found = features.copy(deep=False)
    for name in schema.of_kind("numeric"):
        values = pd.to_numeric(found[name]).to_numpy(dtype=np.float64, na_value=np.nan)
        found[name] = grouped_numbers(values, accounts)
    return found
