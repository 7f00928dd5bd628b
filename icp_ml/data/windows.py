"""On which side of a day something lies. The only file with date offsets.

Months are calendar months and clamp to the month's last day: 29 February 2020 + 12 months = 28 February 2021.
A window is half-open on the left: ``(snapshot, snapshot + horizon]``.
A span is half-open on the right: in force while ``start <= day < end``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.errors import ConfigError
from icp_ml.settings import FIRST_YEAR, OPEN_YEAR

Days = npt.NDArray[np.datetime64]
DateLike = str | date | datetime | pd.Timestamp | np.datetime64

_DAYS_PER_YEAR = 365.25


def to_day(value: DateLike) -> np.datetime64:
    """Return one date as ``datetime64[D]``.

    Raises
    ------
    ConfigError
        If ``value`` is no date.

    Examples
    --------
    >>> str(to_day("2024-06-30"))
    '2024-06-30'
    """
    try:
        day = pd.Timestamp(value).to_datetime64().astype("datetime64[D]")
    except (ValueError, TypeError, OverflowError) as error:
        message = f"expected a date such as '2024-06-30', found {value!r}: pass text, date or Timestamp"
        raise ConfigError(message, value=value) from error
    if np.isnat(day):
        raise ConfigError("expected a date such as '2024-06-30', found an empty one", value=value)
    if not np.datetime64(f"{FIRST_YEAR}-01-01") <= day < np.datetime64(f"{OPEN_YEAR}-01-01"):
        raise ConfigError(
            f"expected a date from {FIRST_YEAR} to {OPEN_YEAR - 1}, found {day}: no others can be held",
            value=value,
        )
    found: np.datetime64 = day
    return found


def to_days(values: Any) -> Days:
    """Return a column of dates as ``datetime64[D]`` (NaT stays NaT)."""
    return np.asarray(values, dtype="datetime64[D]")


def to_date(day: np.datetime64) -> date:
    """Return one day as ``datetime.date``."""
    return date.fromisoformat(str(day.astype("datetime64[D]")))


def add_months(days: Any, months: Any) -> Days:
    """Add calendar months, clamped to the last day of the month.

    Parameters
    ----------
    days
        One day or an array of days; NaT stays NaT.
    months
        One integer, or one per day; may be negative.

    Examples
    --------
    >>> add_months(["2020-02-29", "2023-11-30"], [12, 3]).astype(str).tolist()
    ['2021-02-28', '2024-02-29']
    """
    start = to_days(days)
    month = start.astype("datetime64[M]")
    offset = start - month.astype("datetime64[D]")
    target = month + np.asarray(months).astype("timedelta64[M]")
    last = (target + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
    result: Days = np.minimum(target.astype("datetime64[D]") + offset, last)
    return result


def whole_months(start: Any, end: Any) -> npt.NDArray[np.int64]:
    """Count the whole calendar months from ``start`` to ``end`` (neither may be NaT).

    Examples
    --------
    >>> whole_months(["2023-01-31", "2023-01-15"], ["2023-02-28", "2024-01-14"]).tolist()
    [1, 11]
    """
    first, last = to_days(start), to_days(end)
    months = (last.astype("datetime64[M]") - first.astype("datetime64[M]")).astype(np.int64)
    result: npt.NDArray[np.int64] = months - (add_months(first, months) > last)
    return result


def window_end(snapshot: DateLike, months: int) -> np.datetime64:
    """Return the last day of the window ``(snapshot, snapshot + months]``."""
    found: np.datetime64 = add_months([to_day(snapshot)], months)[0]
    return found


def in_window(days: Any, snapshot: DateLike, months: int) -> npt.NDArray[np.bool_]:
    """Whether each day lies in ``(snapshot, snapshot + months]``; NaT doesn't.

    Examples
    --------
    >>> in_window(["2024-01-31", "2024-02-01", "2024-02-29", "2024-03-01"], "2024-01-31", 1).tolist()
    [False, True, True, False]
    """
    found = to_days(days)
    start = to_day(snapshot)
    result: npt.NDArray[np.bool_] = (found > start) & (found <= window_end(snapshot, months))
    return result


def in_force(start: Any, end: Any, day: Any) -> npt.NDArray[np.bool_]:
    """Whether each span ``start <= day < end`` holds; an empty end is open, an empty start never began.

    Parameters
    ----------
    start, end
        First day in force and first day no longer in force.
    day
        One day, or one per span.
    """
    first, last, now = to_days(start), to_days(end), to_days(day)
    result: npt.NDArray[np.bool_] = (first <= now) & (np.isnat(last) | (now < last))
    return result


def known_by(days: Any, day: DateLike) -> npt.NDArray[np.bool_]:
    """Whether something dated ``days`` was known at the end of ``day``; undated things always were."""
    found = to_days(days)
    result: npt.NDArray[np.bool_] = np.isnat(found) | (found <= to_day(day))
    return result


def in_last_months(days: Any, day: DateLike, months: int) -> npt.NDArray[np.bool_]:
    """Whether each day lies in the ``months`` calendar months that end with ``day``, that day included."""
    found = to_days(days)
    result: npt.NDArray[np.bool_] = (found > add_months(to_day(day), -months)) & (found <= to_day(day))
    return result


def in_last_days(days: Any, day: DateLike, n_days: int) -> npt.NDArray[np.bool_]:
    """Whether each day lies in the ``n_days`` days that end with ``day``, that day included."""
    found = to_days(days)
    now = to_day(day)
    result: npt.NDArray[np.bool_] = (found > now - np.timedelta64(n_days, "D")) & (found <= now)
    return result


def shift_days(days: Any, n_days: int) -> Days:
    """Add ``n_days`` days (negative: earlier)."""
    result: Days = to_days(days) + np.timedelta64(n_days, "D")
    return result


def years_between(start: Any, end: Any) -> npt.NDArray[np.float64]:
    """Return the years (of 365.25 days) from ``start`` to ``end``; NaN if either is NaT or start is later."""
    gap = to_days(end) - to_days(start)
    years = np.where(np.isnat(gap), np.nan, gap.astype(np.float64) / _DAYS_PER_YEAR)
    result: npt.NDArray[np.float64] = np.where(years < 0, np.nan, years)
    return result


def roll_forward(renewal: Any, start: Any, day: DateLike) -> Days:
    """Return the first renewal date after ``day`` of contracts that renew themselves.

    The term is the whole months from start to the given renewal date, at least one.

    Examples
    --------
    >>> roll_forward(["2022-03-31"], ["2021-03-31"], "2024-03-31").astype(str).tolist()
    ['2025-03-31']
    """
    first, begun, now = to_days(renewal), to_days(start), to_day(day)
    term = np.maximum(whole_months(begun, first), 1)
    late = first <= now
    elapsed = np.where(late, whole_months(np.where(late, first, now), now), 0)
    steps = elapsed // term
    rolled = add_months(first, steps * term)
    rolled = np.where(rolled <= now, add_months(first, (steps + 1) * term), rolled)
    result: Days = np.where(late, rolled, first)
    return result


def quarter_ends(start: DateLike, end: DateLike) -> list[date]:
    """Return the calendar quarters' last days from ``start`` to ``end``, both included.

    Examples
    --------
    >>> [str(day) for day in quarter_ends("2024-03-31", "2024-10-01")]
    ['2024-03-31', '2024-06-30', '2024-09-30']
    """
    first, last = to_day(start), to_day(end)
    month = first.astype("datetime64[M]").astype(np.int64)
    months = np.arange(month + (2 - month) % 3, last.astype("datetime64[M]").astype(np.int64) + 1, 3)
    ends = shift_days((months + 1).astype("datetime64[M]").astype("datetime64[D]"), -1)
    ends = ends[(ends >= first) & (ends <= last)]
    return [to_date(day) for day in ends]


def snapshot_days(dates: Iterable[DateLike] | DateLike) -> Days:
    """Return snapshot dates as sorted distinct days.

    Raises
    ------
    ConfigError
        If there are none, or one is no date.
    """
    several = [dates] if isinstance(dates, (str, date, np.datetime64)) else dates
    days = [to_day(value) for value in several]
    if not days:
        raise ConfigError("expected at least one snapshot date, found none: pass quarter_ends(start, end)")
    return np.unique(np.array(days, dtype="datetime64[D]"))
