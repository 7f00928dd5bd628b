from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icp_ml.data.dates import read_dates
from icp_ml.data.ids import clean_ids
from icp_ml.data.values import (
    clean_text,
    currency_counts,
    number_of,
    read_flags,
    read_numbers,
    writes_comma_decimals,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1200", 1200.0),
        ("1,200", 1200.0),
        ("$1,200.50", 1200.5),
        ("1 200 EUR", 1200.0),
        ("1.200,50 €", 1200.5),
        ("€1.200.300", 1200300.0),
        ("1'200 CHF", 1200.0),
        ("12,5", 12.5),
        ("-5", -5.0),
        ("-$1,200", -1200.0),
        ("($300)", -300.0),
        ("12k", 12000.0),
        ("$1.5M", 1.5e6),
        ("8%", 8.0),
        ("1e3", 1000.0),
        (".5", 0.5),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, number: float) -> None:
    assert number_of(text) == pytest.approx(number)


@pytest.mark.parametrize(
    "text", ["abc", "1-10", "10 to 20", "1,2,3.4.5", "12 apples", "$", "2024-01-31", "1,,2"]
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert number_of(text) is None


@given(st.floats(min_value=-1e12, max_value=1e12, allow_nan=False), st.integers(0, 3000))
def test_plain_text_numbers_read_exactly_in_short_and_long_columns(value: float, padding: int) -> None:
    texts = pd.Series([f"{value:.6f}", *(str(place) for place in range(padding))])
    values, bad = read_numbers(texts)
    assert not bad.any()
    assert values[0] == float(f"{value:.6f}")


def test_a_column_that_writes_comma_decimals_reads_lone_dots_as_thousands() -> None:
    column = pd.Series(["1.200,50", "1.200", "900,00"])
    assert writes_comma_decimals(column)
    assert read_numbers(column, comma_decimal=True)[0].tolist() == [1200.5, 1200.0, 900.0]
    assert not writes_comma_decimals(pd.Series(["1,200.50", "1.25"]))


def test_currencies_are_counted_by_row() -> None:
    column = pd.Series(["$5", "US$ 7", "8 USD", "9 €", "10", None])
    assert currency_counts(column) == {"USD": 3, "EUR": 1}
    assert currency_counts(pd.Series([1.0, 2.0])) == {}


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2, 3]),
        pd.Series([1.0, 2.0, 3.0]),
        pd.Series([1, 2, 3], dtype="Int64"),
        pd.Series([1, 2, 3], dtype="category"),
        pd.Series([Decimal(1), Decimal(2), Decimal("3.0")]),
        pd.Series([1, 2, 3], dtype=pd.ArrowDtype(pa.int32())),
        pd.Series(["1", "2", "3"], dtype=pd.ArrowDtype(pa.string())),
        pd.Series(["1", " 2 ", "3.0"], dtype=object),
    ],
)
def test_numbers_of_every_dtype(column: pd.Series) -> None:
    values, bad = read_numbers(column)
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert not bad.any()


def test_missing_numbers_are_nan_and_infinite_ones_unreadable() -> None:
    values, bad = read_numbers(pd.Series([None, "n/a", "", "x", 1.0, float("inf")], dtype=object))
    assert np.isnan(values[:4]).all()
    assert bad.tolist() == [False, False, False, True, False, True]
    assert read_numbers(pd.Series([1.0, np.inf]))[1].tolist() == [False, True]


def test_only_documented_placeholders_are_missing() -> None:
    texts = clean_text(
        pd.Series(["", " NULL ", "NaN", "N/A", "#N/A", "<NA>", "None", "NA", "unknown", " x "])
    )
    assert texts.isna().tolist() == [True] * 6 + [False] * 4
    assert texts.dropna().tolist() == ["None", "NA", "unknown", "x"]


def test_ids_read_as_floats_lose_their_point() -> None:
    assert clean_ids(pd.Series([17.0, 18.0])).tolist() == ["17", "18"]
    assert clean_ids(pd.Series(["17.0", "18.0"])).tolist() == ["17", "18"]
    assert clean_ids(pd.Series(["17.0", "v2"])).tolist() == ["17", "v2"]
    assert clean_ids(pd.Series(["007", " 8 "])).tolist() == ["007", "8"]
    assert clean_ids(pd.Series([17, None], dtype="Int64")).tolist()[0] == "17"


def test_flags() -> None:
    values, bad = read_flags(pd.Series(["Yes", "no", "T", "0", "1.0", None, "maybe"], dtype=object))
    assert values[:5].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert bad.tolist() == [False] * 6 + [True]


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-03",
        "2024-02-03T10:00:00Z",
        "2024-02-03 23:59:59+02:00",
        "2024/02/03",
        "20240203",
        "03.02.2024",
        "3 Feb 2024",
        "03-Feb-2024",
        "Feb 3, 2024",
        "February 3 2024",
    ],
)
def test_dates_of_many_formats(text: str) -> None:
    values, bad, ambiguous = read_dates(pd.Series([text]))
    assert not bad.any()
    assert not ambiguous
    assert values[0] == np.datetime64("2024-02-03")


def test_slashed_dates_follow_the_column() -> None:
    assert read_dates(pd.Series(["03/04/2024", "25/12/2023"]))[0][0] == np.datetime64("2024-04-03")
    assert read_dates(pd.Series(["03/04/2024", "12/25/2023"]))[0][0] == np.datetime64("2024-03-04")
    assert read_dates(pd.Series(["03/04/2024"]))[2] == ["03/04/2024"]
    assert read_dates(pd.Series(["03/04/2024"]), day_first=True)[0][0] == np.datetime64("2024-04-03")


def test_dates_of_many_types_become_whole_days() -> None:
    stamp = pd.Timestamp("2024-02-03 10:00")
    for column in (
        pd.Series([stamp]),
        pd.Series([stamp.tz_localize("America/New_York")]),
        pd.Series([date(2024, 2, 3)], dtype=object),
        pd.Series([datetime(2024, 2, 3, 5, tzinfo=UTC)], dtype=object),
        pd.Series(["2024-02-03"], dtype="category"),
        pd.Series([date(2024, 2, 3)], dtype=pd.ArrowDtype(pa.date32())),
        pd.Series([stamp.tz_localize("UTC")], dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    ):
        values, bad, _ = read_dates(column)
        assert values.tolist() == np.array(["2024-02-03"], dtype="datetime64[ns]").tolist()
        assert not bad.any()


def test_far_dates_mean_open_and_impossible_dates_are_unreadable() -> None:
    values, bad, _ = read_dates(pd.Series(["9999-12-31", "2023-02-29", "0001-01-01", None], dtype=object))
    assert np.isnat(values).all()
    assert bad.tolist() == [False, True, True, False]
