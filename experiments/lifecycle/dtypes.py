"""Frames as somebody may hand them in, dtype by dtype, and the plain frame that each means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

TOOLS = ("Jira", "Slack", "SAP", "dbt")
NAMED = "InputMismatchError"
Change = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Case:
    """A frame as somebody may hand it in, and the plain frame that it means.

    ``meant`` None: the model itself must be asked with the frame as given. ``error``: the named error that
    every way must end in. ``lacks``: ways that can't carry the frame at all, with the reason.
    """

    name: str
    given: Callable[[pd.DataFrame], Any]
    meant: Change | None = None
    error: str = ""
    lacks: tuple[tuple[str, str], ...] = ()


def frame(rows: int, seed: int) -> pd.DataFrame:
    """Plain accounts: text, floats, whole numbers, flags, days and lists of tools."""
    rng = np.random.default_rng(seed)
    industry = rng.choice(["Fintech", "Retail", "Health"], rows)
    seats = np.exp(rng.normal(4.0, 1.0, rows))
    stack = [[str(tool) for tool in TOOLS if rng.random() < 0.4] for _ in range(rows)]
    logit = 1.2 * (industry == "Fintech") + 0.6 * (np.log(seats) - 4.0)
    return pd.DataFrame(
        {
            "account_id": [f"c{i:04d}" for i in range(rows)],
            "day": np.full(rows, np.datetime64("2025-06-30", "us")),
            "industry": pd.Series(industry.astype(object), dtype=object),
            "seats": seats,
            "employees": rng.integers(2, 200, rows),
            "remote": rng.random(rows) < 0.4,
            "founded": np.datetime64("1995-01-01", "us") + rng.integers(0, 9000, rows).astype("m8[D]"),
            "stack": stack,
            "renewed": rng.random(rows) < 1 / (1 + np.exp(-logit)),
        }
    )


def as_trained(plain: pd.DataFrame) -> pd.DataFrame:
    """The dtypes of a careful user: category, nullable whole numbers and flags, days with a zone."""
    return plain.assign(
        industry=plain["industry"].astype("category"),
        employees=_unknown_at(plain["employees"].astype("Int64"), 13),
        remote=_unknown_at(plain["remote"].astype("boolean"), 17),
        founded=plain["founded"].dt.tz_localize("UTC"),
    )


def _as_trained_means(plain: pd.DataFrame) -> pd.DataFrame:
    return plain.assign(
        employees=_unknown_at(plain["employees"].astype("float64"), 13),
        remote=_unknown_at(plain["remote"].astype("float64"), 17),
    )


def _unknown_at(column: pd.Series, step: int) -> pd.Series:
    column = column.copy()
    column.iloc[::step] = None
    return column


def _cast(**kinds: object) -> Change:
    return lambda plain: plain.astype(kinds)


def _cells(name: str, change: Callable[[Any], Any]) -> Change:
    """Change every cell of a column and keep the cells as they are, in an object column."""
    return lambda plain: plain.assign(
        **{name: pd.Series([change(cell) for cell in plain[name]], dtype=object)}
    )


def _gaps(name: str, kind: str, step: int = 5) -> Change:
    return lambda plain: plain.assign(**{name: _unknown_at(plain[name].astype(kind), step)})


def _whole(plain: pd.DataFrame, kind: str) -> pd.DataFrame:
    return plain.assign(seats=plain["seats"].clip(1, 200).round().astype(kind))


def _arrow_stack(plain: pd.DataFrame) -> pd.DataFrame:
    kind = pd.ArrowDtype(pa.list_(pa.string()))
    return plain.assign(stack=pd.Series(plain["stack"].tolist(), dtype=kind))


def _every_fourth(change: Callable[[Any], Any]) -> Change:
    def changed(plain: pd.DataFrame) -> pd.DataFrame:
        cells = [change(cell) if i % 4 == 0 else cell for i, cell in enumerate(plain["stack"])]
        return plain.assign(stack=pd.Series(cells, dtype=object))

    return changed


def _extra(plain: pd.DataFrame) -> pd.DataFrame:
    more = plain.assign(when=pd.Timedelta("1h"), note="x", flag=True, other=[["y"]] * len(plain))
    return more[more.columns[::-1]]


def _every_empty_unknown(plain: pd.DataFrame) -> pd.DataFrame:
    """Delimited text can't tell an empty stack from an unknown one."""
    return plain.assign(stack=pd.Series([cell or None for cell in plain["stack"]], dtype=object))


_FILE = "a parquet file, so Spark, can't carry it"
_SPAN = "Spark reads a parquet file's spans of time as whole numbers"
LACKS = (_FILE, _SPAN)
_NO_FILE = (("spark_udf", _FILE), ("score_spark", _FILE))
_NO_SPAN = (("spark_udf", _SPAN), ("score_spark", _SPAN))
_PLAIN = lambda plain: plain  # noqa: E731 - the name is the point
_WHOLE = lambda plain: _whole(plain, "float64")  # noqa: E731

CASES = (
    Case("as trained on: category, Int64 and boolean with NA, zone, lists", as_trained, _as_trained_means),
    Case("plain text, object", _PLAIN, _PLAIN),
    Case("text, pandas 3 str", _cast(industry="str"), _PLAIN),
    Case("text, string[pyarrow]", _cast(industry="string[pyarrow]"), _PLAIN),
    Case("text with None", _gaps("industry", "object"), _gaps("industry", "object")),
    Case("category of text", _cast(industry="category"), _PLAIN),
    Case("category of whole numbers", _cast(employees="category"), _PLAIN),
    Case("category with a level never seen", _cells("industry", lambda c: "Mining" if c == "Health" else c)),
    Case("int64 where floats were seen", lambda plain: _whole(plain, "int64"), _WHOLE),
    Case("int32 where floats were seen", lambda plain: _whole(plain, "int32"), _WHOLE),
    Case("uint8 where floats were seen", lambda plain: _whole(plain, "uint8"), _WHOLE),
    Case("uint64 where floats were seen", lambda plain: _whole(plain, "uint64"), _WHOLE),
    Case("Int64 where floats were seen", lambda plain: _whole(plain, "Int64"), _WHOLE),
    Case(
        "float32",
        _cast(seats="float32"),
        lambda plain: plain.astype({"seats": "float32"}).astype({"seats": "float64"}),
    ),
    Case("Float64 with NA", _gaps("seats", "Float64"), _gaps("seats", "float64")),
    Case("float64 with NaN", _gaps("seats", "float64"), _gaps("seats", "float64")),
    Case("double[pyarrow] with NA", _gaps("seats", "double[pyarrow]"), _gaps("seats", "float64")),
    Case("floats where whole numbers were seen", _cast(employees="float64"), _PLAIN),
    Case(
        "floats with NaN where whole numbers were seen",
        _gaps("employees", "float64"),
        _gaps("employees", "float64"),
    ),
    Case("Int64 with NA", _gaps("employees", "Int64"), _gaps("employees", "float64")),
    Case("int64[pyarrow]", _cast(employees="int64[pyarrow]"), _PLAIN),
    Case(
        "whole numbers in an object column, with None",
        _gaps("employees", "object"),
        _gaps("employees", "float64"),
    ),
    Case("decimals", _cells("employees", Decimal), _PLAIN),
    Case("numbers as text", _cells("employees", str), _PLAIN),
    Case("boolean with NA", _gaps("remote", "boolean"), _gaps("remote", "float64")),
    Case("flags in an object column, with None", _gaps("remote", "object"), _gaps("remote", "float64")),
    Case("flags as 0 and 1", _cast(remote="int64"), _PLAIN),
    Case("flags as yes and no", _cells("remote", lambda c: "yes" if c else "no"), _PLAIN),
    Case("datetime64[ns]", _cast(founded="datetime64[ns]"), _PLAIN),
    Case("datetime64[s] with NaT", _gaps("founded", "datetime64[s]"), _gaps("founded", "datetime64[us]")),
    Case(
        "datetime with a zone",
        lambda plain: plain.assign(founded=plain["founded"].dt.tz_localize("UTC")),
        _PLAIN,
    ),
    Case("days as ISO text", _cells("founded", lambda c: c.date().isoformat()), _PLAIN),
    Case("days as date objects", _cells("founded", lambda c: c.date()), _PLAIN),
    Case("snapshot day as ISO text", _cells("day", lambda c: c.date().isoformat()), _PLAIN),
    Case("snapshot day in as_of", lambda plain: plain.rename(columns={"day": "as_of"}), _PLAIN),
    Case("lists as numpy arrays", _cells("stack", lambda c: np.array(c, dtype=object)), _PLAIN),
    Case("lists as tuples", _cells("stack", tuple), _PLAIN),
    Case("lists as sets", _cells("stack", set), _PLAIN, lacks=_NO_FILE),
    Case("lists, arrow-backed", _arrow_stack, _PLAIN),
    Case("lists as delimited text", _cells("stack", ";".join), _every_empty_unknown),
    Case("lists with None in them", _every_fourth(lambda c: [None, *c, None]), _PLAIN),
    Case("no list in some rows", _every_fourth(lambda c: None), _every_fourth(lambda c: None)),
    Case("all lists empty", _cells("stack", lambda c: []), _cells("stack", lambda c: [])),
    Case("lists of whole numbers", _cells("stack", lambda c: [1, 2]), _cells("stack", lambda c: ["1", "2"])),
    Case("a tool never seen", _cells("stack", lambda c: [*c, "Fortran"])),
    Case("two optional columns absent", lambda plain: plain.drop(columns=["employees", "stack"])),
    Case("reordered, with extra columns", _extra, _PLAIN),
    Case("one row", lambda plain: plain.head(1)),
    Case("no account column", lambda plain: plain.drop(columns="account_id"), error=NAMED),
    Case(
        "an empty account",
        lambda plain: plain.assign(account_id=[None, *plain["account_id"].iloc[1:]]),
        error=NAMED,
    ),
    Case("no column of the model", lambda plain: plain[["account_id", "day"]], error=NAMED),
    Case("text for a number", _cells("seats", lambda c: "many"), error=NAMED),
    Case("days that are none", _cells("founded", lambda c: "soon"), error=NAMED),
    Case(
        "timedelta for a number",
        lambda plain: plain.assign(seats=pd.Timedelta("1h")),
        error=NAMED,
        lacks=_NO_SPAN,
    ),
)
