"""One customer under two account numbers: records that agree in every field, which is no accident.

A customer who was entered twice would confirm its own traits. Records that can't agree by chance are kept
together like subsidiaries of one parent: on one side of every split, and counted once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.schema import Schema
from icp_ml.data.technologies import flatten

Codes = npt.NDArray[np.int64]

#: Expected number of pairs that agree by chance, above which agreement says nothing.
CHANCE = 0.01
#: A column tells records apart when two agree in it at most this often; so many such columns are needed.
TELLING, LEAST_TELLING = 0.05, 3


def join_twins(
    features: pd.DataFrame, schema: Schema, groups: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], int]:
    """Give records that agree in every feature at the same snapshot one group.

    Parameters
    ----------
    features
        Features frame with ``as_of``.
    schema
        Kinds of its columns.
    groups
        Group of each row.

    Returns
    -------
    groups, n_joined
        The groups, each set of twins under the first one's name, and how many groups were joined to another.

    Notes
    -----
    Pairs expected to agree by chance: n (n - 1) / 2 times the product of each column's chance of agreement
    (its sum of squared shares), over columns in which at most one pair in twenty agrees. Nothing is joined
    where this exceeds 0.01 or fewer than three columns tell records apart, as in tables of a few categories,
    and no record in which fewer than three of those columns are filled.
    """
    columns = [_codes(features[feature.name], feature.kind) for feature in schema.features]
    agree = np.array([_agreement(codes) for codes in columns])
    telling = agree <= TELLING
    n = len(features)
    expected = 0.5 * n * (n - 1) * float(np.prod(np.maximum(agree[telling], 1e-9)))
    if int(telling.sum()) < LEAST_TELLING or expected > CHANCE:
        return groups, 0
    when = pd.factorize(features["as_of"], use_na_sentinel=False)[0].astype(np.int64)
    filled = np.stack([features[feature.name].notna() for feature in schema.features], axis=1)
    rows = np.flatnonzero(filled[:, telling].sum(axis=1) >= LEAST_TELLING)
    if len(rows) < 2:
        return groups, 0
    table = np.stack([when, *columns], axis=1)
    record = np.arange(n, 2 * n, dtype=np.int64)
    record[rows] = np.unique(table[rows], axis=0, return_inverse=True)[1].ravel()
    return _joined(groups, record)


def _joined(groups: npt.NDArray[Any], record: Codes) -> tuple[npt.NDArray[Any], int]:
    """Unite groups that share a record; each set keeps the name that comes first in the rows."""
    code, names = pd.factorize(groups)
    parent = np.arange(len(names))
    first = np.full(int(record.max()) + 1, -1, dtype=np.int64)

    def root(of: int) -> int:
        while parent[of] != of:
            of = parent[of]
        return of

    pairs = np.unique(np.stack([record, code], axis=1), axis=0)
    shared = np.flatnonzero(np.bincount(pairs[:, 0])[pairs[:, 0]] > 1)
    for number, group in pairs[shared].tolist():
        if first[number] < 0:
            first[number] = group
        else:
            one, other = sorted((root(int(first[number])), root(group)))
            parent[other] = one
    roots = np.array([root(number) for number in range(len(names))], dtype=np.int64)
    joined = int((roots != np.arange(len(names))).sum())
    return (np.asarray(names, dtype=object)[roots[code]], joined) if joined else (groups, 0)


def _codes(column: pd.Series[Any], kind: str) -> Codes:
    """Return a number for each distinct value of a column; what is unknown is a value as well."""
    if kind == "technologies":
        row, tools, known = flatten(column)
        order = np.lexsort((tools.to_numpy(dtype=object), row))
        stacks = pd.Series(tools.to_numpy(dtype=object)[order]).groupby(row[order]).agg("\0".join)
        texts = np.array(["" if is_known else None for is_known in known], dtype=object)
        texts[stacks.index] = stacks.to_numpy()
        return np.asarray(pd.factorize(texts, use_na_sentinel=False)[0], dtype=np.int64)
    return np.asarray(pd.factorize(column, use_na_sentinel=False)[0], dtype=np.int64)


def _agreement(codes: Codes) -> float:
    if len(codes) < 2:
        return 1.0
    counts = np.bincount(codes).astype(np.float64)
    n = float(len(codes))
    return float((counts * (counts - 1.0)).sum() / (n * (n - 1.0)))
