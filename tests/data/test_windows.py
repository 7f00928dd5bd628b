from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icp_ml.data.windows import (
    add_months,
    in_force,
    in_last_days,
    in_last_months,
    in_window,
    known_by,
    quarter_ends,
    roll_forward,
    snapshot_days,
    to_day,
    whole_months,
    window_end,
    years_between,
)
from icp_ml.errors import ConfigError

DAYS = st.dates(date(2000, 1, 1), date(2060, 12, 31))


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2020-02-29", 12, "2021-02-28"),
        ("2020-02-29", 48, "2024-02-29"),
        ("2023-01-31", 1, "2023-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2023-08-31", 1, "2023-09-30"),
        ("2023-06-30", 3, "2023-09-30"),
        ("2023-11-30", 3, "2024-02-29"),
        ("2023-03-31", -1, "2023-02-28"),
        ("2023-12-15", 1, "2024-01-15"),
    ],
)
def test_months_clamp_to_the_last_day(start: str, months: int, end: str) -> None:
    assert str(window_end(start, months)) == end
    assert add_months([start], [months]).astype(str).tolist() == [end]


@given(DAYS, st.integers(-60, 60))
def test_adding_months_agrees_with_pandas(day: date, months: int) -> None:
    assert str(add_months(day, months)) == str((pd.Timestamp(day) + pd.DateOffset(months=months)).date())


@given(DAYS, DAYS)
def test_whole_months_never_overshoot(a: date, b: date) -> None:
    first, last = min(a, b), max(a, b)
    months = int(whole_months(first, last))
    assert add_months(first, months) <= np.datetime64(last) < add_months(first, months + 1)


@pytest.mark.parametrize("snapshot", ["2020-02-29", "2023-01-31", "2023-02-28", "2023-08-31", "2023-06-15"])
def test_the_window_is_half_open(snapshot: str) -> None:
    start, end = date.fromisoformat(snapshot), date.fromisoformat(str(window_end(snapshot, 12)))
    day = timedelta(days=1)
    days = [start - day, start, start + day, end - day, end, end + day]
    assert in_window([str(found) for found in days], snapshot, 12).tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]


def test_an_empty_date_is_in_no_window_but_known_and_open() -> None:
    assert not in_window(["NaT"], "2024-01-01", 12)[0]
    assert known_by(["NaT"], "2024-01-01")[0]
    assert in_force(["2020-01-01"], ["NaT"], "2024-01-01")[0]
    assert not in_force(["NaT"], ["NaT"], "2024-01-01")[0]


def test_a_span_holds_from_its_first_day_to_the_day_before_its_end() -> None:
    days = ["2023-12-31", "2024-01-01", "2024-06-29", "2024-06-30", "2024-07-01"]
    held = [bool(in_force("2024-01-01", "2024-06-30", day)) for day in days]
    assert held == [False, True, True, False, False]


def test_known_by_includes_the_day_itself() -> None:
    assert known_by(["2024-01-30", "2024-01-31", "2024-02-01"], "2024-01-31").tolist() == [True, True, False]


def test_looking_back() -> None:
    days = ["2023-01-31", "2023-02-01", "2024-01-31", "2024-02-01"]
    assert in_last_months(days, "2024-01-31", 12).tolist() == [False, True, True, False]
    assert in_last_days(["2024-01-01", "2024-01-02", "2024-01-31"], "2024-01-31", 30).tolist() == [
        False,
        True,
        True,
    ]


def test_renewal_dates_roll_by_whole_terms_until_after_the_day() -> None:
    rolled = roll_forward(
        ["2021-03-31", "2021-03-31", "2025-01-01", "2020-02-29", "2021-01-10"],
        ["2020-03-31", "2020-03-31", "2024-01-01", "2019-02-28", "2021-01-01"],
        "2023-03-31",
    )
    assert rolled.astype(str).tolist() == [
        "2024-03-31",
        "2024-03-31",
        "2025-01-01",
        "2024-02-29",
        "2023-04-10",
    ]
    assert roll_forward("2021-03-31", "2020-03-31", "2023-03-30").astype(str) == "2023-03-31"
    assert roll_forward("2022-01-01", "2019-01-01", "2023-03-31").astype(str) == "2025-01-01"


@given(DAYS, st.integers(1, 40), DAYS)
def test_a_rolled_renewal_is_the_first_after_the_day(start: date, months: int, day: date) -> None:
    renewal = add_months(start, months)
    rolled = roll_forward(renewal, start, day)
    assert rolled > np.datetime64(day) or rolled == renewal
    if renewal <= np.datetime64(day):
        term = max(int(whole_months(start, renewal)), 1)
        steps = next(k for k in range(800) if add_months(renewal, k * term) == rolled)
        assert add_months(renewal, (steps - 1) * term) <= np.datetime64(day)


def test_ages_in_years() -> None:
    found = years_between(["2020-01-01", "2024-01-01", "NaT"], "2023-01-01")
    assert found[0] == pytest.approx(3.0, abs=0.01)
    assert np.isnan(found[1:]).all()


def test_quarter_ends() -> None:
    assert quarter_ends("2023-03-31", "2023-12-31") == [
        date(2023, 3, 31),
        date(2023, 6, 30),
        date(2023, 9, 30),
        date(2023, 12, 31),
    ]
    assert quarter_ends("2023-04-01", "2023-06-29") == []


def test_snapshot_days_are_sorted_and_distinct() -> None:
    found = snapshot_days([pd.Timestamp("2024-06-30 13:00"), "2024-03-31", date(2024, 6, 30)])
    assert found.astype(str).tolist() == ["2024-03-31", "2024-06-30"]
    assert snapshot_days("2024-03-31").astype(str).tolist() == ["2024-03-31"]


@pytest.mark.parametrize("value", ["not a day", None, float("nan"), "2023-02-30"])
def test_what_is_no_day_is_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        to_day(value)


def test_no_snapshots_are_refused() -> None:
    with pytest.raises(ConfigError):
        snapshot_days([])
