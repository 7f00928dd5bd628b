"""Rows that were not accepted: which rule refused which row, so that nothing disappears unseen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from icp_ml.data.values import TEXT_DTYPE

_COLUMNS = ("table", "rule", "row", "account_id", "found")


@dataclass(frozen=True, eq=False)
class Rejects:
    """The refused rows of all tables; a row is refused once, by the first rule it breaks.

    Parameters
    ----------
    frame
        ``table``, ``rule``, ``row`` (0-based row of the source), ``account_id``, ``found`` (the value).
    rows_in
        Rows read, per table; always rows accepted + rows refused.
    """

    frame: pd.DataFrame
    rows_in: dict[str, int]

    def __len__(self) -> int:
        """Return the number of refused rows."""
        return len(self.frame)

    def counts(self) -> pd.DataFrame:
        """Return how many rows each rule refused: ``table``, ``rule``, ``n``, most first."""
        grouped = self.frame.groupby(["table", "rule"], sort=True).size()
        found = pd.DataFrame(
            {
                "table": grouped.index.get_level_values(0),
                "rule": grouped.index.get_level_values(1),
                "n": grouped.to_numpy(dtype="int64"),
            }
        )
        ordered = found.sort_values(["n", "table", "rule"], ascending=[False, True, True], kind="stable")
        return ordered.reset_index(drop=True)

    @classmethod
    def of(cls, parts: Iterable[pd.DataFrame], rows_in: dict[str, int]) -> Rejects:
        """Collect the refused rows of several tables."""
        found = [part for part in parts if len(part)]
        if found:
            return cls(pd.concat(found, ignore_index=True)[list(_COLUMNS)], rows_in)
        empty = {name: pd.Series([], dtype="int64" if name == "row" else TEXT_DTYPE) for name in _COLUMNS}
        return cls(pd.DataFrame(empty), rows_in)
