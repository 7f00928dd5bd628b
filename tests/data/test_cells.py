"""The door for raw columns: no cell stops a reader, passes as another value, or depends on its neighbours."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from decimal import Decimal
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import icp_ml
from icp_ml.data.cells import column_of, frame_of, plain_column, plain_frame
from icp_ml.data.dates import read_dates
from icp_ml.data.ids import are_clean_ids, clean_ids, read_ids
from icp_ml.data.tables import read_tables
from icp_ml.data.values import Unreadable, clean_text, number_of, read_numbers
from icp_ml.data.windows import to_day
from icp_ml.errors import ConfigError, TableError

Parser: ModuleType = importlib.import_module("re._parser")
UNBOUNDED = 64


def patterns() -> list[tuple[str, str]]:
    found = []
    for info in pkgutil.walk_packages(icp_ml.__path__, "icp_ml."):
        if ".adapters" in info.name or ".view" in info.name or ".cli" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            several = value if isinstance(value, tuple) else (value,)
            flat = [part for item in several for part in (item if isinstance(item, tuple) else (item,))]
            found += [(f"{info.name}.{name}", p.pattern) for p in flat if isinstance(p, re.Pattern)]
    return sorted(set(found))


def nested(parsed: Any, inside: bool = False) -> bool:
    """Whether an open repeat stands inside another one, and both may give back what they took."""
    for operation, argument in parsed:
        text, is_open, bodies = str(operation), False, []
        if text in ("MAX_REPEAT", "MIN_REPEAT"):
            is_open, bodies = argument[1] > UNBOUNDED, [argument[2]]
        elif text == "SUBPATTERN":
            bodies = [argument[-1]]
        elif text == "BRANCH":
            bodies = argument[1]
        if (is_open and inside) or any(nested(body, inside or is_open) for body in bodies):
            return True
    return False


def test_no_pattern_of_the_package_repeats_a_repeat() -> None:
    assert len(patterns()) >= 10
    assert [name for name, pattern in patterns() if nested(Parser.parse(pattern))] == []
    assert nested(Parser.parse(r"(a*b?)*c"))


def test_every_pattern_of_the_package_matches_in_linear_time() -> None:
    code = (
        "import itertools, re, sys, json\n"
        "for name, pattern in json.load(sys.stdin):\n"
        "    for pair in itertools.product('1 a-,.($', repeat=2):\n"
        "        for start in ('', '1', '2020-01-01 '):\n"
        "            re.compile(pattern).match(start + ''.join(pair) * 5_000 + '!')\n"
        "print('matched')"
    )
    command = [sys.executable, "-c", code]
    given = json.dumps([(name, p.decode() if isinstance(p, bytes) else p) for name, p in patterns()])
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=240)
    assert done.stdout == "matched\n", done.stderr


def test_cells_of_100_kilobytes_are_read_in_linear_time() -> None:
    code = (
        "import pandas as pd; from icp_ml.data.values import *; from icp_ml.data.dates import read_dates\n"
        "from icp_ml.data.ids import read_ids; from icp_ml.data.ladders import steps\n"
        "n = 100_000\n"
        "for cell in ('1' + ' ' * n + '!', '1 ' * n + '!', '(' * n, '-' * n, '1,' * n, '1.' * n, '1k' * n,\n"
        "             '1' * n, 'a ' * n, '2020-01-01' + ' ' * n + 'x', '1-jan' + '- ' * n, '$' * n):\n"
        "    column = pd.Series([cell, '1'])\n"
        "    read_numbers(column); read_dates(column, day_first=True); read_ids(column); read_flags(column)\n"
        "    currency_counts(column); writes_comma_decimals(column); steps([cell, '1-5', '6-9'])\n"
        "print('read')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.stdout == "read\n", done.stderr


@pytest.mark.parametrize("text", ["1e400", "9" * 400, "9e307m", "-9e307m", "inf", "nan5"])
def test_text_never_becomes_infinite(text: str) -> None:
    assert number_of(text) is None
    values, bad = read_numbers(pd.Series([text, "1"]))
    assert np.isnan(values[0])
    assert bad.tolist() == [True, False]


def test_amounts_whose_sum_or_ratio_overflows_are_refused() -> None:
    subscriptions = pd.DataFrame(
        {
            "account_id": list("abcd"),
            "start_date": "2021-01-01",
            "end_date": None,
            "arr": [1e308, 1e308, 1e-320, 5],
        }
    )
    tables, rejects = read_tables(
        {"accounts": pd.DataFrame({"account_id": list("abcd")}), "subscriptions": subscriptions}
    )
    assert tables.required("subscriptions")["arr"].tolist() == [5.0]
    assert rejects.counts().to_numpy().tolist() == [["subscriptions", "number_out_of_range", 3]]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_typed_days_never_wrap_around(unit: str) -> None:
    days = np.array(
        ["0001-01-01", "1699-12-31", "1700-01-01", "9999-12-31", "20000-01-01"], f"datetime64[{unit}]"
    )
    for column in (pd.Series(days), column_of(pa.array(days)), pd.Series(list(days.astype(object)[:4]))):
        values, bad, _ = read_dates(column)
        assert bad.tolist()[:4] == [True, True, False, False]
        assert values.astype("datetime64[D]").astype(str).tolist()[:4] == ["NaT", "NaT", "1700-01-01", "NaT"]
        assert bad[4:].all()


def test_days_of_any_year_in_arrow_and_python() -> None:
    far = pa.array([-800_000, 0, 2**31 - 1, None], pa.int32()).cast(pa.date32())
    assert read_dates(column_of(far))[1].tolist() == [True, False, True, False]
    unknown = pa.array([0, None]).cast(pa.timestamp("us", "Mars/X"))
    assert read_dates(column_of(unknown))[1].tolist() == [True, False]
    late = pd.Series(pd.array([0], dtype="int64").astype("datetime64[s]")).dt.tz_localize("America/New_York")
    assert read_dates(late)[0].astype("datetime64[D]").astype(str).tolist() == ["1970-01-01"]
    assert read_dates(pd.Series(["2020-01-01 to 2020-06-30", "2020-01-01 10:00"]))[1].tolist() == [
        True,
        False,
    ]
    for day in ("0001-01-01", "9999-12-31"):
        with pytest.raises(ConfigError, match="expected a date from 1700 to 2199"):
            to_day(day)


class Hostile:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ({"a": 1}, "a dict"),
        ([["a"]], "a list that holds a list"),
        (({"a": 1},), "a list that holds a dict"),
        (np.zeros((2, 2)), "an array of 2 dimensions"),
        (Decimal("sNaN"), "a signalling NaN"),
        (Decimal("Infinity"), "an infinite Decimal"),
        (Decimal("1E+1000000"), "a number of too many digits"),
        (10**10_000, "a number of too many digits"),
        (b"\xff", "bytes that are no text"),
        (1 + 2j, "a complex"),
        (Hostile(), "a Hostile"),
    ],
    ids=str.split("dict nested tuple array snan infinity digits huge bytes complex hostile"),
)
def test_what_is_no_single_value_is_told_by_what_it_is(cell: object, found: str) -> None:
    column = pd.Series([None, "x"], dtype=object)
    column.iat[0] = cell
    plain = plain_column(column)
    assert plain.tolist() == [Unreadable(found), "x"]
    assert clean_text(plain).isna().tolist() == [True, False]
    assert read_ids(plain)[1].tolist() == [True, False]
    assert read_numbers(plain)[1].tolist() == [True, True]


def test_clean_columns_pass_as_they_are() -> None:
    for column in (
        pd.Series(["a", None]),
        pd.Series([1.0]),
        pd.Series([Decimal(1), None, 5], dtype=object),
        pd.Series([["a"], None]),
        pd.Series(["a"], dtype="category"),
    ):
        assert plain_column(column) is column


def test_arrow_keeps_every_digit_and_names_what_is_nested() -> None:
    table = pa.table(
        {"n": pa.array([2**53 + 1, None]), "s": pa.array([{"a": 1}, None]), "__index_level_0__": [1, 2]}
    )
    found = frame_of(table)
    assert found["n"].tolist() == [2**53 + 1, None]
    assert found["s"].tolist() == [Unreadable("a struct"), None]
    assert list(found) == ["n", "s"]


def test_columns_of_two_levels_and_numbers_are_named_by_text() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=pd.MultiIndex.from_tuples([("a", ""), ("b", "x"), (5, None)]))
    assert list(plain_frame(frame)) == ["a", "b_x", "5"]


def test_an_id_depends_on_its_own_cell_only() -> None:
    cells = ["17.0", 17.0, 17, Decimal("17.0"), "b1", "0017", True, 1, 2**53 + 1, " x "]
    whole = clean_ids(pd.Series(cells, dtype=object)).tolist()
    assert whole == ["17", "17", "17", "17", "b1", "0017", "true", "1", "9007199254740993", "x"]
    assert [clean_ids(pd.Series([cell], dtype=object)).tolist()[0] for cell in cells] == whole
    assert not are_clean_ids(pa.array(["a", "17.0"]))
    assert read_ids(pd.Series([2.0**53, np.inf, 17.5]))[1].tolist() == [True, True, False]


def test_no_level_depends_on_which_equal_value_came_first() -> None:
    assert clean_text(pd.Series([True, 1], dtype=object)).tolist() == ["true", "1"]
    assert clean_text(pd.Series([1, True], dtype=object)).tolist() == ["1", "true"]


@pytest.mark.parametrize("source", [None, 5, {"accounts": {"account_id": ["a"]}}, {"accounts": None}, "\0"])
def test_what_is_no_source_is_named(source: Any) -> None:
    with pytest.raises(TableError, match="expected"):
        read_tables(source)
