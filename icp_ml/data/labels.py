"""What came of an account: recurring revenue in force, who could leave in the window, and who did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.windows import Days, add_months, in_force, roll_forward, to_days, window_end

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """Subscriptions as arrays, one entry per row, accounts as codes into ``accounts``.

    Parameters
    ----------
    accounts
        The accounts that have subscriptions, sorted.
    code
        Position in ``accounts``.
    start, end
        First day in force, first day no longer in force (NaT = open).
    renewal
        Day on which the contract renews itself or may be left, NaT if not given.
    arr
        Annual recurring revenue, in the currency of the table.
    """

    accounts: npt.NDArray[Any]
    code: Ints
    start: Days
    end: Days
    renewal: Days
    arr: Floats

    @classmethod
    def of(cls, subscriptions: pd.DataFrame) -> Ledger:
        """Read a subscriptions table."""
        ids = subscriptions["account_id"].to_numpy(dtype=object)
        accounts, code = np.unique(ids.astype(str), return_inverse=True)
        renewal = (
            to_days(subscriptions["renewal_date"])
            if "renewal_date" in subscriptions.columns
            else np.full(len(ids), "NaT", dtype="datetime64[D]")
        )
        return cls(
            accounts=accounts,
            code=code.astype(np.int64),
            start=to_days(subscriptions["start_date"]),
            end=to_days(subscriptions["end_date"]),
            renewal=renewal,
            arr=subscriptions["arr"].to_numpy(dtype=np.float64),
        )

    def arr_on(self, day: Any) -> Floats:
        """Return the recurring revenue in force per account.

        Parameters
        ----------
        day
            One day, or one per account.
        """
        days = to_days(day)
        per_row = days if days.ndim == 0 else days[self.code]
        held = in_force(self.start, self.end, per_row)
        found = np.bincount(self.code[held], weights=self.arr[held], minlength=len(self.accounts))
        return found.astype(np.float64)

    def first_start(self) -> Days:
        """Return the first day of each account's first subscription."""
        first = np.full(len(self.accounts), np.iinfo(np.int64).max, dtype=np.int64)
        np.minimum.at(first, self.code, self.start.astype(np.int64))
        return first.astype("datetime64[D]")

    def commitments(self, day: np.datetime64, mode: str) -> tuple[Ints, Days]:
        """Return the subscriptions in force on a day and the day each may be left.

        Parameters
        ----------
        day
            The snapshot.
        mode
            ``"terms"``: an end date is the end of a term, known in advance; ``"events"``: it isn't known yet.

        Returns
        -------
        code, until
            Account and commitment date of each subscription in force; NaT = may be left any day.
        """
        held = np.flatnonzero(in_force(self.start, self.end, day) & (self.arr > 0))
        until = self.end[held] if mode == "terms" else np.full(len(held), "NaT", dtype="datetime64[D]")
        named = ~np.isnat(self.renewal[held])
        rows = held[named]
        until = until.copy()
        until[named] = roll_forward(self.renewal[rows], self.start[rows], day)
        return self.code[held], until


def locked_in(ledger: Ledger, day: np.datetime64, window_end: np.datetime64, mode: str) -> Bools:
    """Whether an account has a subscription that can't be left up to ``window_end``.

    Such an account can't churn in the window, so that staying says nothing.
    """
    code, until = ledger.commitments(day, mode)
    beyond = ~np.isnat(until) & (until > window_end)
    found = np.zeros(len(ledger.accounts), dtype=np.bool_)
    found[code[beyond]] = True
    return found


def snapshot_labels(
    ledger: Ledger, day: np.datetime64, horizon_months: int, tolerance: float, mode: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Label the accounts that are active at a snapshot and may leave in ``(day, day + horizon]``.

    Parameters
    ----------
    ledger
        All subscriptions.
    day
        The snapshot.
    horizon_months
        Length of the window, calendar months.
    tolerance
        Growth up to this share isn't expansion.
    mode
        What end dates are, see ``Ledger.commitments``.

    Returns
    -------
    labels, left_out
        The columns of ``Dataset.labels``, and how many accounts with subscriptions were left out by reason.
    """
    end = window_end(day, horizon_months)
    starting, ending = ledger.arr_on(day), ledger.arr_on(end)
    active = starting > 0
    locked = active & locked_in(ledger, day, end, mode)
    rows = np.flatnonzero(active & ~locked)
    first = ledger.first_start()
    ratio = ending[rows] / starting[rows]
    labels = pd.DataFrame(
        {
            "account_id": ledger.accounts[rows],
            "snapshot_date": np.full(len(rows), day, dtype="datetime64[D]").astype("datetime64[ns]"),
            "retained": pd.array(ending[rows] > 0, dtype="boolean"),
            "expanded": pd.array(ratio >= 1.0 + tolerance - _ROUNDING, dtype="boolean"),
            "churned_first_year": _first_year(ledger, first, day, end, rows),
            "starting_arr": starting[rows],
            "ending_arr": ending[rows],
            "arr_ratio": ratio,
            "tenure_days": (day - first[rows]).astype(np.float64),
        }
    )
    return labels, {"not_active": int((~active).sum()), "locked_in": int(locked.sum())}


def _first_year(ledger: Ledger, first: Days, day: np.datetime64, end: np.datetime64, rows: Ints) -> Any:
    """Return True where a first-year account is gone at its first anniversary; NA outside the first year."""
    anniversary = add_months(first, 12)
    gone = ledger.arr_on(anniversary)[rows] == 0
    applies = ((first <= day) & (day < anniversary) & (anniversary <= end))[rows]
    found = pd.array(gone, dtype="boolean")
    found[~applies] = pd.NA
    return found
