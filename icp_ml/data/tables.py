"""The raw tables of a customer base, typed and checked: what is unusable is refused by row and by rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.cells import plain_frame
from icp_ml.data.contracts import CONTRACTS, Column, Contract
from icp_ml.data.dates import read_dates
from icp_ml.data.files import Source, open_tables
from icp_ml.data.ids import ids_preview, read_ids
from icp_ml.data.rejects import Rejects
from icp_ml.data.screen import Screen
from icp_ml.data.values import (
    currency_counts,
    read_flags,
    read_numbers,
    read_texts,
    shown_text,
    writes_comma_decimals,
)
from icp_ml.errors import RelationError, TableError

_FLAG_WORDS = {"won": 1.0, "lost": 0.0}
#: Sums and ratios of amounts up to here, and down to one over it, are finite.
_LARGEST = 1e30
_OUT_OF_RANGE = "number_out_of_range"


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of a customer base, as ``read_tables`` accepted them.

    Parameters
    ----------
    accounts
        One row per account, or several with ``valid_from``; extra columns are features.
    technologies, subscriptions, deals, tickets, nps, usage, costs
        Tables by account, None where there is none.
    """

    accounts: pd.DataFrame
    technologies: pd.DataFrame | None = None
    subscriptions: pd.DataFrame | None = None
    deals: pd.DataFrame | None = None
    tickets: pd.DataFrame | None = None
    nps: pd.DataFrame | None = None
    usage: pd.DataFrame | None = None
    costs: pd.DataFrame | None = None

    def present(self) -> dict[str, pd.DataFrame]:
        """Return the tables there are, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: frame for name, frame in found.items() if frame is not None}

    def required(self, name: str) -> pd.DataFrame:
        """Return a table that can't be done without.

        Raises
        ------
        TableError
            If there is no such table.
        """
        found = self.present().get(name)
        if found is None:
            raise TableError(
                f"expected a table {name!r}, found {list(self.present())}: add {name}.csv", missing=name
            )
        return found


def read_tables(
    source: Source,
    *,
    rename: Mapping[str, Mapping[str, str]] | None = None,
    day_first: bool | None = None,
    encoding: str = "utf-8",
) -> tuple[Tables, Rejects]:
    r"""Read and check the tables of a customer base.

    Checks run in a fixed order: columns exist, cells can be read as their type, values keep the rules.
    A row that breaks a rule is refused and counted; a table that can't be used raises.
    Empty cells and ``null``, ``nan``, ``n/a``, ``#n/a``, ``<na>``, ``\\N`` (in any case) are missing values;
    "None" and "NA" are ordinary text.

    Parameters
    ----------
    source
        A folder with ``NAME.csv``, ``NAME.csv.gz``, ``NAME.parquet`` or a folder ``NAME/`` of such files per
        table; or a mapping from table name to DataFrame or path. Only ``accounts`` is required.
    rename
        Per table, source column → contract column, such as ``{"subscriptions": {"arr_amount": "arr"}}``.
    day_first
        How to read 03/04/2024, where no value of the column tells.
    encoding
        Of csv files.

    Returns
    -------
    tables, rejects
        The accepted rows, typed, and the refused ones. Per table: rows in = accepted + refused.

    Raises
    ------
    TableError
        If a required table or column is missing, no cell of a column can be read, accounts or subscriptions
        are empty, or amounts are in several currencies.
    RelationError
        If no row of a table belongs to a known account.

    Examples
    --------
    >>> accounts = pd.DataFrame({"account_id": ["a", "b", "a"], "industry": ["Retail", "Energy", "Retail"]})
    >>> tables, rejects = read_tables({"accounts": accounts})
    >>> len(tables.accounts), rejects.counts().values.tolist()
    (2, [['accounts', 'duplicate_account', 1]])
    """
    raw = open_tables(source, encoding)
    _check_rename(rename)
    if "accounts" not in raw:
        raise TableError(
            f"expected a table 'accounts', found {sorted(raw) or 'no table'}: add accounts.csv",
            missing="accounts",
        )
    screens: dict[str, Screen] = {}
    for name, contract in CONTRACTS.items():
        if name in raw:
            table = raw.pop(name)
            frame = table.frame.rename(columns=dict((rename or {}).get(name, {})))
            screens[name] = screen_table(frame, contract, day_first, table.stray)
    known = screens["accounts"].accepted()["account_id"]
    for name, screen in screens.items():
        if name != "accounts":
            _relate(screen, known)
    kept = {name: screen.accepted() for name, screen in screens.items()}
    for name, frame in kept.items():
        if CONTRACTS[name].filled_table and not len(frame):
            counts = screens[name].counts()
            raise TableError(
                f"expected rows in {name}, found that every one is refused: {counts}", table=name
            )
    rows_in = {name: screen.n_rows for name, screen in screens.items()}
    rejects = Rejects.of((screen.refused() for screen in screens.values()), rows_in)
    return Tables(**kept), rejects


def _check_rename(rename: object) -> None:
    inner = list(rename.values()) if isinstance(rename, Mapping) else []
    if rename is not None and not (
        isinstance(rename, Mapping) and all(isinstance(m, Mapping) for m in inner)
    ):
        raise TableError(
            "expected rename such as {'subscriptions': {'arr_amount': 'arr'}}, found "
            f"{type(rename).__name__}: give source column and contract column per table"
        )


def screen_table(
    frame: pd.DataFrame, contract: Contract, day_first: bool | None, stray: Any = None
) -> Screen:
    """Read every cell of one raw table by its contract; rows of ``stray`` are refused before all others."""
    frame = plain_frame(frame)
    frame.columns = pd.Index([name.strip().lstrip("\ufeff") for name in frame.columns])
    _check_columns(frame, contract)
    if contract.filled_table and not len(frame):
        raise TableError(f"expected rows in {contract.name}, found an empty table", table=contract.name)
    screen = Screen(contract.name, frame)
    if stray is not None:
        screen.refuse(stray, "stray_quote", "account_id")
    for column in contract.columns:
        if column.name in frame.columns:
            _read_column(screen, column, day_first)
    for column in contract.columns:
        if column.filled:
            screen.refuse(screen.frame[column.name].isna().to_numpy(), f"missing_{column.name}", column.name)
    for start, end in contract.spans:
        if {start, end} <= set(frame.columns):
            mask = (screen.frame[end] < screen.frame[start]).to_numpy()
            screen.refuse(mask, "end_before_start", end)
    for column in contract.columns:
        if column.negative and column.name in frame.columns:
            screen.refuse((screen.frame[column.name] < 0).to_numpy(), column.negative, column.name)
    if contract.unique:
        screen.refuse_duplicates(
            [name for name in contract.unique if name in frame.columns], "duplicate_account"
        )
    if contract.name == "subscriptions" and "currency" in frame.columns:
        _check_currencies(screen.accepted()["currency"].value_counts().to_dict(), contract.name, "currency")
    return screen


def _check_columns(frame: pd.DataFrame, contract: Contract) -> None:
    names = [str(name) for name in frame.columns]
    missing = [name for name in contract.required if name not in names]
    if missing:
        hints = []
        for name in missing:
            near = get_close_matches(name, names, n=1, cutoff=0.5)
            hints.append(f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name))
        raise TableError(
            f"{contract.name}: expected the columns {list(contract.required)}, found none named "
            f"{', '.join(hints)}; the table has {names[:8]}: rename them, or pass rename=...",
            table=contract.name,
            missing=missing,
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(
            f"{contract.name}: expected each column once, found {twice[:5]} more than once",
            table=contract.name,
        )


def _read_column(screen: Screen, column: Column, day_first: bool | None) -> None:
    source = screen.frame[column.name]
    values: Any
    if column.type == "id":
        values, bad = read_ids(source)
    elif column.type == "text":
        values, bad = read_texts(source)
    elif column.type == "date":
        values, bad, ambiguous = read_dates(source, day_first=day_first)
        if ambiguous:
            raise TableError(
                f"{screen.table}.{column.name}: expected dates such as 2024-06-30, found {ambiguous} and "
                "nothing "
                "that tells day from month: pass day_first=True or day_first=False",
                table=screen.table,
                column=column.name,
            )
    elif column.type == "number":
        _check_currencies(currency_counts(source), screen.table, column.name)
        values, bad = read_numbers(source, comma_decimal=writes_comma_decimals(source))
    else:
        flags, bad = read_flags(source, _FLAG_WORDS)
        values = pd.Series(flags).astype("boolean").array
    found = shown_text(source) if bad.any() else source
    if bad.any() and int(bad.sum()) == int(found.notna().sum()):
        raise TableError(
            f"{screen.table}.{column.name}: expected {column.type}s, found {int(bad.sum())} values and "
            "none of "
            f"them is one, such as {ids_preview(found[bad])}: correct the column",
            table=screen.table,
            column=column.name,
            count=int(bad.sum()),
        )
    screen.refuse(bad, f"unreadable_{column.type}", column.name)
    if column.type == "number":
        size = np.abs(values)
        screen.refuse((size > _LARGEST) | ((size < 1 / _LARGEST) & (size > 0)), _OUT_OF_RANGE, column.name)
    screen.replace(column.name, pd.Series(values, index=source.index))


def _check_currencies(counts: dict[Any, int], table: str, column: str) -> None:
    if len(counts) > 1:
        raise TableError(
            f"{table}.{column}: expected one currency, found {len(counts)}: {counts}; convert to one first",
            table=table,
            column=column,
            currencies=counts,
        )


def _relate(screen: Screen, known: pd.Series[Any]) -> None:
    ids = screen.frame["account_id"]
    stranger = ids.notna().to_numpy() & ~ids.isin(known).to_numpy()
    if stranger.any() and int(stranger.sum()) == int(ids.notna().sum()):
        raise RelationError(
            f"expected accounts of {screen.table} among the {known.nunique()} known ones, found none of "
            f"{int(stranger.sum())} rows: {ids_preview(ids[stranger])}; the accounts are called "
            f"{ids_preview(known)}: check that both tables use the same ids",
            table=screen.table,
            count=int(np.sum(stranger)),
            account_ids=ids[stranger].tolist()[:5],
        )
    screen.refuse(stranger, "unknown_account", "account_id")
