"""How far the tables see: what an end date means, and the last day of which outcomes are known."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.tables import Tables
from icp_ml.data.windows import in_force, to_date, to_days
from icp_ml.errors import ConfigError

EndDates = Literal["infer", "terms", "events"]

#: Columns that can't lie in the future of the day the tables were taken.
PAST_COLUMNS = {
    "accounts": ("valid_from", "observed_at"),
    "technologies": ("first_seen", "last_seen"),
    "subscriptions": ("start_date",),
    "deals": ("created_date", "closed_date"),
    "tickets": ("date",),
    "nps": ("date",),
    "usage": ("date",),
}

_CHAIN_SHARE, _CHAIN_DAYS, _CHANCE_RATIO = 0.30, 31, 0.5
_SPAN = 2**24
_FUTURE_SHARE = 0.05


def latest(frame: pd.DataFrame | None, columns: tuple[str, ...]) -> np.datetime64:
    """Return the latest date in some columns of a table, NaT if there is none."""
    found = [
        to_days(frame[name].max())
        for name in columns
        if frame is not None and name in frame.columns and frame[name].notna().any()
    ]
    return np.max(np.array(found)) if found else np.datetime64("NaT", "D")


def end_date_mode(subscriptions: pd.DataFrame, wanted: EndDates = "infer") -> tuple[str, str]:
    """Decide what end dates are: ``terms``, known in advance, or ``events``, known afterwards.

    Inferred as terms when at least 30 % of the ended rows are followed, within 31 days of the end, by a new
    row of the same account (and product, where given), and at most half as many see a new row as long before
    the end: a chain of renewals, not merely an account that starts subscriptions all the time.

    Returns
    -------
    mode, how
        ``"terms"`` or ``"events"``, and a sentence that says why.
    """
    if wanted not in ("infer", "terms", "events"):
        raise ConfigError(f"expected end_dates to be infer, terms or events, found {wanted!r}", found=wanted)
    if wanted != "infer":
        return wanted, "given"
    last_start = to_days(subscriptions["start_date"].max())
    ends = to_days(subscriptions["end_date"])
    ended = ~np.isnat(ends) & (ends <= last_start)
    if not ended.any():
        return "events", "no subscription has ended"
    after = float((_other_starts(subscriptions, ended, -1, _CHAIN_DAYS) > 0).mean())
    before = float((_other_starts(subscriptions, ended, -_CHAIN_DAYS - 2, -2) > 0).mean())
    how = (
        f"{after:.0%} of {int(ended.sum())} ended subscriptions are followed by a new one within "
        f"{_CHAIN_DAYS} days, {before:.0%} see one as long before"
    )
    return ("terms" if after >= _CHAIN_SHARE and before <= after * _CHANCE_RATIO else "events"), how


def _other_starts(
    subscriptions: pd.DataFrame, ended: npt.NDArray[np.bool_], first: int, last: int
) -> npt.NDArray[np.int64]:
    """Count, per ended row, the starts of other rows of the same account and product around its end."""
    keys = ["account_id"] + (["product"] if "product" in subscriptions.columns else [])
    chain = subscriptions.groupby(keys, sort=False, dropna=False).ngroup().to_numpy().astype(np.int64)
    start = to_days(subscriptions["start_date"]).astype(np.int64)
    end = to_days(subscriptions["end_date"]).astype(np.int64)[ended]
    ordered = np.sort(chain * _SPAN + start)
    low, high = chain[ended] * _SPAN + end + first, chain[ended] * _SPAN + end + last
    found = np.searchsorted(ordered, high, side="right") - np.searchsorted(ordered, low, side="left")
    own = (start[ended] >= end + first) & (start[ended] <= end + last)
    return (found - own).astype(np.int64)


def infer_observed_until(
    tables: Tables, mode: str, first_snapshot: np.datetime64
) -> tuple[np.datetime64, str]:
    """Infer the last day of which outcomes are known; a window that ends later is unfinished.

    ``S`` is the latest date that can't lie in the future (starts, sightings, tickets, deals, ...), ``E`` the
    latest end date. If S lies before the first snapshot, nothing but end dates tell: the later of both.
    If end dates are terms, known in advance: S. If they are events: S where at most 5 % of the
    subscriptions in force at S end after it (such ends are typing errors or notices), else the later of both.

    Returns
    -------
    day, how
        The day, and a sentence that says how it was found.
    """
    subscriptions = tables.required("subscriptions")
    dates = [latest(frame, PAST_COLUMNS.get(name, ())) for name, frame in tables.present().items()]
    start = np.max(np.array([day for day in dates if not np.isnat(day)]))
    end = latest(subscriptions, ("end_date",))
    later = start if np.isnat(end) else max(start, end)
    if start < first_snapshot:
        return later, "inferred: the latest date of all tables"
    if mode == "terms":
        return start, "inferred: the latest start, sighting or event; end dates are terms"
    ends = to_days(subscriptions["end_date"])
    active = in_force(subscriptions["start_date"], ends, start)
    after = active & ~np.isnat(ends)
    if after.sum() <= _FUTURE_SHARE * max(int(active.sum()), 1):
        return start, "inferred: the latest start, sighting or event"
    return later, "inferred: the latest end date, as end dates are events"


def last_day(tables: Tables, *, end_dates: EndDates = "infer") -> date:
    """Return the last day that the tables know of, as ``build_dataset`` infers it.

    Raises
    ------
    TableError
        If there are no subscriptions.
    """
    subscriptions = tables.required("subscriptions")
    mode, _ = end_date_mode(subscriptions, end_dates)
    first: Any = to_days(subscriptions["start_date"].min())
    return to_date(infer_observed_until(tables, mode, first[()])[0])
