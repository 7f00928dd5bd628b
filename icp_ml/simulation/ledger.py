"""Contracts of simulated customers: terms, renewals, expansion, contraction and leaving, cut off at a day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icp_ml.simulation.world import BoolArray, FloatArray, stream

Days = NDArray[np.datetime64]
Ints = NDArray[np.int64]
NEVER = np.datetime64("NaT", "D")
CONTRACTS = ("annual", "monthly", "multi_year")
CONTRACT_SHARES = (0.80, 0.10, 0.10)


@dataclass(frozen=True, slots=True)
class Customers:
    """Customers before their contracts: when they start, what changes when, and their chances.

    Parameters
    ----------
    start
        First day as a customer (n).
    since
        First day of each of an account's states (n, states); NaT where there is no such state.
    retained, expanded, first_year
        Chance per account and state: of renewing, of expanding given renewal, of leaving in the first year.
    arr
        First contract's annual recurring revenue (n).
    """

    start: Days
    since: Days
    retained: FloatArray
    expanded: FloatArray
    first_year: FloatArray
    arr: FloatArray

    def state_on(self, day: Days) -> Ints:
        """Return the position of the state in force on a day per account."""
        reached: Ints = (self.since <= day[:, None]).sum(axis=1).astype(np.int64)
        return np.maximum(reached - 1, 0)


def add_months(day: Days, months: Any) -> Days:
    """Move days (of the month 1 to 28) by whole months."""
    month = day.astype("datetime64[M]")
    moved: Days = (month + months).astype("datetime64[D]") + (day - month.astype("datetime64[D]"))
    return moved


def contracts(customers: Customers, until: np.datetime64, seed: int) -> tuple[pd.DataFrame, Days, FloatArray]:
    """Write the subscriptions of all customers up to a day.

    Annual contracts are a chain of rows, monthly ones are open and get a new row each year, multi-year ones
    last 36 months. Nothing that starts after ``until`` is written, and a monthly end only once it happened.

    Parameters
    ----------
    customers
        Who starts when, with which chances.
    until
        Last day recorded.
    seed
        Seed of the base.

    Returns
    -------
    subscriptions
        ``account`` (position), product, start_date, end_date, arr, renewal_date, discount.
    left
        Day each account left, NaT where it hadn't by ``until``.
    final
        Last annual recurring revenue of each account.
    """
    rng = stream(seed, "contracts")
    n = len(customers.start)
    kind = rng.choice(len(CONTRACTS), size=n, p=CONTRACT_SHARES)
    months = np.where(kind == 2, 36, 12)
    discount: FloatArray = np.round(np.clip(rng.beta(1.5, 8, n), 0, 0.6), 2).astype(np.float64)
    begin, arr = customers.start.copy(), customers.arr.copy()
    active = np.ones(n, dtype=bool)
    left = np.full(n, NEVER)
    parts: list[pd.DataFrame] = []
    while (active & (begin <= until)).any():
        now = active & (begin <= until)
        end = add_months(begin, months)
        stays, factor = _renewal(customers, begin, months, rng)
        later = np.maximum(600.0, np.round(arr * factor, -1))
        quits = begin + rng.integers(15, 351, n).astype("timedelta64[D]")
        over = np.where(stays, end, np.where(kind == 1, quits, end))
        hidden = (kind == 1) & (over > until)
        parts.append(_rows(now, "Core", begin, np.where(hidden, NEVER, over), arr, kind, discount))
        middle = begin + rng.integers(60, 300, n).astype("timedelta64[D]")
        early = now & stays & (factor >= 1.05) & (kind != 1) & (rng.random(n) < 0.5) & (middle <= until)
        parts.append(_rows(early, "Add-on", middle, end, later - arr, kind, discount))
        gone = now & ~stays & (over <= until)
        left[gone] = over[gone]
        active &= stays
        arr = np.where(now & stays & (end <= until), later, arr)
        begin = end
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.sort_values(["start_date", "account", "product"], kind="stable", ignore_index=True)
    return rows, left, arr


def _renewal(
    customers: Customers, begin: Days, months: Ints, rng: np.random.Generator
) -> tuple[BoolArray, FloatArray]:
    n = len(begin)
    at = np.arange(n), customers.state_on(begin)
    first = (begin == customers.start) & (months == 12)
    stays = rng.random(n) < np.where(first, 1 - customers.first_year[at], customers.retained[at])
    grows = rng.random(n) < customers.expanded[at]
    shrinks = ~grows & (rng.random(n) < 0.12)
    up = 1 + np.clip(np.exp(rng.normal(-1.4, 0.5, n)), 0.08, 1.5)
    flat, down = 1 + rng.uniform(0, 0.03, n), rng.uniform(0.60, 0.92, n)
    return np.asarray(stays), np.where(grows, up, np.where(shrinks, down, flat))


def _rows(
    which: BoolArray, product: str, start: Days, end: Days, arr: FloatArray, kind: Ints, discount: FloatArray
) -> pd.DataFrame:
    at = np.flatnonzero(which)
    ends = end[at].astype("datetime64[ns]")
    return pd.DataFrame(
        {
            "account": at,
            "product": product,
            "start_date": start[at].astype("datetime64[ns]"),
            "end_date": ends,
            "arr": arr[at],
            "renewal_date": np.where(kind[at] == 1, np.datetime64("NaT", "ns"), ends),
            "discount": discount[at],
        }
    )
