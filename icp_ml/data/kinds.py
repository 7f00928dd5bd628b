"""What a raw column is (its kind), and how its cells become that kind, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.cells import unreadable_cells
from icp_ml.data.dates import read_dates
from icp_ml.data.schema import Family, Kind
from icp_ml.data.technologies import are_lists, cells_of, sniff_delimiter, to_lists
from icp_ml.data.values import (
    Bools,
    Floats,
    by_distinct,
    clean_text,
    currency_counts,
    read_flags,
    read_numbers,
    read_texts,
)
from icp_ml.data.windows import Days, years_between

#: Names of industry code columns; they are categories and get parent levels of 4 and 2 digits.
CODE_COLUMNS = tuple(f"{name}{end}" for name in ("naics", "nace", "sic", "isic") for end in ("", "_code"))
#: Digits kept by each parent level.
CODE_LEVELS = (4, 2)
#: A word of the column name that makes it readiness (able to use what it buys?); so does ``data_...``.
READINESS_WORDS = frozenset(
    ["readiness", "maturity", "hiring", "hires", "vacancies", "team", "skills", "skill", "adoption"]
    + ["digital", "analysts", "engineers"]
)
#: A word of the column name that is only known of customers; such columns need ``post_sale=True``.
POST_SALE_WORDS = frozenset(
    ["tenure", "usage", "login", "logins", "ticket", "tickets", "nps", "csat", "satisfaction", "health"]
    + ["discount", "plan", "renewal", "renewed", "churn", "churned", "cancelled", "canceled", "csm"]
    + ["arr", "mrr", "ltv", "cltv"]
)

_ID_WORDS = frozenset({"id", "uuid", "guid", "rownumber", "customerid", "accountid", "unnamed", "index"})
_POSTCODE_WORDS = frozenset({"zip", "zipcode", "postcode", "postal", "plz"})
_ID_SHARE, _ID_VALUES, _TEXT_WORDS = 0.9, 50, 6


#: Reasons are kept in bundle, registry and report, so they speak of counts and kinds, never of a cell.
CONSTANT = "constant: the same value in every row"


@dataclass(frozen=True, slots=True)
class Guess:
    """The kind of one raw column, or why it is no feature."""

    kind: Kind | Literal["date"] | None
    reason: str = ""


def words(name: str) -> set[str]:
    """Return the lower-case words of a column name."""
    spaced = "".join(f" {c}" if c.isupper() else c for c in name) if not name.isupper() else name
    parts = "".join(c if c.isalnum() else " " for c in spaced).lower().split()
    return {*parts, *"".join(c if c.isalnum() else " " for c in name).lower().split()}


def _named_as_id(name: str) -> bool:
    return bool(words(name) & _ID_WORDS) or name.lower().endswith("number")


def _are_whole(numbers: Floats) -> bool:
    """Whether no number has a fraction: a credit index may have one, an id never."""
    known = numbers[~np.isnan(numbers)]
    return bool((known == np.floor(known)).all())


def family_of(name: str) -> Family:
    """Return the family an account column's name speaks for."""
    found = words(name)
    if found & POST_SALE_WORDS:
        return "post_sale"
    ready = found & READINESS_WORDS or name.lower().startswith("data_")
    return "readiness" if ready else "firmographic"


def guess_kind(series: pd.Series[Any], name: str, accounts: npt.NDArray[np.intp]) -> Guess:
    """Infer what one raw column is.

    Parameters
    ----------
    series
        The raw cells.
    name
        Column name; industry codes and ids are known by it.
    accounts
        Account code of each row, so that id-like text is judged per account and not per row.
    """
    known = series.notna().to_numpy()
    if odd := unreadable_cells(series):
        return Guess(None, f"{odd[0]} cells are no single values, such as {odd[1]}")
    if are_lists(series).any():
        return Guess("technologies")
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return Guess("date") if known.any() else Guess(None, "empty")
    coded = name.lower() in CODE_COLUMNS or bool(words(name) & _POSTCODE_WORDS)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iuf" and not coded:
        return _guess_number(series, accounts, name)
    texts = clean_text(series)
    codes, distinct = by_distinct(texts)
    if not distinct:
        return Guess(None, "empty")
    if len(distinct) == 1 and (codes >= 0).all():
        return Guess(None, CONSTANT)
    if coded:
        return Guess("category")
    return _guess_scalar(series, texts, codes, distinct, accounts, name)


def _guess_number(series: pd.Series[Any], accounts: npt.NDArray[np.intp], name: str) -> Guess:
    values = read_numbers(series)[0]
    known = ~np.isnan(values)
    distinct = np.unique(values[known])
    if not len(distinct):
        return Guess(None, "empty")
    if len(distinct) == 1 and known.all():
        return Guess(None, CONSTANT)
    if np.isin(distinct, (0.0, 1.0)).all():
        return Guess("boolean")
    n_accounts = len(np.unique(accounts[known]))
    many = len(distinct) > max(_ID_VALUES, _ID_SHARE * n_accounts)
    if many and _named_as_id(name) and _are_whole(values):
        return Guess(None, f"id-like: {len(distinct)} different values in {n_accounts} accounts")
    return Guess("numeric")


def _guess_scalar(
    series: pd.Series[Any],
    texts: pd.Series[Any],
    codes: npt.NDArray[np.intp],
    distinct: list[Any],
    accounts: npt.NDArray[np.intp],
    name: str,
) -> Guess:
    if len(distinct) <= 8 and not read_flags(texts)[1].any():
        return Guess("boolean")
    n_accounts = len(np.unique(accounts[codes >= 0]))
    many = len(distinct) > _ID_VALUES and len(distinct) > _ID_SHARE * n_accounts
    numbers, unreadable = read_numbers(texts)
    if not unreadable.any():
        if many and _named_as_id(name) and _are_whole(numbers):
            return Guess(None, f"id-like: {len(distinct)} different values in {n_accounts} accounts")
        money = currency_counts(texts)
        if len(money) > 1:
            return Guess(None, f"amounts in several currencies: {money}")
        return Guess("numeric")
    if not read_dates(texts, iso_only=True)[1].any():
        return Guess("date")
    share = float(unreadable.sum()) / max(int((codes >= 0).sum()), 1)
    if share < 0.1 and len(distinct) > _ID_VALUES:
        return Guess(None, f"numbers but for {int(unreadable.sum())} cells of text")
    if many:
        return Guess(None, f"id-like: {len(distinct)} different values in {n_accounts} accounts")
    if len(distinct) > _ID_VALUES and np.mean([len(str(value).split()) for value in distinct]) > _TEXT_WORDS:
        return Guess(None, "free text")
    return Guess("category")


def to_numeric(series: pd.Series[Any], as_of: Days) -> tuple[Floats, Bools]:
    """Read cells as numbers; dates become their age in years at ``as_of`` (NaN if later: not yet known).

    Returns
    -------
    values, unreadable
        float64, and True where a cell is neither a number nor a date.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        days, bad, _ = read_dates(series)
        return years_between(days, as_of), bad
    values, bad = read_numbers(series)
    if bad.any():
        days, no_date, _ = read_dates(series[bad], iso_only=True)
        values = values.copy()
        values[bad] = years_between(days, as_of[bad])
        bad = bad.copy()
        bad[bad] = no_date
    return values, bad


def dated_cells(series: pd.Series[Any]) -> int:
    """Count the cells that are dates, whose value depends on ``as_of``."""
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return int(series.notna().sum())
    bad = read_numbers(series)[1]
    return int(bad.sum() - read_dates(series[bad], iso_only=True)[1].sum()) if bad.any() else 0


def convert(
    series: pd.Series[Any], kind: Kind, as_of: Days, delimiter: str | None = None
) -> tuple[pd.Series[Any], Bools]:
    """Turn raw cells into a feature column of the given kind; each row on its own.

    Returns
    -------
    column
        With a RangeIndex; float64, text or lists.
    unreadable
        True where a cell can't be read as that kind.
    """
    if kind == "category":
        texts, bad = read_texts(series)
        return texts.reset_index(drop=True), bad
    if kind == "technologies":
        strings = cells_of(series, str)
        if delimiter is None and strings.any():
            delimiter = ";"
        return to_lists(series, delimiter), series.notna().to_numpy() & ~strings & ~are_lists(series)
    values, bad = read_flags(series) if kind == "boolean" else to_numeric(series, as_of)
    return pd.Series(values), bad


def delimiter_of(series: pd.Series[Any]) -> str | None:
    """Return the delimiter of a technologies column given as text, None if its cells are lists."""
    strings = series[cells_of(series, str)]
    return sniff_delimiter(strings) if len(strings) else None


def parent_code(codes: pd.Series[Any], digits: int) -> pd.Series[Any]:
    """Return the first ``digits`` characters of industry codes; missing where a code is shorter.

    Examples
    --------
    >>> parent_code(pd.Series(["541511", "62.01", "54"]), 4).tolist()
    ['5415', '6201', nan]
    """
    bare = clean_text(codes).str.replace(r"[^0-9A-Za-z]", "", regex=True)
    return bare.str.slice(0, digits).where(bare.str.len() >= digits)


def code_base(name: str) -> tuple[str, int] | None:
    """Return the code column and the number of digits of a parent level such as ``naics_4``."""
    base, _, digits = name.rpartition("_")
    if base.lower() in CODE_COLUMNS and digits in {str(level) for level in CODE_LEVELS}:
        return base, int(digits)
    return None
