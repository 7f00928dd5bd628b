"""What each input table must hold: columns, types, and the rules a row has to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["id", "text", "date", "number", "flag"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table contract.

    Parameters
    ----------
    name
        Column name.
    type
        How its cells are read.
    required
        The table is refused without it.
    filled
        A row is refused where it is empty (rule ``missing_<name>``).
    negative
        Rule that refuses values below zero; empty = allowed.
    """

    name: str
    type: Type
    required: bool = False
    filled: bool = False
    negative: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """One input table.

    Parameters
    ----------
    name
        Table name, also the file name.
    columns
        Known columns; others are kept as they are.
    spans
        Pairs (start, end) of date columns; a row with end before start is refused (``end_before_start``).
    unique
        A row is refused if an earlier one has the same values here (``duplicate_account``); columns that
        the table doesn't have are left out.
    filled_table
        The table may not be empty.
    """

    name: str
    columns: tuple[Column, ...]
    spans: tuple[tuple[str, str], ...] = ()
    unique: tuple[str, ...] = ()
    filled_table: bool = False

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns the table can't do without."""
        return tuple(column.name for column in self.columns if column.required)


_ACCOUNT = Column("account_id", "id", required=True, filled=True)
_DATE = Column("date", "date", required=True, filled=True)

CONTRACTS: dict[str, Contract] = {
    contract.name: contract
    for contract in (
        Contract(
            "accounts",
            (
                _ACCOUNT,
                Column("valid_from", "date"),
                Column("observed_at", "date"),
                Column("parent_id", "id"),
            ),
            unique=("account_id", "valid_from", "observed_at"),
            filled_table=True,
        ),
        Contract(
            "technologies",
            (
                _ACCOUNT,
                Column("technology", "text", required=True, filled=True),
                Column("category", "text"),
                Column("first_seen", "date"),
                Column("last_seen", "date"),
            ),
            spans=(("first_seen", "last_seen"),),
        ),
        Contract(
            "subscriptions",
            (
                _ACCOUNT,
                Column("start_date", "date", required=True, filled=True),
                Column("end_date", "date", required=True),
                Column("arr", "number", required=True, filled=True, negative="negative_arr"),
                Column("product", "text"),
                Column("renewal_date", "date"),
                Column("discount", "number"),
                Column("currency", "text"),
            ),
            spans=(("start_date", "end_date"), ("start_date", "renewal_date")),
            filled_table=True,
        ),
        Contract(
            "deals",
            (
                _ACCOUNT,
                Column("closed_date", "date", required=True),
                Column("won", "flag", required=True),
                Column("created_date", "date"),
                Column("amount", "number", negative="negative_amount"),
                Column("discount", "number"),
                Column("reason_lost", "text"),
            ),
            spans=(("created_date", "closed_date"),),
        ),
        Contract("tickets", (_ACCOUNT, _DATE)),
        Contract("nps", (_ACCOUNT, _DATE, Column("score", "number", required=True, filled=True))),
        Contract(
            "usage",
            (
                _ACCOUNT,
                _DATE,
                Column("metric", "text", required=True, filled=True),
                Column("value", "number", required=True, filled=True),
            ),
        ),
        Contract(
            "costs",
            (
                _ACCOUNT,
                Column("cac", "number", required=True, negative="negative_amount"),
                Column("gross_margin", "number"),
                Column("cost_to_serve", "number", negative="negative_amount"),
                Column("channel", "text"),
            ),
        ),
    )
}
