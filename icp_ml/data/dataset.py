"""The noun between data and model: features and outcomes of accounts at snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml import parameters
from icp_ml.data.censoring import EndDates, end_date_mode, infer_observed_until
from icp_ml.data.conform import conform
from icp_ml.data.features import FeatureReader, features_schema, warn_if_all_gone
from icp_ml.data.fingerprint import fingerprint_frames
from icp_ml.data.labelled import read_labelled
from icp_ml.data.labels import Ledger, snapshot_labels
from icp_ml.data.lookup import positions, root_of
from icp_ml.data.schema import TARGETS, Schema
from icp_ml.data.tables import Tables
from icp_ml.data.twins import join_twins
from icp_ml.data.windows import DateLike, snapshot_days, to_day, window_end
from icp_ml.errors import ConfigError, NotEnoughDataError

__all__ = ["LABEL_COLUMNS", "Dataset", "build_dataset", "conform"]

#: Columns of ``Dataset.labels``, in order.
LABEL_COLUMNS = (
    "account_id",
    "snapshot_date",
    *TARGETS,
    "starting_arr",
    "ending_arr",
    "arr_ratio",
    "tenure_days",
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Accounts at snapshots: what was known then, and what came of it.

    Parameters
    ----------
    features
        ``account_id``, ``as_of``, then the schema's features; RangeIndex.
    labels
        Same rows: ``account_id``, ``snapshot_date``, ``retained``, ``expanded``, ``churned_first_year``
        (boolean with NA), ``starting_arr``, ``ending_arr``, ``arr_ratio``, ``tenure_days`` (days since the
        account's first contract) (float64, NaN = not known).
    schema
        What the feature columns are.
    groups
        What must never be on both sides of a split: the account, or its parent where given; records that
        agree in every field share a group (:mod:`icp_ml.data.twins`).
    horizon_months
        Length of the outcome window; None where rows came labelled.
    facts
        How the rows came to be: ``observed_until``, ``snapshots``, ``dropped`` (counts by reason),
        ``not_point_in_time`` (columns that only know today), ``expansion_tolerance`` and others; JSON-able.
    """

    features: pd.DataFrame
    labels: pd.DataFrame
    schema: Schema
    groups: npt.NDArray[Any]
    horizon_months: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows (account and snapshot)."""
        return len(self.features)

    @property
    def targets(self) -> tuple[str, ...]:
        """Label columns of which at least one row is known."""
        return tuple(name for name in TARGETS if bool(self.labels[name].notna().any()))

    @property
    def n_accounts(self) -> int:
        """Number of different accounts."""
        return int(self.features["account_id"].nunique())

    def take(self, rows: npt.NDArray[Any]) -> Dataset:
        """Return the dataset of some rows.

        Parameters
        ----------
        rows
            Row positions, or a boolean mask of ``len(self)``.
        """
        rows = np.asarray(rows)
        if rows.dtype == np.bool_ and len(rows) != len(self):
            raise ConfigError(
                f"expected a mask of {len(self)} rows, found one of {len(rows)}", found=len(rows)
            )
        positions = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.intp)
        return Dataset(
            features=self.features.take(positions).reset_index(drop=True),
            labels=self.labels.take(positions).reset_index(drop=True),
            schema=self.schema,
            groups=self.groups[positions],
            horizon_months=self.horizon_months,
            facts=dict(self.facts),
        )

    def target(self, name: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Return the rows in which a target is known, and its values.

        Parameters
        ----------
        name
            ``retained``, ``expanded`` or ``churned_first_year``.

        Returns
        -------
        rows, y
            Row positions, and 1.0 or 0.0 for each.

        Raises
        ------
        ConfigError
            If there is no such target.
        """
        if name not in TARGETS:
            raise ConfigError(f"expected one of {list(TARGETS)}, found {name!r}", found=name)
        values = self.labels[name].to_numpy(dtype=np.float64, na_value=np.nan)
        rows = np.flatnonzero(~np.isnan(values))
        return rows, values[rows]

    def fingerprint(self) -> str:
        """Return a sha256 over every cell of features, labels and groups, the schema and the horizon."""
        extra = {"horizon_months": self.horizon_months}
        return fingerprint_frames(self.features, self.labels, self.groups, self.schema, extra)

    def summary(self) -> str:
        """Return a few lines of text: size, dates, base rates, what was left out, what limits the claims."""
        snapshots = self.labels["snapshot_date"].dropna()
        when = ""
        if len(snapshots):
            n, first, last = snapshots.nunique(), snapshots.min().date(), snapshots.max().date()
            when = f", {n} snapshots {first} to {last}, horizon {self.horizon_months} months"
        lines = [
            f"{len(self)} rows of {self.n_accounts} accounts, {len(self.schema.features)} features{when}"
        ]
        for name in self.targets:
            rows, y = self.target(name)
            lines.append(f"  {name}: {y.mean():.1%} of {len(rows)} rows")
        dropped = {reason: n for reason, n in self.facts.get("dropped", {}).items() if n}
        if dropped:
            lines.append("  rows left out: " + ", ".join(f"{n} {reason}" for reason, n in dropped.items()))
        if twins := self.facts.get("twins", 0):
            lines.append(f"  entered twice: {twins} accounts agree with another one in every field")
        if self.facts.get("observed_until"):
            how = self.facts.get("observed_until_how", "given")
            lines.append(f"  observed until {self.facts['observed_until']} ({how})")
        late = self.facts.get("not_point_in_time", [])
        if late:
            shown = ", ".join(late[:5]) + (f" and {len(late) - 5} more" if len(late) > 5 else "")
            lines.append(f"  not point-in-time (past snapshots see today's value): {shown}")
        return "\n".join(lines)

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        account_id: str,
        labels: Mapping[str, str],
        snapshot_date: str | None = None,
        customer_since: str | None = None,
        horizon_months: int | None = None,
        technologies: Sequence[str] = (),
        drop: Sequence[str] = (),
        boolean: Sequence[str] = (),
        category: Sequence[str] = (),
        numeric: Sequence[str] = (),
        post_sale: Sequence[str] = (),
    ) -> Dataset:
        """Make a dataset of a table that is already labelled.

        Parameters
        ----------
        frame
            One row per account, or per account and snapshot.
        account_id
            Column with the account; several rows per account are kept on one side of every split.
        labels
            Target → column. Targets are ``retained``, ``expanded`` and ``churned_first_year``; columns hold
            booleans, 0/1 or yes/no, where 1 is what the target's name says.
        snapshot_date
            Column with the day the row describes; without it splits are by account only.
        customer_since
            Column with the day of the account's first contract; it becomes no feature. Accounts are compared
            with others of the same tenure; without it, over several snapshots, tenure counts from the first
            row, and the profile says so.
        horizon_months
            Length of the outcome window, if known; used as embargo when splitting by time.
        technologies
            Columns with several values: lists, arrays, or text with a delimiter (``;``, ``|`` or ``,``).
        drop
            Columns that are no features (outcomes, notes).
        boolean, category, numeric
            Columns whose kind is not to be inferred, such as a postcode (``category``).
        post_sale
            Columns known only after the sale; they stay features, marked as family ``post_sale``.

        Raises
        ------
        ConfigError
            If a target is unknown or named nowhere.
        TableError
            If a column is missing, the frame is empty, or a label column isn't yes/no.
        NotEnoughDataError
            If a label has the same value in every known row.

        Examples
        --------
        >>> frame = pd.DataFrame({"id": list("abcd"), "size": [1, 5, 9, 2], "renewed": [1, 0, 1, 0]})
        >>> dataset = Dataset.from_frame(frame, account_id="id", labels={"retained": "renewed"})
        >>> dataset.schema.names, dataset.targets, len(dataset)
        (['size'], ('retained',), 4)
        """
        if horizon_months is not None:
            parameters.whole("horizon_months", horizon_months, 0, parameters.MOST_MONTHS)
        parts = read_labelled(
            frame,
            account_id=account_id,
            labels=dict(labels),
            snapshot_date=snapshot_date,
            customer_since=customer_since,
            technologies=tuple(technologies),
            drop=tuple(drop),
            kinds={
                **dict.fromkeys(boolean, "boolean"),
                **dict.fromkeys(category, "category"),
                **dict.fromkeys(numeric, "numeric"),
            },
            post_sale=tuple(post_sale),
        )
        accounts = parts.features["account_id"].to_numpy(dtype=object)
        groups, twins = join_twins(parts.features, parts.schema, accounts)
        return cls(
            features=parts.features,
            labels=parts.labels[list(LABEL_COLUMNS)],
            schema=parts.schema,
            groups=groups,
            horizon_months=horizon_months,
            facts={**parts.facts, "twins": twins},
        )


def build_dataset(
    tables: Tables,
    *,
    snapshot_dates: Iterable[DateLike] | DateLike,
    horizon_months: int,
    expansion_tolerance: float = 0.05,
    post_sale: bool = False,
    observed_until: DateLike | None = None,
    end_dates: EndDates = "infer",
    technology_aliases: Mapping[str, str] | None = None,
    technology_grace_days: int = 0,
) -> Dataset:
    """Describe every active account at every snapshot, and label it by the ``horizon_months`` that follow.

    A row is an account with recurring revenue in force at the snapshot that may leave in the window
    ``(snapshot, snapshot + horizon]``. Left out, and counted in ``facts["dropped"]``: ``not_active``,
    ``locked_in`` (its commitment runs past the window, so that staying says nothing) and ``censored`` (the
    window isn't over at ``observed_until``). Rows + left out = accounts x snapshots.

    Parameters
    ----------
    tables
        As ``read_tables`` returns them, with subscriptions.
    snapshot_dates
        Days to look from, such as ``quarter_ends("2021-03-31", "2025-06-30")``.
    horizon_months
        Length of the outcome window in calendar months.
    expansion_tolerance
        Growth of revenue up to this share isn't expansion.
    post_sale
        Add features that are only known of customers.
    observed_until
        Last day of which outcomes are known. None infers it; ``facts["observed_until_how"]`` says how.
    end_dates
        ``"terms"``: end dates are known in advance; ``"events"``: they are set when a customer leaves;
        ``"infer"``: terms where ended subscriptions are renewed by new rows.
    technology_aliases, technology_grace_days
        As in ``build_features``.

    Raises
    ------
    ConfigError
        If a date, the horizon or the tolerance is out of range.
    TableError
        If there is no subscriptions table, or a column can't be read.
    NotEnoughDataError
        If no row is left, or all outcomes are the same.
    """
    _check_settings(horizon_months, expansion_tolerance, technology_grace_days)
    days = snapshot_days(snapshot_dates)
    subscriptions = tables.required("subscriptions")
    mode, mode_how = end_date_mode(subscriptions, end_dates)
    if observed_until is None:
        until, until_how = infer_observed_until(tables, mode, days[0])
    else:
        until, until_how = to_day(observed_until), "given"
    ledger = Ledger.of(subscriptions)
    open_days = [day for day in days if window_end(day, horizon_months) <= until]
    last = open_days[-1] if open_days else days[-1]
    schema = features_schema(tables, as_of=last, post_sale=post_sale)
    reader = FeatureReader(tables, schema, technology_aliases, technology_grace_days)
    dropped = {"not_active": 0, "locked_in": 0, "censored": 0}
    parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    without = len(reader.accounts) - len(ledger.accounts)
    for day in days:
        labels, left_out = snapshot_labels(ledger, day, horizon_months, expansion_tolerance, mode)
        dropped["not_active"] += left_out["not_active"] + without
        if window_end(day, horizon_months) > until:
            dropped["censored"] += len(labels) + left_out["locked_in"]
            continue
        dropped["locked_in"] += left_out["locked_in"]
        if len(labels):
            wanted = reader.accounts.take(positions(labels["account_id"], reader.accounts))
            parts.append((reader.read(day, wanted), labels))
    facts: dict[str, Any] = {
        "source": "tables",
        "observed_until": str(until),
        "observed_until_how": until_how,
        "end_dates": mode,
        "end_dates_how": mode_how,
        "snapshots": [str(day) for day in open_days],
        "horizon_months": horizon_months,
        "expansion_tolerance": expansion_tolerance,
        "post_sale": post_sale,
        "technology_aliases": dict(technology_aliases or {}),
        "technology_grace_days": technology_grace_days,
        "dropped": dropped,
        "not_point_in_time": [feature.name for feature in schema.features if not feature.point_in_time],
    }
    _check_rows(parts, facts)
    warn_if_all_gone(tables.technologies, last, technology_grace_days)
    features = pd.concat([part[0] for part in parts], ignore_index=True)
    labels = pd.concat([part[1] for part in parts], ignore_index=True)
    _check_variety(labels, facts)
    roots = root_of(tables.accounts, reader.accounts)
    groups = roots[positions(features["account_id"], reader.accounts)]
    groups, facts["twins"] = join_twins(features, schema, groups)
    return Dataset(features, labels, schema, groups, horizon_months, facts)


def _check_settings(horizon_months: int, tolerance: float, grace_days: int) -> None:
    parameters.whole("horizon_months", horizon_months, 1, parameters.MOST_MONTHS)
    parameters.number("expansion_tolerance", tolerance, 0.0, 10.0)
    parameters.whole("technology_grace_days", grace_days, 0, parameters.MOST_DAYS)


def _check_rows(parts: list[Any], facts: dict[str, Any]) -> None:
    if parts:
        return
    dropped = facts["dropped"]
    raise NotEnoughDataError(
        f"expected accounts with a finished horizon of {facts['horizon_months']} months, found none; left "
        "out: "
        f"{dropped}. Outcomes are known until {facts['observed_until']} ({facts['observed_until_how']}): "
        "take "
        "earlier snapshots or a shorter horizon, or pass observed_until=... if the tables reach further",
        dropped=dropped,
        observed_until=facts["observed_until"],
    )


def _check_variety(labels: pd.DataFrame, facts: dict[str, Any]) -> None:
    if all(labels[name].nunique() < 2 for name in TARGETS):
        shares = {name: float(labels[name].astype("float64").mean()) for name in TARGETS[:2]}
        raise NotEnoughDataError(
            f"expected both outcomes among {len(labels)} rows, found that all are equal: share true "
            f"{shares}; "
            f"check subscriptions.end_date and end_dates={facts['end_dates']!r} ({facts['end_dates_how']})",
            n=len(labels),
            shares=shares,
        )
