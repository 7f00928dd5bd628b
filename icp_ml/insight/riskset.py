"""Who could have had the outcome on a day, who had it, and with whom each is compared.

The question is one and the same everywhere: what share of the account-snapshots at risk reaches the outcome
within the horizon, with the trait and without it, as things stood on that day. Every row weighs one, because
the number of an account's rows is part of its future: an account that leaves has no later ones.

A *unit* is one account (with its parent's other accounts and its duplicates, if it has any) on one snapshot
day. Its *risk set* are the units of the same day whose tenure is alike. Windows of neighbouring days overlap,
so that one loss is seen in several rows; in the test it counts once, on the last day before it came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Value of each target that counts as its event, once in a run of overlapping windows.
HAPPENS = {"retained": 0.0, "expanded": 1.0, "churned_first_year": 1.0}
#: Fewest groups of accounts in a risk set; smaller ones are joined with those of the next tenure.
LEAST_GROUPS = 20
#: Tenure is compared by the quarter.
DAYS_PER_QUARTER = 91.3125


@dataclass(frozen=True, slots=True)
class Outcome:
    """One target: what happened to each row, and the risk sets that it is judged in.

    Parameters
    ----------
    account
        Number of each row's account (or group of accounts), 0..n-1.
    y
        Outcome of each row within its horizon, 0.0 or 1.0.
    expected
        Mean outcome of each row's risk set, shape (rows,).
    unit
        Unit of each row, 0..N-1.
    owner
        Account of each unit, shape (N,).
    stratum
        Risk set of each unit, shape (N,).
    event
        Share of the unit's rows that have the event between this snapshot day and the next, signed so that
        more of it is more of outcome 1, shape (N,).
    """

    account: Ints
    y: Array
    expected: Array
    unit: Ints
    owner: Ints
    stratum: Ints
    event: Array

    @property
    def n_accounts(self) -> int:
        """Number of accounts (groups of accounts)."""
        return int(self.owner.max()) + 1 if len(self.owner) else 0

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.owner)

    @property
    def n_strata(self) -> int:
        """Number of risk sets."""
        return int(self.stratum.max()) + 1 if len(self.stratum) else 0

    @property
    def base_rate(self) -> float:
        """Share of the account-snapshots at risk that have the outcome."""
        return float(self.y.mean())

    @property
    def surprise(self) -> Array:
        """Outcome of each row less the mean of its risk set, shape (rows,)."""
        return self.y - self.expected

    @property
    def events(self) -> int:
        """Number of accounts that ever had the rarer outcome."""
        n = self.n_accounts
        ever = np.bincount(self.account, weights=self.y > 0.5, minlength=n) > 0
        missed = np.bincount(self.account, weights=self.y < 0.5, minlength=n) > 0
        return int(min(ever.sum(), missed.sum()))

    @property
    def residual(self) -> Array:
        """Event of each unit less the mean of its risk set, shape (N,)."""
        size = np.maximum(np.bincount(self.stratum), 1)
        return self.event - (np.bincount(self.stratum, weights=self.event) / size)[self.stratum]

    @property
    def spread(self) -> Array:
        """Variance of the event within each risk set, shape (strata,)."""
        size = np.bincount(self.stratum, minlength=self.n_strata)
        squares = np.bincount(self.stratum, weights=self.residual**2, minlength=self.n_strata)
        return np.asarray(squares / np.maximum(size - 1, 1), dtype=np.float64)

    @property
    def clustering(self) -> float:
        """How much more an account's events vary in sum than they would if they were independent, 1 or more.

        Leaving happens once; growth or a lapse may come back, and then rather to the same accounts.
        """
        residual = self.residual
        total = float((residual**2).sum())
        together = np.bincount(self.owner, weights=residual, minlength=self.n_accounts)
        return max(1.0, float((together**2).sum()) / total) if total > 0 else 1.0

    @property
    def equivalent_accounts(self) -> float:
        """Number of accounts seen once that would tell the base rate as well as these rows do."""
        base, rows = self.base_rate, len(self.y)
        together = np.bincount(self.account, weights=self.y - base, minlength=self.n_accounts)
        variance = float((together**2).sum()) / rows**2
        return base * (1.0 - base) / variance if variance > 0 else float(self.n_accounts)


def build_outcome(
    account: Ints,
    y: Array,
    date: Ints,
    *,
    tenure: Array | None = None,
    months: Ints | None = None,
    horizon_months: int | None = None,
    happens: float = 1.0,
    least: int = LEAST_GROUPS,
) -> Outcome:
    """Find the units, the risk set of each, and on which day each event counts.

    Parameters
    ----------
    account
        Account number per row, 0..n-1.
    y
        Outcome per row.
    date
        Number of the snapshot date per row, in time order; all 0 without dates.
    tenure
        Days since the account's first contract per row, NaN = not known. None: dates are counted from the
        account's first row.
    months
        Calendar month of each date as a whole number, shape (dates,); with ``horizon_months`` it says which
        windows overlap. Without it each row's outcome is an event of its own.
    horizon_months
        Length of the window.
    happens
        The outcome that is an event, 0.0 for leaving (of ``retained``), else 1.0: it counts once in a run of
        overlapping windows.
    least
        Fewest groups of accounts in a risk set.

    Notes
    -----
    Risk sets by day and tenure: the log-rank score test of a proportional-hazards model with time-dependent
    covariates (Cox, D. R. 1972, *JRSS B* 34, 187-220; Peto, R. and Peto, J. 1972, *JRSS A* 135, 185-207),
    with the day as a second time axis.
    """
    n_dates = int(date.max()) + 1 if len(date) else 1
    unit_of, unit = np.unique(account * n_dates + date, return_inverse=True)
    owner, day = unit_of // n_dates, unit_of % n_dates
    size = np.bincount(unit)
    counted = _counted_once(account, y == happens, date, months, horizon_months)
    event = np.bincount(unit, weights=counted.astype(np.float64)) / size
    quarter = _quarters(account, date, tenure)
    unit_quarter = np.zeros(len(owner), dtype=np.int64)
    np.maximum.at(unit_quarter, unit, quarter)
    stratum = _risk_sets(day, unit_quarter, least)
    rows = np.bincount(stratum[unit])
    expected = (np.bincount(stratum[unit], weights=y) / np.maximum(rows, 1))[stratum[unit]]
    signed = event if happens == 1.0 else -event
    return Outcome(account, y, expected, unit.astype(np.int64), owner, stratum, signed)


def _counted_once(
    account: Ints, bad: npt.NDArray[np.bool_], date: Ints, months: Ints | None, horizon: int | None
) -> npt.NDArray[np.bool_]:
    """Mark the last row of each run of rows with the event, and earlier ones a whole horizon apart."""
    if months is None or horizon is None or len(months) < 2:
        return bad
    order = np.lexsort((date, account))
    who, when, hit = account[order], months[date[order]], bad[order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (who[1:] != who[:-1]) | ~hit[1:]
    # the month of the run's last row, handed back to all rows before it
    ends = np.flatnonzero(last)
    end_month = when[ends[np.searchsorted(ends, np.arange(len(order)))]]
    window = (end_month - when) // horizon
    new = last.copy()
    new[:-1] |= (window[1:] != window[:-1]) & ~last[:-1]
    out = np.zeros(len(order), dtype=np.bool_)
    out[order] = hit & new
    return out


def _quarters(account: Ints, date: Ints, tenure: Array | None) -> Ints:
    """Return the quarter of tenure of each row; -1 where it isn't known of an account alone."""
    if tenure is not None:
        known = np.isfinite(tenure)
        return np.where(known, np.nan_to_num(tenure) // DAYS_PER_QUARTER, -1).astype(np.int64)
    first = np.full(int(account.max()) + 1 if len(account) else 0, np.iinfo(np.int64).max)
    np.minimum.at(first, account, date)
    return np.asarray(date - first[account], dtype=np.int64)


def _risk_sets(day: Ints, quarter: Ints, least: int) -> Ints:
    """Return a number per risk set: quarters of tenure on a day, joined until each has enough groups."""
    out = np.empty(len(day), dtype=np.int64)
    number = -1
    for today in np.unique(day):
        inside = np.flatnonzero(day == today)
        found, place, sizes = np.unique(quarter[inside], return_inverse=True, return_counts=True)
        left, held = int(sizes.sum()), least
        joined = np.empty(len(found), dtype=np.int64)
        for i, count in enumerate(sizes.tolist()):
            if i == 0 or (held >= least and left >= least):
                number, held = number + 1, 0
            joined[i] = number
            held, left = held + count, left - count
        out[inside] = joined[place]
    return out


def outcome_of(
    account: Ints, y: Array, labels: pd.DataFrame, horizon_months: int | None, happens: float
) -> Outcome:
    """Build the outcome of a dataset's rows; parameters as in :func:`build_outcome`, labels of these rows."""
    when = labels["snapshot_date"]
    date, days = pd.factorize(when, sort=True, use_na_sentinel=False)
    months = None
    if not when.isna().any():
        months = np.asarray(days, dtype="datetime64[M]").astype(np.int64)
    return build_outcome(
        account,
        y,
        date.astype(np.int64),
        tenure=tenure_of(labels),
        months=months,
        horizon_months=horizon_months,
        happens=happens,
    )


def tenure_of(labels: pd.DataFrame) -> Array | None:
    """Return days since the first contract per row of a dataset's labels; None where no row knows it."""
    if "tenure_days" not in labels or not bool(labels["tenure_days"].notna().any()):
        return None
    return np.asarray(labels["tenure_days"].to_numpy(dtype=np.float64, na_value=np.nan))
