"""What was known of an account at the end of a day: one code path for training and for scoring."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from icp_ml import parameters
from icp_ml.data.conform import unknown_column
from icp_ml.data.ids import ids_preview
from icp_ml.data.kinds import (
    CODE_COLUMNS,
    CODE_LEVELS,
    code_base,
    convert,
    delimiter_of,
    family_of,
    guess_kind,
    parent_code,
)
from icp_ml.data.lookup import distinct_ids, positions, rows_in_force, rows_known
from icp_ml.data.post_sale import post_sale_columns, post_sale_features
from icp_ml.data.schema import KEYS, Feature, Kind, Schema
from icp_ml.data.tables import Tables
from icp_ml.data.technologies import encode, list_sizes, tool_lists
from icp_ml.data.values import TEXT_DTYPE
from icp_ml.data.windows import DateLike, Days, known_by, shift_days, to_day, to_days
from icp_ml.errors import DataWarning, InputMismatchError, TableError

#: Columns of ``accounts`` that say which row holds when, and are no features.
HISTORY_COLUMNS = ("account_id", "valid_from", "observed_at", "parent_id")

_TECHNOLOGY_NAMES = ("technologies", "technology_categories", "technology_count")


def features_schema(tables: Tables, *, as_of: DateLike | None = None, post_sale: bool = False) -> Schema:
    """Infer which features the tables hold: the one step that looks at all rows of a column at once.

    Columns that are constant, empty, id-like or free text are no features; ``Schema.dropped`` says why.
    Columns named for what is only known after the sale (tenure, plan, usage, health, ...) need ``post_sale``.

    Parameters
    ----------
    tables
        As ``read_tables`` returns them.
    as_of
        Look only at rows known at the end of this day; None looks at all.
    post_sale
        Add what is only known of customers: tenure, usage, tickets, scores, discounts, products.
    """
    accounts = tables.accounts
    dated = "valid_from" in accounts.columns or "observed_at" in accounts.columns
    known = accounts if as_of is None else accounts[rows_known(accounts, as_of)]
    codes = pd.factorize(known["account_id"])[0]
    features: list[Feature] = []
    dropped: list[tuple[str, str]] = []
    delimiters: list[tuple[str, str]] = []
    reserved = {*KEYS, *(_TECHNOLOGY_NAMES if tables.technologies is not None else ())}
    for name in [str(column) for column in accounts.columns if column not in HISTORY_COLUMNS]:
        family = family_of(name)
        if name in reserved:
            dropped.append((name, "the name is reserved; rename the column to use it"))
        elif family == "post_sale" and not post_sale:
            dropped.append((name, "known only after the sale; pass post_sale=True to use it"))
        else:
            guess = guess_kind(known[name], name, codes)
            if guess.kind is None:
                dropped.append((name, guess.reason))
                continue
            kind: Kind = "numeric" if guess.kind == "date" else guess.kind
            family = "technographic" if kind == "technologies" else family
            features += _with_parents(known[name], Feature(name, kind, family, dated))
            mark = delimiter_of(known[name]) if kind == "technologies" else None
            delimiters += [] if mark is None else [(name, mark)]
    features += _technology_features(tables.technologies)
    features += post_sale_features(tables, as_of) if post_sale else []
    return Schema(tuple(features), delimiters=tuple(delimiters), dropped=tuple(dropped))


def _with_parents(column: pd.Series[Any], feature: Feature) -> list[Feature]:
    if feature.kind != "category" or feature.name.lower() not in CODE_COLUMNS:
        return [feature]
    levels = [digits for digits in CODE_LEVELS if parent_code(column, digits).notna().any()]
    return [feature, *(replace(feature, name=f"{feature.name}_{digits}") for digits in levels)]


def _technology_features(technologies: pd.DataFrame | None) -> list[Feature]:
    if technologies is None:
        return []
    dated = "first_seen" in technologies.columns
    kinds: dict[str, Kind] = {"technologies": "technologies"}
    if "category" in technologies.columns:
        kinds["technology_categories"] = "technologies"
    kinds["technology_count"] = "numeric"
    return [Feature(name, kind, "technographic", dated) for name, kind in kinds.items()]


def build_features(
    tables: Tables,
    *,
    as_of: DateLike,
    post_sale: bool = False,
    technology_aliases: Mapping[str, str] | None = None,
    technology_grace_days: int = 0,
    accounts: Iterable[str] | None = None,
    schema: Schema | None = None,
) -> pd.DataFrame:
    """Describe accounts by what was known at the end of a day; later rows change nothing.

    Of accounts with a history, the row with the latest ``valid_from`` up to ``as_of`` counts (and, where
    given, ``observed_at`` up to ``as_of``). A tool is in use if first seen up to ``as_of`` and last seen
    not before it. An account none of whose tools was seen yet has an unknown stack (NA); one whose tools
    are all gone has an empty one.

    Parameters
    ----------
    tables
        As ``read_tables`` returns them.
    as_of
        The day.
    post_sale
        Add what is only known of customers; ignored where ``schema`` is given.
    technology_aliases
        Spelling of a tool → name to use, compared without case.
    technology_grace_days
        Days that a tool counts as in use after it was last seen; for sources that look now and then.
    accounts
        Ids to describe, in this order; None describes all, sorted by id.
    schema
        Features to compute, from :func:`features_schema`; None infers it from the rows known at ``as_of``.

    Returns
    -------
    DataFrame
        ``account_id``, ``as_of``, then the features; RangeIndex.

    Raises
    ------
    InputMismatchError
        If an account asked for isn't in the tables.
    TableError
        If cells can't be read as the kind the schema says, or the schema needs a table that isn't there.

    Warns
    -----
    DataWarning
        If no tool can be in use because every one was last seen before ``as_of``.
    """
    parameters.whole("technology_grace_days", technology_grace_days, 0, parameters.MOST_DAYS)
    day = to_day(as_of)
    schema = features_schema(tables, as_of=day, post_sale=post_sale) if schema is None else schema
    warn_if_all_gone(tables.technologies, day, technology_grace_days)
    found = FeatureReader(tables, schema, technology_aliases, technology_grace_days)
    if accounts is None:
        return found.read(day, found.accounts)
    wanted = pa.array([str(name) for name in accounts], type=pa.large_string())
    unknown = positions(pd.Series(wanted.to_numpy(zero_copy_only=False), dtype=object), found.accounts) < 0
    if unknown.any():
        ids = wanted.filter(pa.array(unknown)).to_pylist()
        raise InputMismatchError(
            f"expected accounts of the table, found {len(ids)} unknown ones: {ids_preview(ids)}; add them "
            "to accounts",
            count=len(ids),
            account_ids=ids[:5],
        )
    return found.read(day, wanted)


def warn_if_all_gone(technologies: pd.DataFrame | None, day: np.datetime64, grace_days: int) -> None:
    """Warn if every tool of the table was last seen too long before ``day`` to be in use."""
    if technologies is None or not len(technologies) or "last_seen" not in technologies.columns:
        return
    last = to_days(technologies["last_seen"])
    if not np.isnat(last).any() and last.max() < shift_days(day, -grace_days):
        gap = int((day - last.max()).astype(np.int64))
        warnings.warn(
            f"no tool is in use on {day}: every one of {len(last)} was last seen {gap} days before or "
            "earlier, and "
            f"none is open; pass technology_grace_days={gap} or more if the source only looks now and then",
            DataWarning,
            stacklevel=3,
        )


class FeatureReader:
    """Computes the features of a schema at any day.

    Parameters
    ----------
    tables
        The tables.
    schema
        The features to compute.
    aliases
        Spelling of a tool → name to use.
    grace_days
        Days that a tool counts as in use after it was last seen.
    """

    def __init__(
        self, tables: Tables, schema: Schema, aliases: Mapping[str, str] | None = None, grace_days: int = 0
    ) -> None:
        self.tables = tables
        self.schema = schema
        self.aliases = aliases
        self.grace_days = grace_days
        #: All accounts, sorted by id.
        self.accounts = distinct_ids(tables.accounts["account_id"])
        self._has_tools = tables.technologies is not None
        if self._has_tools:
            self._tools = encode(tables.required("technologies")["technology"])
        self._columns = {str(name) for name in tables.accounts.columns}

    def read(self, day: np.datetime64, wanted: pa.Array) -> pd.DataFrame:
        """Return the features frame of the accounts ``wanted`` at the end of ``day``."""
        n = len(wanted)
        ids = pd.Series(wanted.to_pandas().to_numpy(dtype=object), dtype=TEXT_DTYPE)
        columns: dict[str, Any] = {
            "account_id": ids,
            "as_of": np.full(n, day, dtype="datetime64[D]").astype("datetime64[ns]"),
        }
        computed = self._technology_columns(day, wanted) if self._has_tools else {}
        later = [feature.name for feature in self.schema.features if self._is_post_sale(feature)]
        if later:
            computed |= post_sale_columns(self.tables, later, wanted, day)
        rows = rows_in_force(self.tables.accounts, wanted, day)
        for feature in self.schema.features:
            if feature.name in computed:
                columns[feature.name] = computed[feature.name]
            else:
                columns[feature.name] = self._account_column(feature, rows, day)
        return pd.DataFrame(columns)

    def _is_post_sale(self, feature: Feature) -> bool:
        return feature.family == "post_sale" and feature.name not in self._columns

    def _account_column(
        self, feature: Feature, rows: np.ndarray[Any, Any], day: np.datetime64
    ) -> pd.Series[Any]:
        accounts = self.tables.accounts
        base = code_base(feature.name) if feature.name not in self._columns else None
        source = feature.name if base is None else base[0]
        if source not in self._columns:
            raise TableError(
                f"expected what {feature.name!r} is made of in the tables, found neither a column of "
                "accounts nor "
                "the table it comes from: add it, or infer a new schema",
                feature=feature.name,
            )
        known = rows >= 0
        if not known.any():
            return unknown_column(feature, len(rows))
        cells = accounts[source].iloc[rows[known]].reset_index(drop=True)
        cells = cells if base is None else parent_code(cells, base[1])
        days: Days = np.full(len(cells), day, dtype="datetime64[D]")
        column, bad = convert(cells, feature.kind, days, dict(self.schema.delimiters).get(feature.name))
        if bad.any():
            ids = accounts["account_id"].iloc[rows[known][bad]]
            raise TableError(
                f"expected {feature.kind} values in accounts.{source}, found {int(bad.sum())} that are not: "
                f"{ids_preview(cells[bad])} in accounts {ids_preview(ids)}; correct them or leave them empty",
                column=source,
                count=int(bad.sum()),
                account_ids=ids.tolist()[:5],
            )
        if known.all():
            return column
        place = np.where(known, np.cumsum(known) - 1, -1)
        return column.reindex(place).reset_index(drop=True)

    def _technology_columns(self, day: np.datetime64, wanted: pa.Array) -> dict[str, Any]:
        table = self.tables.required("technologies")
        place = positions(table["account_id"], wanted)
        seen = place >= 0
        if "first_seen" in table.columns:
            seen &= known_by(table["first_seen"], day)
        known = np.zeros(len(wanted), dtype=np.bool_)
        known[place[seen]] = True
        if "last_seen" in table.columns:
            last = to_days(table["last_seen"])
            seen &= np.isnat(last) | (last >= shift_days(day, -self.grace_days))
        rows = np.flatnonzero(seen)
        place = place[rows]
        codes, distinct = self._tools
        tools = tool_lists(place, codes[rows], distinct, known, self.aliases)
        found: dict[str, Any] = {"technologies": tools, "technology_count": list_sizes(tools)}
        if "technology_categories" in self.schema.names:
            codes, distinct = encode(table["category"].iloc[rows])
            found["technology_categories"] = tool_lists(place, codes, distinct, known)
        return found
