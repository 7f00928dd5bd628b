"""Days of a column, as people and databases write them: read alike, and only in years that can be held."""

from __future__ import annotations

import re
from datetime import MAXYEAR, MINYEAR, date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from icp_ml.data.values import Bools, by_distinct, spread, text_of
from icp_ml.settings import FIRST_YEAR, OPEN_YEAR

Days = npt.NDArray[np.datetime64]

# What follows a day must look like a time: "2024-01-01 to 2024-06-30" is no day.
_TIME = r"(?:[T ]\d{1,2}(?::.*)?)?"
_ISO = re.compile(rf"^(\d{{4}})-(\d{{1,2}})-(\d{{1,2}}){_TIME}$")
_SLASHED = re.compile(rf"^(\d{{1,2}})[/-](\d{{1,2}})[/-](\d{{4}}){_TIME}$")
_OTHER_DATES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"^(\d{{4}})/(\d{{1,2}})/(\d{{1,2}}){_TIME}$"), "ymd"),
    (re.compile(r"^(\d{4})(\d{2})(\d{2})(?:\.0)?$"), "ymd"),
    (re.compile(rf"^(\d{{1,2}})\.(\d{{1,2}})\.(\d{{4}}){_TIME}$"), "dmy"),
    (re.compile(r"^(\d{1,2})[- ]([A-Za-z]{3,9})\.?[- ,]{1,3}(\d{4})$"), "dmy"),
    (re.compile(r"^([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})$"), "mdy"),
)
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_FIRST, _OPEN, _END = (np.datetime64(f"{year}-01-01", "D") for year in (FIRST_YEAR, OPEN_YEAR, MAXYEAR + 1))
_NONE = np.datetime64("NaT", "D")


def read_dates(
    series: pd.Series[Any], *, day_first: bool | None = None, iso_only: bool = False
) -> tuple[Days, Bools, list[str]]:
    """Read a column of dates as whole days.

    A date of the year 2200 or later means "open" in CRM exports and is read as missing. A date before 1700 or
    after 9999 is unreadable, whether it is text or typed.

    Parameters
    ----------
    series
        Dates, datetimes (their own wall-clock day) or text.
    day_first
        How to read 03/04/2024. None: decided by the column's other values.
    iso_only
        Read year-month-day text only, so that a row's value doesn't depend on its neighbours.

    Returns
    -------
    values
        datetime64[ns] at midnight, NaT where missing or unreadable.
    unreadable
        True where a cell holds something that is no date.
    ambiguous
        Examples of values such as 03/04/2024 when nothing in the column tells day from month.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        days, bad = _whole_days(series)
        return *_in_years(days, bad), []
    codes, distinct = by_distinct(series)
    texts: dict[int, str] = {}
    days = np.full(len(distinct), _NONE)
    for place, value in enumerate(distinct):
        if isinstance(value, date) and not pd.isna(value):
            # A Timestamp may be of a year that no date has; its month doesn't matter then.
            inside = MINYEAR <= value.year <= MAXYEAR
            day = date(value.year, value.month, value.day) if inside else None
            days[place] = np.datetime64(value.year - 1970, "Y") if day is None else np.datetime64(day)
        else:
            text = text_of(value)
            if text is not None:
                texts[place] = text
    order, ambiguous = _slash_order(list(texts.values()), day_first)
    bad = np.zeros(len(distinct), dtype=np.bool_)
    for place, text in texts.items():
        day = _date_of(text, None if iso_only else order, iso_only)
        bad[place] = day is None
        if day is not None:
            days[place] = np.datetime64(day)
    values, bad = _in_years(days, bad)
    return spread(codes, values, np.datetime64("NaT", "ns")), spread(codes, bad, False), ambiguous


def _in_years(days: Days, bad: Bools) -> tuple[Days, Bools]:
    """Return days that fit into datetime64[ns]: far ones are open, those of no calendar year unreadable."""
    outside = (days < _FIRST) | (days >= _END)
    kept = np.where(outside | (days >= _OPEN), _NONE, days).astype("datetime64[ns]")
    return kept, bad | outside


def _whole_days(series: pd.Series[Any]) -> tuple[Days, Bools]:
    """Return the wall-clock day of each timestamp, and where there is none because it is out of range."""
    none = np.zeros(len(series), dtype=np.bool_)
    dtype = series.dtype
    if isinstance(dtype, pd.ArrowDtype):
        stamps, bad = wall_clock(pa.array(series.array, from_pandas=True))
        return stamps.astype("datetime64[D]"), bad
    zone = getattr(dtype, "tz", None)
    if zone is None:
        return series.to_numpy().astype("datetime64[D]"), none
    stored = series.dt.tz_convert(None)
    days = stored.to_numpy().astype("datetime64[D]")
    inside = (days >= _FIRST) & (days < _OPEN)
    # Wall-clock time is only looked up where the calendar of time zones has any.
    days[inside] = series[inside].dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    return days, none


def wall_clock(cells: Any) -> tuple[Days, Bools]:
    """Return arrow timestamps or dates as datetime64 of their unit, in the time of their own zone.

    Returns
    -------
    values
        NaT where missing or unreadable.
    unreadable
        True where the time zone is none that is known.
    """
    cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    none, kind = np.zeros(len(cells), dtype=np.bool_), cells.type
    stamps = _stamps(cells)
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        return stamps, none
    # Wall-clock time is only looked up in years that can be held: beyond them zones have no calendar.
    inside = (stamps >= _FIRST) & (stamps < _OPEN)
    try:
        local = pc.local_timestamp(pc.if_else(pa.array(inside), cells, pa.scalar(None, kind)))
    except pa.ArrowInvalid:
        return np.full_like(stamps, "NaT"), ~np.isnat(stamps)
    return np.where(inside, _stamps(local), stamps), none


def _stamps(cells: Any) -> Days:
    """Return the whole numbers that arrow keeps as datetime64; no year is too early or too late."""
    kind = cells.type
    width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    unit = "D" if pa.types.is_date32(kind) else "ms" if pa.types.is_date64(kind) else kind.unit
    known = cells.is_valid().to_numpy(zero_copy_only=False)
    numbers = cells.view(width).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(known, numbers.view(f"datetime64[{unit}]"), np.datetime64("NaT"))


def _slash_order(texts: list[str], day_first: bool | None) -> tuple[str, list[str]]:
    if day_first is not None:
        return ("dmy" if day_first else "mdy"), []
    slashed = [(match, text) for text in texts if (match := _SLASHED.match(text))]
    day = sum(int(match[1]) > 12 for match, _ in slashed)
    month = sum(int(match[2]) > 12 for match, _ in slashed)
    if day == month:
        different = [text for match, text in slashed if int(match[1]) != int(match[2])]
        return "mdy", sorted(different)[:5]
    return ("dmy" if day > month else "mdy"), []


def _date_of(text: str, order: str | None, iso_only: bool) -> date | None:
    match = _ISO.match(text)
    if match is not None:
        return _day(match, "ymd")
    if iso_only:
        return None
    match = _SLASHED.match(text)
    if match is not None:
        return _day(match, order or "mdy")
    for pattern, parts in _OTHER_DATES:
        match = pattern.match(text)
        if match is not None:
            return _day(match, parts)
    return None


def _day(match: re.Match[str], parts: str) -> date | None:
    found = dict(zip(parts, match.groups(), strict=True))
    word = found["m"]
    month = _MONTHS.get(word[:3].lower(), 0) if word.isalpha() else int(word)
    year = int(found["y"])
    try:
        return date(year, month, int(found["d"]))
    except ValueError:
        return None
