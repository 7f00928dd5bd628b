"""Find rows by account id: the joins of this room."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.windows import DateLike, known_by, to_days

Ints = npt.NDArray[np.int64]

_PARENT_STEPS = 10


def distinct_ids(ids: pd.Series[Any]) -> pa.Array:
    """Return the different ids, sorted."""
    found = pc.unique(_as_text(ids))
    return found.take(pc.sort_indices(found))


def positions(ids: pd.Series[Any], accounts: pa.Array) -> Ints:
    """Return the place of each id among ``accounts``, -1 where it isn't one of them."""
    found = pc.fill_null(pc.index_in(_as_text(ids), value_set=accounts), -1)
    return np.asarray(
        found.to_numpy(zero_copy_only=False) if isinstance(found, pa.Array) else found.to_numpy()
    ).astype(np.int64)


def _as_text(ids: pd.Series[Any]) -> Any:
    found = pa.array(ids.array, from_pandas=True)
    return found if found.type == pa.large_string() else found.cast(pa.large_string())


def rows_known(frame: pd.DataFrame, day: DateLike | None) -> npt.NDArray[np.bool_]:
    """Whether each row of ``accounts`` was known at the end of a day (None: any row is)."""
    known = np.ones(len(frame), dtype=np.bool_)
    for name in ("valid_from", "observed_at"):
        if day is not None and name in frame.columns:
            known &= known_by(frame[name], day)
    return known


def rows_in_force(frame: pd.DataFrame, accounts: pa.Array, day: DateLike | None) -> Ints:
    """Return each account's row of ``accounts`` as known at the end of a day, -1 where none was known.

    It is the row with the latest ``valid_from``, among these the latest ``observed_at``, else the first one.
    """
    place = positions(frame["account_id"], accounts)
    rows = np.flatnonzero(rows_known(frame, day) & (place >= 0))
    keys: list[Any] = [-rows]
    for name in ("observed_at", "valid_from"):
        if name in frame.columns:
            keys.append(to_days(frame[name]).astype(np.int64)[rows])
    order = np.lexsort([*keys, place[rows]])
    found = np.full(len(accounts), -1, dtype=np.int64)
    found[place[rows][order]] = rows[order]
    return found


def root_of(frame: pd.DataFrame, accounts: pa.Array) -> npt.NDArray[Any]:
    """Return the top parent of each account, itself where it has none.

    The parent is today's: it keeps a family together in a split and is no feature. Two accounts that name
    each other are one family, called by the lesser name.
    """
    names = np.asarray(accounts.to_numpy(zero_copy_only=False), dtype=object)
    if "parent_id" not in frame.columns:
        return names
    row = rows_in_force(frame, accounts, None)
    parent = frame["parent_id"].array.take(row).to_numpy(dtype=object) if len(frame) else names
    parent = np.where(pd.isna(parent), names, parent)
    root = parent
    for _ in range(_PARENT_STEPS):
        place = positions(pd.Series(root, dtype=object), accounts)
        above = np.where(place >= 0, parent[place], root)
        if (above == root).all():
            return root
        root = above
    place = positions(pd.Series(root, dtype=object), accounts)
    return np.minimum(root, np.where(place >= 0, parent[place], root))
