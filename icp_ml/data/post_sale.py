"""What is only known of customers: tenure, usage, tickets, scores and discounts, each up to the snapshot."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from icp_ml.data.lookup import positions
from icp_ml.data.schema import Feature
from icp_ml.data.tables import Tables
from icp_ml.data.values import by_distinct
from icp_ml.data.windows import DateLike, in_force, in_last_days, in_last_months, known_by, to_day, to_days

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_DAYS_PER_MONTH = 365.25 / 12
_USAGE_DAYS, _TICKET_MONTHS = 90, 12
_MOST_METRICS = 30


def post_sale_features(tables: Tables, day: DateLike | None) -> list[Feature]:
    """Return the post-sale features that the tables can give, as known at the end of a day."""
    names = []
    subscriptions = tables.subscriptions
    if subscriptions is not None:
        names.append("tenure_months")
        names += ["discount_mean"] if "discount" in subscriptions.columns else []
        names += ["product_count"] if "product" in subscriptions.columns else []
    names += ["tickets_12m"] if tables.tickets is not None else []
    names += ["nps_last"] if tables.nps is not None else []
    if tables.usage is not None:
        seen = tables.usage if day is None else tables.usage[known_by(tables.usage["date"], day)]
        counts = seen["metric"].value_counts()
        frequent = sorted(counts.index, key=lambda name: (-int(counts[name]), str(name)))[:_MOST_METRICS]
        names += [_usage_name(str(metric)) for metric in sorted(frequent)]
    return [Feature(name, "numeric", "post_sale") for name in names]


def post_sale_columns(
    tables: Tables, names: list[str], accounts: pa.Array, day: DateLike
) -> dict[str, Floats]:
    """Compute the post-sale features ``names`` of ``accounts`` from rows dated up to ``day``."""
    found: dict[str, Floats] = {}
    if tables.subscriptions is not None:
        found |= _contract_columns(tables.subscriptions, accounts, day)
    if tables.tickets is not None:
        rows = tables.tickets[in_last_months(tables.tickets["date"], day, _TICKET_MONTHS)]
        place = positions(rows["account_id"], accounts)
        found["tickets_12m"] = np.bincount(place[place >= 0], minlength=len(accounts)).astype(np.float64)
    if tables.nps is not None:
        found["nps_last"] = _last_score(tables.nps, accounts, day)
    if tables.usage is not None:
        found |= _usage_columns(tables.usage, names, accounts, day)
    return {name: found[name] for name in names}


def _usage_name(metric: str) -> str:
    return f"usage_{metric}_mean_{_USAGE_DAYS}d"


def _contract_columns(subscriptions: pd.DataFrame, accounts: pa.Array, day: DateLike) -> dict[str, Floats]:
    place = positions(subscriptions["account_id"], accounts)
    start = to_days(subscriptions["start_date"])
    begun = (place >= 0) & (start <= to_day(day))
    first = np.full(len(accounts), np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(first, place[begun], start[begun].astype(np.int64))
    days = to_day(day).astype(np.int64) - first.astype(np.float64)
    found: dict[str, Floats] = {"tenure_months": np.where(days >= 0, days / _DAYS_PER_MONTH, np.nan)}
    held = (place >= 0) & in_force(start, subscriptions["end_date"], day)
    if "discount" in subscriptions.columns:
        values = subscriptions["discount"].to_numpy(dtype=np.float64)
        rows = held & ~np.isnan(values)
        found["discount_mean"] = _means(place[rows], values[rows], len(accounts))
    if "product" in subscriptions.columns:
        codes, distinct = by_distinct(subscriptions["product"])
        rows = held & (codes >= 0)
        pairs = np.unique(place[rows] * max(len(distinct), 1) + codes[rows])
        counts = np.bincount(pairs // max(len(distinct), 1), minlength=len(accounts))
        active = np.bincount(place[held], minlength=len(accounts)) > 0
        found["product_count"] = np.where(active, counts, np.nan).astype(np.float64)
    return found


def _means(place: npt.NDArray[Any], values: Floats, n: int) -> Floats:
    counts = np.bincount(place, minlength=n)
    sums = np.bincount(place, weights=values, minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _last_score(nps: pd.DataFrame, accounts: pa.Array, day: DateLike) -> Floats:
    """Return the mean score of each account's last day with one."""
    rows = nps[known_by(nps["date"], day)]
    place = positions(rows["account_id"], accounts)
    days = to_days(rows["date"]).astype(np.int64)
    last = np.full(len(accounts) + 1, np.iinfo(np.int64).min, dtype=np.int64)
    np.maximum.at(last, place, days)
    keep = (place >= 0) & (days == last[place])
    return _means(place[keep], rows["score"].to_numpy(dtype=np.float64)[keep], len(accounts))


def _usage_columns(
    usage: pd.DataFrame, names: list[str], accounts: pa.Array, day: DateLike
) -> dict[str, Floats]:
    rows = usage[in_last_days(usage["date"], day, _USAGE_DAYS)]
    place = positions(rows["account_id"], accounts)
    values = rows["value"].to_numpy(dtype=np.float64)
    codes, distinct = by_distinct(rows["metric"])
    found = {name: np.full(len(accounts), np.nan) for name in names if name.startswith("usage_")}
    for code, metric in enumerate(distinct):
        name = _usage_name(str(metric))
        if name in found:
            keep = (codes == code) & (place >= 0)
            found[name] = _means(place[keep], values[keep], len(accounts))
    return found
