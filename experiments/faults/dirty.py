"""What can stand in a cell, a file or a settings file by mistake: the dirt that ``inputs.py`` feeds."""

from __future__ import annotations

import datetime as dt
import gzip
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


class Hostile:
    """Compares, hashes and writes itself by raising."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    def __hash__(self) -> int:
        raise RuntimeError("hashed")

    def __str__(self) -> str:
        raise RuntimeError("written")

    __repr__ = __str__


#: Name → a cell that is no text, number or date as people write them, or only just.
CELLS: dict[str, Any] = {
    "dict": {"a": 1},
    "list": ["a", "b"],
    "empty list": [],
    "list of lists": [["a"]],
    "list of dicts": [{"a": 1}],
    "list of None": [None],
    "tuple": ("a", 1),
    "tuple of lists": (["a"],),
    "set": {"b", "a"},
    "array": np.array(["a", "b"]),
    "array of 2 dimensions": np.zeros((2, 2)),
    "array of no dimension": np.array(5),
    "bytes": b"a1",
    "bytes that are no text": b"\xff\xfe",
    "Decimal": Decimal("17.0"),
    "infinite Decimal": Decimal("Infinity"),
    "signalling NaN": Decimal("sNaN"),
    "Decimal of a million digits": Decimal("1E+1000000"),
    "tiny Decimal": Decimal("1E-1000000"),
    "int of 400 digits": 10**400,
    "int of 10,000 digits": 10**10_000,
    "int beyond 2**53": 2**53 + 1,
    "float beyond 2**53": 2.0**60,
    "infinity": float("inf"),
    "nan": float("nan"),
    "complex": 1 + 2j,
    "bool": True,
    "NA": pd.NA,
    "NaT": pd.NaT,
    "Interval": pd.Interval(0, 1),
    "Period": pd.Period("2020-01"),
    "Timedelta": pd.Timedelta(days=1),
    "time": dt.time(1, 2),
    "year 1": dt.date(1, 1, 1),
    "year 9999": dt.date(9999, 12, 31),
    "datetime with a zone": dt.datetime(2020, 1, 1, 23, tzinfo=dt.UTC),
    "Timestamp of year -200": pd.Timestamp(np.datetime64("-0200-01-01", "s")),
    "datetime64 of year 1": np.datetime64("0001-01-01"),
    "UUID": uuid.UUID(int=7),
    "hostile object": Hostile(),
    "a type": int,
    "Series": pd.Series([1, 2]),
    "1e400": "1e400",
    "400 digits": "9" * 400,
    "9e307m": "9e307m",
    "a thousand spaces": "1" + " " * 1000 + "!",
    "100 kB of digits": "1" * 100_000,
    "100 kB of groups": "1,000" * 20_000,
    "100 kB of brackets": "(" * 100_000,
    "100 kB of signs": "-" * 100_000,
    "100 kB of a name": "a " * 50_000,
    "zero byte": "a\0b",
    "two days": "2020-01-01 to 2020-06-30",
    "formula": '=cmd|"/c calc"!A1',
    "control characters": "\x1b[31mred\x07",
    "half a surrogate": "a\udc80",
    "0001-01-01": "0001-01-01",
    "blank": "  ",
    "float text": "17.0",
    "leading zeros": "0017",
}

_HEAD = "account_id,size,plan,stack\n"
_ROWS = "".join(f"a{i},{i % 7}.5,{'abc'[i % 3]},Slack;AWS\n" for i in range(60))


def _text(text: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    return _raw(text.encode(encoding))


def _raw(content: bytes, ending: str = ".csv") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        file = folder / f"accounts{ending}"
        file.write_bytes(content)
        return file

    return write


def _parquet(table: Any, cut: int | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        file = folder / "accounts.parquet"
        pq.write_table(table, file)
        file.write_bytes(file.read_bytes()[:cut])
        return file

    return write


def _swapped(old: str, new: str) -> Callable[[Path], Path]:
    return _text((_HEAD + _ROWS).replace(old, new))


def _folder(folder: Path) -> Path:
    (folder / "accounts.csv").mkdir()
    return folder / "accounts.csv"


_IDS = pa.array([f"a{i}" for i in range(60)])


def _with(column: Any, **metadata: str) -> Any:
    table = pa.table({"account_id": _IDS, "size": column})
    return table.replace_schema_metadata(metadata) if metadata else table


#: Name → what writes a file of accounts into a folder, and how many rows it holds (None: it can't be read).
FILES: dict[str, tuple[Callable[[Path], Path], int | None]] = {
    "clean": (_text(_HEAD + _ROWS), 60),
    "no line end at the end": (_text((_HEAD + _ROWS)[:-1]), 60),
    "old line ends": (_text((_HEAD + _ROWS).replace("\n", "\r")), 60),
    "Windows line ends": (_text((_HEAD + _ROWS).replace("\n", "\r\n")), 60),
    "blank lines": (_text(_HEAD + _ROWS.replace("\n", "\n\n")), 60),
    "byte order mark": (_text(_HEAD + _ROWS, "utf-8-sig"), 60),
    "quoted line end": (_swapped("a5,5.5,c", 'a5,5.5,"c\nd"'), 60),
    "quoted prose": (_swapped("a5,5.5,c", 'a5,5.5,"Dear all,\nthanks"'), 60),
    "two stray quotes": (_swapped("a5,5.5,c", 'a5,5.5,"c'), 60),
    "UTF-16": (_text(_HEAD + _ROWS, "utf-16"), None),
    "UTF-16 without a mark": (_text(_HEAD + _ROWS, "utf-16-le"), None),
    "latin-1": (_text((_HEAD + _ROWS).replace("a5,", "\xe95,"), "latin-1"), None),
    "zero byte": (_swapped("a5,", "a\0005,"), None),
    "zeros at the end": (_raw((_HEAD + _ROWS).encode() + bytes(500)), None),
    "empty": (_raw(b""), None),
    "blank": (_raw(b"\n\n\n"), None),
    "header alone": (_text(_HEAD), 0),
    "a cell too many": (_swapped("a5,", "a5,x,"), None),
    "a cell too few": (_swapped("a5,5.5,", "a5,"), None),
    "a column twice": (_text((_HEAD + _ROWS).replace("plan", "size")), None),
    "a quote on every line": (_text(_HEAD + _ROWS.replace("\n", '"\n')), 60),
    "cell of 2 MB": (_swapped("a5,5.5,c", 'a5,5.5,"' + "x" * 2_000_000 + '"'), None),
    "parquet called csv": (lambda folder: _moved(_parquet(_with(pa.array(range(60))))(folder)), None),
    "csv called parquet": (_raw((_HEAD + _ROWS).encode(), ".parquet"), None),
    "csv called gz": (_raw((_HEAD + _ROWS).encode(), ".csv.gz"), None),
    "gz": (_raw(gzip.compress((_HEAD + _ROWS).encode()), ".csv.gz"), 60),
    "gz cut off": (_raw(gzip.compress((_HEAD + _ROWS).encode())[:60], ".csv.gz"), None),
    "gz with a bad sum": (_raw(gzip.compress((_HEAD + _ROWS).encode())[:-8] + bytes(8), ".csv.gz"), None),
    "folder called csv": (_folder, None),
    "parquet": (_parquet(_with(pa.array(range(60)))), 60),
    "parquet cut off": (_parquet(_with(pa.array(range(60))), 300), None),
    "parquet of 4 bytes": (_raw(b"PAR1", ".parquet"), None),
    "notes of pandas that lie": (
        _parquet(_with(pa.array(range(60)), pandas='{"index_columns":["nope"],"columns":[]}')),
        60,
    ),
    "notes of pandas that are no JSON": (_parquet(_with(pa.array(range(60)), pandas="{")), 60),
    "column of structs": (_parquet(_with(pa.array([{"a": 1}] * 60))), 60),
    "column of maps": (_parquet(_with(pa.array([[("k", 1)]] * 60, pa.map_(pa.string(), pa.int64())))), 60),
    "column of binary": (_parquet(_with(pa.array([b"\xff"] * 60))), 60),
    "column of durations": (_parquet(_with(pa.array([dt.timedelta(1)] * 60))), 60),
    "column of decimals": (_parquet(_with(pa.array([Decimal("1.5")] * 60))), 60),
    "column of nothing": (_parquet(_with(pa.nulls(60))), 60),
    "column of lists of structs": (_parquet(_with(pa.array([[{"a": 1}]] * 60))), 60),
    "column of dictionaries": (_parquet(_with(pa.array(["x", "y"] * 30).dictionary_encode())), 60),
    "days of any year": (
        _parquet(_with(pa.array(range(-800_000, 800_000, 26_667), pa.int32()).cast(pa.date32()))),
        60,
    ),
    "times of an unknown zone": (_parquet(_with(pa.array([0] * 60).cast(pa.timestamp("us", "Mars/X")))), 60),
    "times of any year": (_parquet(_with(pa.array([2**45, -(2**45)] * 30).cast(pa.timestamp("s")))), 60),
}


def _moved(file: Path) -> Path:
    return file.rename(file.with_suffix(".csv"))


#: Settings that mean nothing.
SETTINGS: dict[str, str] = {
    "lists in lists": "x=" + "[" * 100_000 + "]" * 100_000,
    "tables in tables": "x=" + "{a=" * 50_000 + "1" + "}" * 50_000,
    "dotted keys": ".".join(["a"] * 20_000) + "=1",
    "unknown section": "[dta]\nsource='x'",
    "unknown key": "[model]\nsed=1",
    "no TOML": "seed: 1",
    "section that is a value": "model=1",
    "section that is a list": "model=[1,2]",
    "seed as text": "[model]\nseed='7'",
    "seed as float": "[model]\nseed=7.0",
    "seed as list": "[model]\nseed=[" + "[" * 200 + "]" * 200 + "]",
    "seed below 0": "[model]\nseed=-1",
    "seed of 70 bits": "[model]\nseed=1180591620717411303424",
    "seed of 5,000 digits": "[model]\nseed=" + "9" * 5_000,
    "reasons endless": "[model]\nreasons=1000000000",
    "objective unknown": "[model]\nobjective='luck'",
    "horizon endless": "[data]\nhorizon_months=1000000000000",
    "horizon true": "[data]\nhorizon_months=true",
    "grace endless": "[data]\ntechnology_grace_days=9000000000",
    "tolerance nan": "[data]\nexpansion_tolerance=nan",
    "tolerance inf": "[data]\nexpansion_tolerance=inf",
    "tolerance of 500 digits": "[data]\nexpansion_tolerance=" + "9" * 500,
    "day of year 1": "[data]\ntest_from=0001-01-01",
    "day of year 9999": "[data]\nobserved_until=9999-12-31",
    "day as datetime": "[data]\ntest_from=2024-01-01T00:00:00",
    "days as text": "[data]\nsnapshot_dates='2024-01-01'",
    "days of lists": "[data]\nsnapshot_dates=[[2024-01-01]]",
    "first without last": "[data]\nsnapshot_first=2024-01-01",
    "last before first": "[data]\nsnapshot_first=2024-01-01\nsnapshot_last=2023-01-01",
    "names of numbers": "[model]\nrising=[1]",
    "zero byte": "[model]\nseed=1\0",
    "twice": "[model]\nseed=1\n[model]\nseed=2",
}
