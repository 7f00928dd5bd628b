"""One cell at a time: text, numbers and flags as people export them, read the same way everywhere."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Text that means "no value", compared without case and outer spaces. "None" and "NA" are not among it.
MISSING_TEXT = frozenset({"", "null", "nan", "nat", "n/a", "#n/a", "<na>", "\\n"})
#: Types of cells that hold several values.
LISTS = (list, tuple, set, frozenset, np.ndarray)
#: The text dtype of the installed pandas: ``object`` before 3, ``str`` since.
TEXT_DTYPE = pd.Series(["a"]).dtype

_TRUE = frozenset({"1", "true", "yes", "y", "t"})
_FALSE = frozenset({"0", "false", "no", "n", "f"})
_CURRENCIES = {
    "$": "USD",
    "US$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "KR": "SEK",
    "FR": "CHF",
}
_CODES = frozenset(
    ["USD", "EUR", "GBP", "JPY", "INR", "CHF", "SEK", "NOK", "DKK", "CAD", "AUD", "NZD", "CNY"]
    + ["BRL", "MXN", "PLN", "CZK", "HUF", "ZAR", "SGD", "HKD", "KRW", "ILS", "TRY", "AED"]
)
_SCALE = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}
# Every run of spaces or digits is possessive, so that reading a cell takes time linear in its length.
_MONEY = re.compile(
    r"^(?P<open>\()?\s*+(?P<sign>[-+−])?\s*+(?P<before>US\$|[$€£¥₹]|[A-Za-z]{2,3})?\s*+(?P<inner>[-−])?"
    r"(?P<digits>\d[\d.,'\s\u00a0\u202f]*+|\.\d++)(?P<power>[eE][-+]?\d++)?\s*+(?P<scale>[kKmMbB](?![A-Za-z]))?"
    r"\s*+(?P<after>[$€£¥₹%]|[A-Za-z]{2,3})?\s*+(?P<close>\))?$"
)
_GROUPED_COMMA = re.compile(r"^\d{1,3}(,\d{3})+$")
_GROUPED_DOT = re.compile(r"^\d{1,3}(\.\d{3}){2,}$")
_FAST_FROM = 1000
_MOST_DIGITS = 400
_BOOLEANS = frozenset({bool, np.bool_})


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in a column for a cell that is no single value, such as a dict.

    Parameters
    ----------
    found
        What the cell is, without its content.
    """

    found: str

    def __str__(self) -> str:
        return self.found

    __repr__ = __str__


def is_arrow_text(kind: pa.DataType) -> bool:
    """Whether an arrow type is text, of either width."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_arrow_list(kind: pa.DataType) -> bool:
    """Whether an arrow type is lists, of either width."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def text_of(value: object) -> str | None:
    """Return one cell as stripped text, or None where it means "no value".

    Whole floats lose their ``.0`` (an id read as 17.0 is ``"17"``), booleans become ``"true"``/``"false"``.

    Examples
    --------
    >>> text_of(17.0), text_of(" Fintech "), text_of("N/A"), text_of("None")
    ('17', 'Fintech', None, 'None')
    """
    if isinstance(value, str):
        text = value.strip()
        return None if text.casefold() in MISSING_TEXT else text
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if math.isnan(number):
            return None
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, Decimal):
        return _decimal_text(value)
    if isinstance(value, bytes):
        return text_of(value.decode("utf-8", "replace"))
    if isinstance(value, datetime) and MINYEAR <= value.year <= MAXYEAR:
        return value.date().isoformat() if value.time() == datetime.min.time() else value.isoformat(" ")
    return str(value).strip()


def _decimal_text(value: Decimal) -> str | None:
    if not value.is_finite():
        return None if value.is_nan() else str(value)
    if abs(value.adjusted()) > _MOST_DIGITS:
        return str(value)
    if value == value.to_integral_value():
        return str(int(value))
    short = str(float(value))
    return short if Decimal(short) == value else format(value, "f").rstrip("0")


def by_distinct(series: pd.Series[Any]) -> tuple[npt.NDArray[np.intp], list[Any]]:
    """Return codes (-1 = missing) and the distinct cells of a column, so that work is done once per value."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return series.cat.codes.to_numpy().astype(np.intp), list(series.cat.categories)
    if series.dtype == object:
        return _distinct_objects(series.to_numpy())
    if isinstance(series.dtype, pd.ArrowDtype) and pa.types.is_nested(series.dtype.pyarrow_dtype):
        return np.where(series.isna().to_numpy(), -1, 0), [Unreadable("a list")]
    codes, found = pd.factorize(series)
    return codes, list(found)


def _distinct_objects(cells: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], list[Any]]:
    kinds = set(map(type, cells))
    several = {kind for kind in kinds if kind.__hash__ is None or kind is tuple}
    if several:
        marks = {kind: Unreadable(f"a {kind.__name__}") for kind in several}
        cells = np.array([marks.get(type(cell), cell) for cell in cells] + [None], dtype=object)[:-1]
    numbers = [kind for kind in kinds if issubclass(kind, int | float | np.number | Decimal)]
    if not kinds & _BOOLEANS or len(numbers) < 2:
        codes, found = pd.factorize(cells)
        return codes, list(found)
    # 1 and True are equal, and which of them comes first must not decide.
    pairs = np.empty(len(cells), dtype=object)
    pairs[:] = [None if pd.isna(cell) else (type(cell) in _BOOLEANS, cell) for cell in cells]
    codes, found = pd.factorize(pairs)
    return codes, [cell for _, cell in found]


def spread(codes: npt.NDArray[np.intp], values: npt.NDArray[Any], missing: object) -> npt.NDArray[Any]:
    """Give each row the value of its code; rows with code -1 get ``missing``."""
    padded = np.concatenate([values, np.array([missing], dtype=values.dtype)])
    result: npt.NDArray[Any] = padded[codes]
    return result


def clean_text(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as stripped text with missing values where a cell means "no value"."""
    return read_texts(series)[0]


def read_texts(series: pd.Series[Any]) -> tuple[pd.Series[Any], Bools]:
    """Read a column of text.

    Returns
    -------
    values
        Stripped text, missing where a cell means "no value" or is none.
    unreadable
        True where a cell is no single value.
    """
    codes, distinct = by_distinct(series)
    bad = np.array([isinstance(value, Unreadable | list) for value in distinct], dtype=np.bool_)
    texts = [None if no else text_of(value) for value, no in zip(distinct, bad, strict=True)]
    return as_text(codes, texts, series), spread(codes, bad, False)


def as_text(codes: npt.NDArray[np.intp], texts: list[str | None], series: pd.Series[Any]) -> pd.Series[Any]:
    """Give each row of a column the text of its code."""
    padded = np.array([*texts, None], dtype=object)
    taken = pd.Series(padded, dtype=TEXT_DTYPE).array.take(codes)
    return pd.Series(taken, index=series.index, name=series.name)


def shown_text(series: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as text for a message, where a cell that is no single value is told by what it is."""
    codes, distinct = by_distinct(series)
    return as_text(codes, [text_of(value) for value in distinct], series)


def number_of(text: str, *, comma_decimal: bool = False) -> float | None:
    """Read one number or amount; None if it is neither, or larger than a float holds.

    Parameters
    ----------
    text
        Such as ``"1200"``, ``"$1,200"``, ``"1 200 EUR"``, ``"1.200,50 €"``, ``"(300)"``, ``"12k"``, ``"8%"``.
    comma_decimal
        Read a lone dot before three digits as a thousands mark, as the rest of the column does.

    Examples
    --------
    >>> [number_of(text) for text in ("$1,200", "1 200 EUR", "1.200,50 €", "12k", "mid-market")]
    [1200.0, 1200.0, 1200.5, 12000.0, None]
    """
    match = _MONEY.match(text)
    if match is None or any(_currency(match[side]) is None for side in ("before", "after")):
        return None
    digits = re.sub(r"['\s\u00a0\u202f]", "", match["digits"])
    plain = _plain_digits(digits, comma_decimal)
    if plain is None:
        return None
    try:
        number = float(plain + (match["power"] or ""))
    except ValueError:
        return None
    negative = bool(match["open"]) or match["sign"] in ("-", "−") or bool(match["inner"])
    number = (-number if negative else number) * _SCALE[(match["scale"] or "").upper()]
    return number if math.isfinite(number) else None


def _plain_digits(digits: str, comma_decimal: bool) -> str | None:
    if "," in digits and "." in digits:
        decimal, group = (",", ".") if digits.rfind(",") > digits.rfind(".") else (".", ",")
        return digits.replace(group, "").replace(decimal, ".") if digits.count(decimal) == 1 else None
    if "," in digits:
        if _GROUPED_COMMA.match(digits) and not comma_decimal:
            return digits.replace(",", "")
        return digits.replace(",", ".") if digits.count(",") == 1 else None
    if _GROUPED_DOT.match(digits) or (comma_decimal and re.fullmatch(r"\d{1,3}\.\d{3}", digits)):
        return digits.replace(".", "")
    return digits if digits.count(".") <= 1 else None


def _currency(mark: str | None) -> str | None:
    """Return the ISO code of a mark, "" for none or a percent sign, None for an unknown word."""
    if mark is None or mark == "%":
        return ""
    upper = mark.upper()
    return upper if upper in _CODES else _CURRENCIES.get(upper)


def currency_counts(series: pd.Series[Any]) -> dict[str, int]:
    """Count the rows of a text column by the currency that is written in them, commonest first."""
    if pd.api.types.is_numeric_dtype(series.dtype):
        return {}
    codes, distinct = by_distinct(series)
    rows = np.bincount(codes[codes >= 0], minlength=len(distinct))
    counts: dict[str, int] = {}
    for value, n in zip(distinct, rows, strict=True):
        match = _MONEY.match(value.strip()) if isinstance(value, str) else None
        for mark in (match["before"], match["after"]) if match else ():
            code = _currency(mark)
            if code:
                counts[code] = counts.get(code, 0) + int(n)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def writes_comma_decimals(series: pd.Series[Any]) -> bool:
    """Whether a text column writes 1.200,50 rather than 1,200.50, judged by its unmistakable values."""
    if pd.api.types.is_numeric_dtype(series.dtype):
        return False
    texts = [value for value in by_distinct(series)[1] if isinstance(value, str)]
    comma = sum(bool(re.search(r"\.\d{3},\d|\d,\d{1,2}(?!\d)|\.\d{3}\.\d{3}", text)) for text in texts)
    dot = sum(bool(re.search(r",\d{3}\.\d|\d\.\d{1,2}(?!\d)|,\d{3},\d{3}", text)) for text in texts)
    return comma > dot


def read_numbers(series: pd.Series[Any], *, comma_decimal: bool = False) -> tuple[Floats, Bools]:
    """Read a column of numbers.

    Returns
    -------
    values
        float64, NaN where missing or unreadable.
    unreadable
        True where a cell holds something that is no finite number.
    """
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        plain = series.to_numpy(dtype=np.float64)
        bad = np.isinf(plain)
        return (np.where(bad, np.nan, plain) if bad.any() else plain), bad

    def read(value: object) -> tuple[float, bool]:
        if isinstance(value, str):
            text = text_of(value)
            number = 0.0 if text is None else number_of(text, comma_decimal=comma_decimal)
            return (
                (math.nan, False) if text is None else (math.nan, True) if number is None else (number, False)
            )
        if isinstance(value, (bool, np.bool_, int, float, np.number, Decimal)):
            return _finite(value)
        return math.nan, text_of(value) is not None

    codes, distinct = by_distinct(series)
    values, slow = np.full(len(distinct), math.nan), np.arange(len(distinct))
    if not comma_decimal and len(distinct) > _FAST_FROM and all(isinstance(value, str) for value in distinct):
        texts = pa.array(distinct, type=pa.large_string())
        plain = pc.match_substring_regex(texts, r"^-?\d{1,300}(\.\d+)?$").to_numpy(zero_copy_only=False)
        values[plain] = texts.filter(pa.array(plain)).cast(pa.float64()).to_numpy(zero_copy_only=False)
        slow = slow[~plain]
    bad = np.zeros(len(distinct), dtype=np.bool_)
    for place in slow:
        values[place], bad[place] = read(distinct[place])
    return spread(codes, values, math.nan), spread(codes, bad, False)


def _finite(value: Any) -> tuple[float, bool]:
    """Return a number, or NaN and True where no float can hold it."""
    try:
        number = float(value)
    except OverflowError:
        return math.nan, True
    return (math.nan, True) if math.isinf(number) else (number, False)


def read_flags(series: pd.Series[Any], extra: dict[str, float] | None = None) -> tuple[Floats, Bools]:
    """Read a column of yes/no values as 1.0, 0.0 and NaN; ``unreadable`` marks every other word.

    Parameters
    ----------
    series
        Booleans, 0/1, or the words true/false, yes/no, y/n, t/f in any case.
    extra
        More words (case-folded) with their value.
    """

    def read(value: object) -> tuple[float, bool]:
        text = text_of(value)
        if text is None:
            return math.nan, False
        word = text.casefold()
        word = word[:-2] if word in ("0.0", "1.0") else word
        if word in _TRUE:
            return 1.0, False
        if word in _FALSE:
            return 0.0, False
        if extra and word in extra:
            return extra[word], False
        return math.nan, True

    codes, distinct = by_distinct(series)
    pairs = [read(value) for value in distinct]
    values = np.array([pair[0] for pair in pairs], dtype=np.float64)
    bad = np.array([pair[1] for pair in pairs], dtype=np.bool_)
    return spread(codes, values, math.nan), spread(codes, bad, False)
