"""Splits that keep accounts and time apart: no account on both sides, no outcome window over the border."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml import parameters
from icp_ml.data.dataset import Dataset
from icp_ml.data.windows import DateLike, Days, add_months, shift_days, to_day, to_days
from icp_ml.errors import ConfigError, DataWarning, NotEnoughDataError

Rows = npt.NDArray[np.intp]

MOST_SPLITS = 1000


def split_out_of_time(
    dataset: Dataset,
    *,
    test_from: DateLike | None = None,
    embargo_months: int | None = None,
    separate_accounts: bool = False,
    test_share: float = 0.25,
    seed: int = 0,
) -> tuple[Dataset, Dataset]:
    """Split a dataset into an earlier part to train on and a later part to test on.

    With dates, the test part is every snapshot from ``test_from`` on; the training part is every snapshot
    whose outcome window is over by then. Snapshots in between belong to neither. An account may be in both:
    the question is what happens next year to the same base; ``separate_accounts=True`` asks about new
    accounts and leaves those of the test part out of the training part.

    Without dates, accounts are split at random, whole groups at a time, and a warning says so.

    Parameters
    ----------
    dataset
        To be split.
    test_from
        First snapshot of the test part; needed where rows have dates.
    embargo_months
        Months between a training snapshot and ``test_from``; None takes the horizon.
    separate_accounts
        Leave the test part's accounts (groups) out of the training part.
    test_share
        Without dates: share of the groups in the test part.
    seed
        Without dates: of the random choice.

    Returns
    -------
    train, test
        ``facts["split"]`` of both says how, and how many accounts are in both.

    Raises
    ------
    ConfigError
        If an argument doesn't fit the dataset.
    NotEnoughDataError
        If a part would be empty.

    Warns
    -----
    DataWarning
        If the split is by account only, or the horizon isn't known.
    """
    seed = parameters.seed(seed)
    test_share = parameters.number("test_share", test_share, 0, 1, inside=True)
    if embargo_months is not None:
        embargo_months = parameters.whole("embargo_months", embargo_months, 0, parameters.MOST_MONTHS)
    days = to_days(dataset.labels["snapshot_date"])
    if np.isnat(days).all():
        if test_from is not None or embargo_months is not None:
            raise ConfigError(
                f"expected a dataset with snapshot dates for test_from={test_from!r}, found none: leave "
                "it out to "
                "split by account",
                test_from=test_from,
            )
        return _split_by_account(dataset, test_share, seed)
    if test_from is None:
        raise ConfigError(
            f"expected test_from, found none: name a day between {days.min()} and {days.max()}",
            test_from=None,
        )
    border = to_day(test_from)
    months = _embargo(dataset, embargo_months)
    test = days >= border
    train = (days < border) & (add_months(days, months) <= border)
    if separate_accounts:
        train &= ~np.isin(dataset.groups.astype(str), dataset.groups[test].astype(str))
    if not test.any() or not train.any():
        raise NotEnoughDataError(
            f"expected rows on both sides of {border}, found {int(train.sum())} to train on and "
            f"{int(test.sum())} "
            f"to test on; snapshots are {days.min()} to {days.max()} and training snapshots end {months} "
            "months "
            "before: move test_from",
            n_train=int(train.sum()),
            n_test=int(test.sum()),
        )
    how = {
        "how": "time",
        "test_from": str(border),
        "embargo_months": months,
        "between": int((~train & ~test).sum()),
    }
    return _parts(dataset, train, test, how)


def _embargo(dataset: Dataset, embargo_months: int | None) -> int:
    if embargo_months is not None:
        return embargo_months
    if dataset.horizon_months is None:
        warnings.warn(
            "the horizon of this dataset isn't known, so no embargo keeps training outcomes out of the test "
            "period: pass embargo_months=..., or horizon_months=... to Dataset.from_frame",
            DataWarning,
            stacklevel=3,
        )
        return 0
    return dataset.horizon_months


def _split_by_account(dataset: Dataset, test_share: float, seed: int) -> tuple[Dataset, Dataset]:
    groups = np.unique(dataset.groups.astype(str))
    n_test = round(len(groups) * test_share)
    if not 0 < n_test < len(groups):
        raise NotEnoughDataError(
            f"expected enough accounts for two parts, found {len(groups)} of which {test_share:.0%} are "
            f"{n_test}",
            n_accounts=len(groups),
        )
    warnings.warn(
        "rows have no dates: the split is by account at random, so it says nothing about change over time",
        DataWarning,
        stacklevel=3,
    )
    chosen = np.random.default_rng(seed).permutation(groups)[:n_test]
    test = np.isin(dataset.groups.astype(str), chosen)
    return _parts(dataset, ~test, test, {"how": "account", "test_share": test_share, "seed": seed})


def _parts(
    dataset: Dataset, train: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_], how: dict[str, Any]
) -> tuple[Dataset, Dataset]:
    ids = dataset.features["account_id"]
    how["accounts_on_both_sides"] = len(set(ids[train]) & set(ids[test]))
    parts = []
    for rows, name in ((train, "train"), (test, "test")):
        part = dataset.take(rows)
        parts.append(replace(part, facts={**part.facts, "split": {**how, "part": name, "rows": len(part)}}))
    return parts[0], parts[1]


@dataclass(frozen=True, slots=True)
class PurgedGroupTimeSplit:
    """Walk-forward folds for scikit-learn without overlap in time or in accounts.

    The snapshots that leave room for a finished training window are cut into ``n_splits`` consecutive test
    periods. Training rows of a fold are those whose outcome window (and embargo) is over when its test period
    begins. With groups, accounts are dealt into ``n_splits`` parts as well: fold k tests part k and trains on
    the others. Were all accounts of a test period left out instead, those still customers would never be
    trained on, and what remained would be the churned.

    Parameters
    ----------
    n_splits
        Number of folds.
    horizon_months
        Length of the outcome window.
    embargo_days
        Days between the end of a training window and the test period, for outcomes reported late.

    Examples
    --------
    >>> dates = pd.to_datetime(["2020-12-31", "2021-12-31", "2022-12-31", "2023-12-31"])
    >>> folds = PurgedGroupTimeSplit(n_splits=2, horizon_months=12)
    >>> [(train.tolist(), test.tolist()) for train, test in folds.split(range(4), dates=dates)]
    [([0], [1, 2]), ([0, 1, 2], [3])]
    """

    n_splits: int = 5
    horizon_months: int = 12
    embargo_days: int = 0

    def _check(self) -> None:
        parameters.whole("n_splits", self.n_splits, 1, MOST_SPLITS)
        parameters.whole("horizon_months", self.horizon_months, 0, parameters.MOST_MONTHS)
        parameters.whole("embargo_days", self.embargo_days, 0, parameters.MOST_DAYS)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None, *, dates: Any = None
    ) -> Iterator[tuple[Rows, Rows]]:
        """Yield training and test rows of each fold.

        Parameters
        ----------
        X
            A Dataset (its dates and groups are used), a frame with a column ``as_of``, or anything with a
            length if ``dates`` is given.
        y
            Not used.
        groups
            What must not be on both sides, one per row.
        dates
            Snapshot of each row.

        Raises
        ------
        ConfigError
            If dates are missing or empty, or lengths differ.
        NotEnoughDataError
            If there are too few snapshots, or a fold would be empty.
        """
        self._check()
        days, groups = self._read(X, groups, dates)
        part = None if groups is None else self._deal(np.asarray(groups).astype(str))
        free = shift_days(add_months(days, self.horizon_months), self.embargo_days)
        snapshots = np.unique(days)
        testable = snapshots[snapshots >= free.min()]
        if len(testable) < self.n_splits:
            raise NotEnoughDataError(
                f"expected at least {self.n_splits} snapshots from {free.min()} on, where the first "
                "outcome window "
                f"is over, found {len(testable)} of {len(snapshots)}: fewer n_splits or more snapshots",
                n_snapshots=len(testable),
            )
        for k, period in enumerate(np.array_split(testable, self.n_splits)):
            test = np.isin(days, period)
            train = free <= period[0]
            if part is not None:
                test, train = test & (part == k), train & (part != k)
            if not test.any() or not train.any():
                raise NotEnoughDataError(
                    f"expected rows on both sides of fold {k}, found {int(train.sum())} to train on and "
                    f"{int(test.sum())} to test on: fewer n_splits",
                    fold=k,
                )
            yield np.flatnonzero(train), np.flatnonzero(test)

    def _deal(self, groups: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Deal groups into parts of about equal rows, whatever the order of rows."""
        names, code, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.random.default_rng(0).permutation(len(names))
        middle = np.cumsum(sizes[order]) - sizes[order] / 2
        part = np.empty(len(names), dtype=np.int64)
        part[order] = np.minimum((middle * self.n_splits / len(groups)).astype(np.int64), self.n_splits - 1)
        dealt: npt.NDArray[np.int64] = part[code.ravel()]
        return dealt

    def _read(self, X: Any, groups: Any, dates: Any) -> tuple[Days, Any]:
        if isinstance(X, Dataset):
            groups = X.groups if groups is None else groups
            dates = X.labels["snapshot_date"] if dates is None else dates
        elif dates is None and isinstance(X, pd.DataFrame) and "as_of" in X.columns:
            dates = X["as_of"]
        if dates is None:
            raise ConfigError("expected dates, found none: pass dates=..., a Dataset, or a frame with as_of")
        days = to_days(dates)
        if len(days) != len(X) or (groups is not None and len(groups) != len(X)):
            raise ConfigError(f"expected {len(X)} dates and groups, found {len(days)} dates", found=len(days))
        if not len(days) or np.isnat(days).any():
            raise ConfigError(f"expected a date in every row, found {int(np.isnat(days).sum())} empty")
        return days, groups
