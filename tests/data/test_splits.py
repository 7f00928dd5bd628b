from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_score

from icp_ml.data.dataset import Dataset
from icp_ml.data.splits import PurgedGroupTimeSplit, split_out_of_time
from icp_ml.data.windows import add_months, shift_days, to_days
from icp_ml.errors import ConfigError, DataWarning, NotEnoughDataError

QUARTERS = [
    "2020-03-31",
    "2020-06-30",
    "2020-09-30",
    "2020-12-31",
    "2021-03-31",
    "2021-06-30",
    "2021-12-31",
    "2022-12-31",
]


def panel(n_accounts: int = 6, days: list[str] | None = None, horizon: int | None = 12) -> Dataset:
    days = QUARTERS if days is None else days
    frame = pd.DataFrame(
        [
            (f"a{account}", day, account, (account + place) % 2)
            for place, day in enumerate(days)
            for account in range(n_accounts)
        ],
        columns=["id", "day", "size", "kept"],
    )
    return Dataset.from_frame(
        frame, account_id="id", labels={"retained": "kept"}, snapshot_date="day", horizon_months=horizon
    )


def dateless(n_accounts: int = 40, rows_each: int = 3) -> Dataset:
    place = np.arange(n_accounts * rows_each)
    frame = pd.DataFrame({"id": [f"a{k % n_accounts}" for k in place], "size": place, "kept": place % 2})
    return Dataset.from_frame(frame, account_id="id", labels={"retained": "kept"})


def days_of(dataset: Dataset) -> list[str]:
    return sorted({str(day)[:10] for day in dataset.labels["snapshot_date"]})


@pytest.mark.parametrize(
    ("test_from", "last_train"),
    [("2021-03-30", None), ("2021-03-31", "2020-03-31"), ("2021-04-01", "2020-03-31")],
)
def test_training_windows_are_over_when_the_test_begins(test_from: str, last_train: str | None) -> None:
    if last_train is None:
        with pytest.raises(NotEnoughDataError, match="0 to train on"):
            split_out_of_time(panel(), test_from=test_from)
        return
    train, test = split_out_of_time(panel(), test_from=test_from)
    assert days_of(train)[-1] == last_train
    assert days_of(test)[0] >= test_from
    assert train.facts["split"]["between"] == len(panel()) - len(train) - len(test)


def test_month_ends_and_leap_days_at_the_border() -> None:
    leap = panel(days=["2020-02-29", "2021-02-28", "2021-03-01"])
    train, _ = split_out_of_time(leap, test_from="2021-02-28")
    assert days_of(train) == ["2020-02-29"]
    with pytest.raises(NotEnoughDataError):
        split_out_of_time(leap, test_from="2021-02-27")


def test_the_embargo_can_be_set() -> None:
    train, _ = split_out_of_time(panel(), test_from="2021-03-31", embargo_months=3)
    assert days_of(train)[-1] == "2020-12-31"
    assert train.facts["split"]["embargo_months"] == 3
    with pytest.raises(ConfigError):
        split_out_of_time(panel(), test_from="2021-03-31", embargo_months=-1)


def test_accounts_stay_on_both_sides_unless_separated() -> None:
    train, test = split_out_of_time(panel(), test_from="2021-03-31")
    assert train.facts["split"]["accounts_on_both_sides"] == 6
    dataset = panel()
    dataset = dataset.take(
        (dataset.groups != "a0") | (to_days(dataset.labels["snapshot_date"]) < np.datetime64("2021-01-01"))
    )
    train, test = split_out_of_time(dataset, test_from="2021-03-31", separate_accounts=True)
    assert set(train.groups) == {"a0"}
    assert test.facts["split"]["accounts_on_both_sides"] == 0


def test_without_dates_accounts_are_split_whole_and_the_split_says_so() -> None:
    with pytest.warns(DataWarning, match="no dates"):
        train, test = split_out_of_time(dateless(), test_share=0.25, seed=3)
    assert not set(train.groups) & set(test.groups)
    assert len(set(test.groups)) == 10
    assert len(train) + len(test) == 120
    shuffled = dateless().take(np.random.default_rng(0).permutation(120))
    with pytest.warns(DataWarning):
        _, again = split_out_of_time(shuffled, test_share=0.25, seed=3)
    assert set(again.groups) == set(test.groups)
    with pytest.warns(DataWarning):
        _, other = split_out_of_time(dateless(), test_share=0.25, seed=4)
    assert set(other.groups) != set(test.groups)


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected test_from"):
        split_out_of_time(panel())
    with pytest.raises(ConfigError, match="snapshot dates"):
        split_out_of_time(dateless(), test_from="2021-01-01")
    with pytest.raises(ConfigError, match="test_share"):
        split_out_of_time(dateless(), test_share=1.5)
    with pytest.raises(NotEnoughDataError):
        split_out_of_time(dateless(n_accounts=2), test_share=0.1)
    with pytest.raises(NotEnoughDataError, match="0 to test on"):
        split_out_of_time(panel(), test_from="2030-01-01")


def test_an_unknown_horizon_warns_that_windows_may_overlap() -> None:
    with pytest.warns(DataWarning, match="horizon"):
        train, _ = split_out_of_time(panel(horizon=None), test_from="2021-03-31")
    assert days_of(train)[-1] == "2020-12-31"


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 1500)), min_size=30, max_size=80),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 40),
    st.booleans(),
)
def test_no_fold_overlaps_in_time_or_accounts(
    rows: list[tuple[int, int]], n_splits: int, horizon: int, embargo: int, grouped: bool
) -> None:
    groups = np.array([account for account, _ in rows])
    days = np.datetime64("2019-01-31") + np.array([day for _, day in rows]).astype("timedelta64[D]")
    folds = PurgedGroupTimeSplit(n_splits, horizon, embargo)
    seen: list[int] = []
    try:
        for train, test in folds.split(days, groups=groups if grouped else None, dates=days):
            assert len(train)
            assert len(test)
            free = shift_days(add_months(days[train], horizon), embargo)
            assert free.max() <= days[test].min()
            assert not grouped or not set(groups[train]) & set(groups[test])
            seen += test.tolist()
    except NotEnoughDataError:
        return
    assert len(seen) == len(set(seen))


def test_folds_walk_forward_over_every_testable_snapshot() -> None:
    dataset = panel()
    folds = PurgedGroupTimeSplit(n_splits=2, horizon_months=12)
    dates = dataset.labels["snapshot_date"]
    found = [
        (to_days(dates.iloc[train]), to_days(dates.iloc[test]))
        for train, test in folds.split(dataset.features)
    ]
    assert [str(test.min()) for _, test in found] == ["2021-03-31", "2021-12-31"]
    assert [str(train.max()) for train, _ in found] == ["2020-03-31", "2020-12-31"]
    assert sorted(set(np.concatenate([test for _, test in found]).astype(str))) == QUARTERS[4:]
    assert folds.get_n_splits() == 2


def test_a_dataset_brings_its_own_dates_and_groups() -> None:
    dataset = panel(n_accounts=12)
    for train, test in PurgedGroupTimeSplit(3, 6).split(dataset):
        assert not set(dataset.groups[train]) & set(dataset.groups[test])
        assert len(set(dataset.groups[test])) == 4
        assert len(set(dataset.groups[train])) == 8


def test_it_works_in_scikit_learn() -> None:
    dataset = panel(n_accounts=12)
    y = dataset.target("retained")[1]
    scores = cross_val_score(
        DummyClassifier(),
        dataset.features[["as_of", "size"]],
        y,
        groups=dataset.groups,
        cv=PurgedGroupTimeSplit(2, 6),
    )
    assert len(scores) == 2


@pytest.mark.parametrize(
    ("folds", "arguments", "error"),
    [
        (PurgedGroupTimeSplit(0), {"dates": QUARTERS}, ConfigError),
        (PurgedGroupTimeSplit(2), {}, ConfigError),
        (PurgedGroupTimeSplit(2), {"dates": QUARTERS[:3]}, ConfigError),
        (PurgedGroupTimeSplit(2), {"dates": [*QUARTERS[:7], "NaT"]}, ConfigError),
        (PurgedGroupTimeSplit(9), {"dates": QUARTERS}, NotEnoughDataError),
        (PurgedGroupTimeSplit(2), {"dates": QUARTERS, "groups": ["a"] * 8}, NotEnoughDataError),
    ],
)
def test_folds_that_cannot_be_made_are_refused(
    folds: PurgedGroupTimeSplit, arguments: dict, error: type
) -> None:
    with pytest.raises(error):
        list(folds.split(np.zeros(8), **arguments))
