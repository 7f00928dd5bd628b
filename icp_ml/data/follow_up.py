"""How long each account was followed from each snapshot, and whether it left: what a hazard learns from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml import parameters
from icp_ml.data.censoring import EndDates, end_date_mode, infer_observed_until
from icp_ml.data.features import FeatureReader, features_schema
from icp_ml.data.labels import Ledger, locked_in
from icp_ml.data.lookup import positions, root_of
from icp_ml.data.schema import Schema
from icp_ml.data.tables import Tables
from icp_ml.data.twins import join_twins
from icp_ml.data.windows import DateLike, add_months, snapshot_days, to_day, window_end
from icp_ml.errors import NotEnoughDataError


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Accounts at snapshots, followed up to the horizon or to the last day known.

    Parameters
    ----------
    features
        ``account_id``, ``as_of``, then the schema's features.
    schema
        What the feature columns are.
    groups
        What must never be on both sides of a split.
    months
        Whole months each row was followed, from 1 to the horizon: up to the first without recurring revenue.
    left
        Whether it had none at the end of the last of them.
    horizon_months
        Length of the window in calendar months.
    facts
        ``observed_until``, ``end_dates``, and how many rows are ``unfinished`` (censored).
    """

    features: pd.DataFrame
    schema: Schema
    groups: npt.NDArray[Any]
    months: npt.NDArray[np.int64]
    left: npt.NDArray[np.bool_]
    horizon_months: int
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows (account and snapshot)."""
        return len(self.features)


def follow_up(
    tables: Tables,
    *,
    snapshot_dates: Iterable[DateLike] | DateLike,
    horizon_months: int,
    post_sale: bool = False,
    observed_until: DateLike | None = None,
    end_dates: EndDates = "infer",
    technology_aliases: Mapping[str, str] | None = None,
    technology_grace_days: int = 0,
) -> FollowUp:
    """Describe every active account at every snapshot, also where its window isn't over.

    The same rows as ``build_dataset`` gives, and those it drops as ``censored``: of these the months that are
    known are kept. An account leaves in the first month at whose end it has no recurring revenue; one that
    comes back before the horizon has left here, and is retained there.

    Parameters
    ----------
    tables, snapshot_dates, horizon_months, post_sale, observed_until, end_dates
        As in ``build_dataset``.
    technology_aliases, technology_grace_days
        As in ``build_features``.

    Raises
    ------
    ConfigError
        If the horizon is no whole number of months.
    NotEnoughDataError
        If no account was followed for a month.
    """
    parameters.whole("horizon_months", horizon_months, 1, parameters.MOST_MONTHS)
    parameters.whole("technology_grace_days", technology_grace_days, 0, parameters.MOST_DAYS)
    days = snapshot_days(snapshot_dates)
    subscriptions = tables.required("subscriptions")
    mode, how = end_date_mode(subscriptions, end_dates)
    until = (
        infer_observed_until(tables, mode, days[0])[0] if observed_until is None else to_day(observed_until)
    )
    ledger = Ledger.of(subscriptions)
    open_days = [day for day in days if window_end(day, 1) <= until]
    schema = features_schema(tables, as_of=open_days[-1] if open_days else days[-1], post_sale=post_sale)
    reader = FeatureReader(tables, schema, technology_aliases, technology_grace_days)
    parts = []
    for day in open_days:
        rows, months, left = _followed(ledger, day, horizon_months, until, mode)
        wanted = reader.accounts.take(positions(pd.Series(ledger.accounts[rows]), reader.accounts))
        parts.append((reader.read(day, wanted), months, left))
    if not sum(len(part[1]) for part in parts):
        raise NotEnoughDataError(
            f"expected accounts that were followed for a month, found none up to {until}: earlier snapshots",
            observed_until=str(until),
        )
    features = pd.concat([part[0] for part in parts], ignore_index=True)
    months = np.concatenate([part[1] for part in parts])
    left = np.concatenate([part[2] for part in parts])
    roots = root_of(tables.accounts, reader.accounts)
    groups = join_twins(features, schema, roots[positions(features["account_id"], reader.accounts)])[0]
    unfinished = int((~left & (months < horizon_months)).sum())
    facts = {"observed_until": str(until), "end_dates": mode, "end_dates_how": how, "unfinished": unfinished}
    return FollowUp(features, schema, groups, months, left, horizon_months, facts)


def _followed(
    ledger: Ledger, day: np.datetime64, horizon: int, until: np.datetime64, mode: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the accounts that could leave in the window, the months each was followed, and who left."""
    able = (ledger.arr_on(day) > 0) & ~locked_in(ledger, day, window_end(day, horizon), mode)
    rows = np.flatnonzero(able)
    months = np.zeros(len(rows), dtype=np.int64)
    left = np.zeros(len(rows), dtype=np.bool_)
    for month in range(1, horizon + 1):
        end = add_months(day, month)
        if end > until:
            break
        months[~left] = month
        left |= ledger.arr_on(end)[rows] == 0
    return rows, months, left
