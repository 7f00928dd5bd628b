"""One table on its way through the rules: which rows still stand, and which rule refused the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.values import TEXT_DTYPE, shown_text

Bools = npt.NDArray[np.bool_]


class Screen:
    """A table under check; the first rule that refuses a row keeps it.

    Parameters
    ----------
    table
        Name of the table.
    frame
        Its rows as read; the position is the row number reported.
    """

    def __init__(self, table: str, frame: pd.DataFrame) -> None:
        self.table = table
        self.frame = frame.reset_index(drop=True)
        self._raw: dict[str, pd.Series[Any]] = {}
        self._rules: list[tuple[str, str]] = []
        self._rule = np.full(len(frame), -1, dtype=np.int16)

    @property
    def n_rows(self) -> int:
        """Rows read."""
        return len(self.frame)

    def replace(self, column: str, values: pd.Series[Any]) -> None:
        """Put typed values in place of the raw ones; refused rows keep the raw value in the report."""
        if (self._rule >= 0).any() and column not in self._raw:
            self._raw[column] = self.frame[column]
        self.frame = self.frame.assign(**{column: values})

    def refuse(self, mask: Bools, rule: str, column: str) -> None:
        """Refuse the rows of ``mask`` that no earlier rule refused; ``column`` holds the offending value."""
        new = mask & (self._rule < 0)
        if new.any():
            if (rule, column) not in self._rules:
                self._rules.append((rule, column))
            self._rule[new] = self._rules.index((rule, column))

    def refuse_duplicates(self, columns: Sequence[str], rule: str) -> None:
        """Refuse standing rows that repeat an earlier standing row's values in ``columns``."""
        standing = self._rule < 0
        twice = np.zeros(self.n_rows, dtype=np.bool_)
        twice[standing] = self.frame.loc[standing, list(columns)].duplicated().to_numpy()
        self.refuse(twice, rule, columns[0])

    def accepted(self) -> pd.DataFrame:
        """Return the rows that no rule refused."""
        standing = self._rule < 0
        return self.frame if standing.all() else self.frame[standing].reset_index(drop=True)

    def counts(self) -> dict[str, int]:
        """Return how many rows each rule refused."""
        found: dict[str, int] = {}
        for place, (rule, _) in enumerate(self._rules):
            found[rule] = found.get(rule, 0) + int((self._rule == place).sum())
        return found

    def refused(self) -> pd.DataFrame:
        """Return the refused rows: table, rule, row, account_id, found."""
        parts = []
        for place, (rule, column) in enumerate(self._rules):
            rows = np.flatnonzero(self._rule == place)
            source = self._raw.get(column, self.frame[column])
            part = pd.DataFrame({"row": rows.astype(np.int64)})
            part["account_id"] = shown_text(self.frame["account_id"].iloc[rows]).to_numpy()
            part["found"] = shown_text(source.iloc[rows]).to_numpy()
            part.insert(0, "rule", pd.Series([rule] * len(rows), dtype=TEXT_DTYPE))
            part.insert(0, "table", pd.Series([self.table] * len(rows), dtype=TEXT_DTYPE))
            parts.append(part)
        if not parts:
            return pd.DataFrame()
        return pd.concat(parts, ignore_index=True).sort_values("row", kind="stable").reset_index(drop=True)
