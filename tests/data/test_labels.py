from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.censoring import end_date_mode, infer_observed_until, last_day
from icp_ml.data.dataset import Dataset, build_dataset
from icp_ml.data.labels import Ledger, snapshot_labels
from icp_ml.data.lookup import distinct_ids, root_of
from icp_ml.data.tables import Tables, read_tables
from icp_ml.errors import ConfigError, NotEnoughDataError, TableError

DAY = np.datetime64("2023-01-31")


def subscriptions(*rows: tuple[object, ...]) -> pd.DataFrame:
    frame = pd.DataFrame(
        rows, columns=["account_id", "start_date", "end_date", "arr", "renewal_date"][: len(rows[0])]
    )
    for name in frame.columns.intersection(["start_date", "end_date", "renewal_date"]):
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[ns]")
    return frame.assign(arr=frame["arr"].astype(float))


def labels_of(
    *rows: tuple[object, ...], mode: str = "events", months: int = 12, tolerance: float = 0.05
) -> pd.DataFrame:
    return snapshot_labels(Ledger.of(subscriptions(*rows)), DAY, months, tolerance, mode)[0].set_index(
        "account_id"
    )


def test_revenue_in_force_on_a_day() -> None:
    ledger = Ledger.of(
        subscriptions(
            ("a", "2023-01-01", "2023-02-01", 10), ("a", "2023-01-15", None, 5), ("b", "2023-02-01", None, 7)
        )
    )
    days = ["2022-12-31", "2023-01-01", "2023-01-15", "2023-01-31", "2023-02-01"]
    found = [ledger.arr_on(np.datetime64(day)).tolist() for day in days]
    assert found == [[0, 0], [10, 0], [15, 0], [15, 0], [5, 7]]
    per_account = ledger.arr_on(np.array(["2023-01-01", "2023-02-01"], dtype="datetime64[D]"))
    assert per_account.tolist() == [10, 7]


@pytest.mark.parametrize(
    ("end", "retained"), [("2024-01-30", False), ("2024-01-31", False), ("2024-02-01", True)]
)
def test_leaving_up_to_the_last_day_of_the_window_is_churn(end: str, retained: bool) -> None:
    assert bool(labels_of(("a", "2022-01-01", end, 100))["retained"]["a"]) is retained


@pytest.mark.parametrize(
    ("start", "active"), [("2023-01-30", True), ("2023-01-31", True), ("2023-02-01", False)]
)
def test_who_starts_by_the_snapshot_is_a_row(start: str, active: bool) -> None:
    assert ("a" in labels_of(("a", start, None, 100), ("b", "2020-01-01", None, 1)).index) is active


def test_whoever_left_on_the_snapshot_is_no_row() -> None:
    found = labels_of(("a", "2022-01-01", "2023-01-31", 100), ("b", "2022-01-01", "2023-02-01", 1))
    assert found.index.tolist() == ["b"]
    assert not found["retained"]["b"]


def test_leap_day_windows() -> None:
    ledger = Ledger.of(
        subscriptions(("a", "2019-01-01", "2021-02-28", 1), ("b", "2019-01-01", "2021-03-01", 1))
    )
    found, _ = snapshot_labels(ledger, np.datetime64("2020-02-29"), 12, 0.05, "events")
    assert found["retained"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("ending", "expanded"), [(104.9, False), (105, True), (200, True), (100, False), (0, False)]
)
def test_expansion_needs_the_tolerance_and_lost_accounts_did_not_expand(
    ending: float, expanded: bool
) -> None:
    rows = [("a", "2022-01-01", "2023-06-30", 100), ("a", "2023-06-30", None, ending)]
    found = labels_of(*rows).loc["a"]
    assert bool(found["expanded"]) is expanded
    assert found["arr_ratio"] == pytest.approx(ending / 100)
    assert found[["starting_arr", "ending_arr"]].tolist() == [100, ending]


def test_first_year_churn_is_known_only_when_the_anniversary_lies_in_the_window() -> None:
    found = labels_of(
        ("left", "2022-06-30", "2023-05-31", 1),
        ("back_later", "2022-06-30", "2023-06-30", 1),
        ("back_later", "2023-07-31", None, 1),
        ("stayed", "2022-06-30", None, 1),
        ("old", "2021-06-30", "2023-05-31", 1),
        ("first_day", "2023-01-31", "2024-01-31", 1),
        ("year_ago", "2022-01-31", None, 1),
    )["churned_first_year"]
    known = found.dropna().astype(bool).to_dict()
    assert known == {"left": True, "back_later": True, "stayed": False, "first_day": True}
    short = labels_of(("a", "2022-06-30", None, 1), months=4)["churned_first_year"]
    assert short.isna().all()
    exact = labels_of(("a", "2022-06-30", None, 1), months=5)["churned_first_year"]
    assert exact.tolist() == [False]


@pytest.mark.parametrize(
    ("row", "mode", "eligible"),
    [
        (("a", "2022-01-01", None, 1, None), "terms", True),
        (("a", "2022-01-01", "2024-01-31", 1, None), "terms", True),
        (("a", "2022-01-01", "2024-02-01", 1, None), "terms", False),
        (("a", "2022-01-01", "2024-02-01", 1, None), "events", True),
        (("a", "2022-01-01", None, 1, "2024-01-31"), "events", True),
        (("a", "2022-01-01", None, 1, "2024-02-01"), "events", False),
        (("a", "2020-01-31", None, 1, "2023-01-31"), "events", False),
        (("a", "2022-01-31", None, 1, "2023-01-31"), "events", True),
        (("a", "2022-01-01", "2025-01-01", 1, "2023-06-30"), "terms", True),
    ],
)
def test_who_cannot_leave_in_the_window_is_left_out(
    row: tuple[object, ...], mode: str, eligible: bool
) -> None:
    other = ("b", "2022-01-01", None, 1, None)
    found, left_out = snapshot_labels(Ledger.of(subscriptions(row, other)), DAY, 12, 0.05, mode)
    assert ("a" in found["account_id"].tolist()) is eligible
    assert left_out == {"not_active": 0, "locked_in": int(not eligible)}


def test_one_locked_subscription_locks_the_account() -> None:
    rows = [("a", "2022-01-01", "2023-06-30", 1), ("a", "2022-01-01", "2026-06-30", 1)]
    assert labels_of(*rows, mode="terms").empty


def chain(*, years: int = 4, accounts: int = 10, gap_days: int = 0) -> pd.DataFrame:
    rows = []
    for account in range(accounts):
        start = pd.Timestamp("2019-01-01") + pd.Timedelta(days=30 * account)
        for _ in range(years if account % 3 else 2):
            end = start + pd.Timedelta(days=365)
            rows.append((f"a{account}", start, end, 100))
            start = end + pd.Timedelta(days=gap_days)
    return subscriptions(*rows)


def test_chains_of_renewals_are_terms_and_lone_ends_are_events() -> None:
    assert end_date_mode(chain())[0] == "terms"
    assert end_date_mode(chain(gap_days=20))[0] == "terms"
    assert end_date_mode(chain(gap_days=60))[0] == "events"
    assert end_date_mode(subscriptions(("a", "2020-01-01", None, 1)))[0] == "events"
    assert end_date_mode(chain(gap_days=60), "terms") == ("terms", "given")
    with pytest.raises(ConfigError, match="infer, terms or events"):
        end_date_mode(chain(), "maybe")


def test_monthly_chains_are_terms() -> None:
    months = pd.date_range("2020-01-01", "2022-01-01", freq="MS")
    rows = [("a", begin, end, 1) for begin, end in zip(months[:-1], months[1:], strict=True)]
    assert end_date_mode(subscriptions(*rows))[0] == "terms"


def test_accounts_that_start_subscriptions_all_the_time_are_no_chains() -> None:
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 700, 3000), unit="D")
    end = start + pd.to_timedelta(rng.integers(30, 300, 3000), unit="D")
    ended = rng.random(3000) < 0.1
    frame = subscriptions(
        *(
            (f"a{account}", begin, stop if gone else None, 1)
            for account, begin, stop, gone in zip(rng.integers(0, 300, 3000), start, end, ended, strict=True)
        )
    )
    assert end_date_mode(frame)[0] == "events"


def test_a_product_is_renewed_by_the_same_product_only() -> None:
    frame = chain(years=2).assign(product=lambda frame: np.where(frame.index % 2, "x", "y"))
    assert end_date_mode(frame)[0] == "events"


def tables_of(frame: pd.DataFrame, **others: pd.DataFrame) -> Tables:
    accounts = pd.DataFrame({"account_id": sorted(set(frame["account_id"]))})
    accounts["size"] = range(len(accounts))
    tables, rejects = read_tables({"accounts": accounts, "subscriptions": frame, **others})
    assert len(rejects) == 0
    return tables


def test_terms_are_observed_until_the_latest_start_or_event() -> None:
    frame = chain()
    latest = frame["start_date"].max()
    day, how = infer_observed_until(tables_of(frame), "terms", np.datetime64("2019-01-01"))
    assert day == np.datetime64(latest, "D")
    assert "terms" in how
    tickets = pd.DataFrame({"account_id": ["a1"], "date": ["2023-05-05"]})
    assert str(infer_observed_until(tables_of(frame, tickets=tickets), "terms", DAY)[0]) == "2023-05-05"
    assert str(last_day(tables_of(frame, tickets=tickets))) == "2023-05-05"


def test_events_after_the_latest_start_extend_what_is_observed() -> None:
    rows = [(f"a{place}", "2020-01-01", "2022-06-30" if place < 5 else None, 1) for place in range(10)]
    tables = tables_of(subscriptions(*rows))
    assert str(infer_observed_until(tables, "events", np.datetime64("2020-01-01"))[0]) == "2022-06-30"
    few = [(f"a{place}", "2020-01-01", "2022-06-30" if place < 1 else None, 1) for place in range(20)]
    assert (
        str(infer_observed_until(tables_of(subscriptions(*few)), "events", np.datetime64("2020-01-01"))[0])
        == "2020-01-01"
    )
    late = infer_observed_until(tables_of(subscriptions(*few)), "events", np.datetime64("2021-01-01"))
    assert str(late[0]) == "2022-06-30"


def build(frame: pd.DataFrame, **settings: object) -> Dataset:
    arguments = {"snapshot_dates": ["2021-01-31"], "horizon_months": 12, "observed_until": "2030-01-01"}
    return build_dataset(tables_of(frame), **{**arguments, **settings})


EVENTS = [(f"a{place}", "2019-06-30", "2021-06-30" if place % 2 else None, 100) for place in range(10)]


@pytest.mark.parametrize(
    ("until", "finished"), [("2022-01-30", False), ("2022-01-31", True), ("2022-02-01", True)]
)
def test_an_unfinished_window_is_censored_and_counted(until: str, finished: bool) -> None:
    snapshots = ["2020-01-31", "2021-01-31"]
    rows = [*EVENTS, ("early", "2019-06-30", "2020-06-30", 100)]
    dataset = build(subscriptions(*rows), snapshot_dates=snapshots, observed_until=until, horizon_months=12)
    assert dataset.facts["dropped"]["censored"] == (0 if finished else 10)
    assert len(dataset) == (21 if finished else 11)
    assert dataset.labels["retained"].notna().all()
    assert dataset.facts["snapshots"] == (snapshots if finished else snapshots[:1])


def test_nothing_left_says_why_and_what_to_do() -> None:
    with pytest.raises(NotEnoughDataError, match="observed_until=") as caught:
        build(subscriptions(*EVENTS), observed_until="2021-06-30")
    assert caught.value.dropped == {"not_active": 0, "locked_in": 0, "censored": 10}


def test_equal_labels_are_refused() -> None:
    with pytest.raises(NotEnoughDataError, match="all are equal"):
        build(subscriptions(*((f"a{place}", "2019-06-30", None, 100) for place in range(10))))


def test_rows_and_left_out_are_accounts_times_snapshots() -> None:
    frame = chain(years=5)
    snapshots = ["2018-12-31", "2019-12-31", "2020-12-31", "2021-12-31", "2022-12-31"]
    dataset = build(
        frame, snapshot_dates=snapshots, horizon_months=6, observed_until="2022-12-01", end_dates="terms"
    )
    left_out = dataset.facts["dropped"]
    assert left_out["locked_in"] > 0
    assert left_out["censored"] > 0
    assert len(dataset) + sum(left_out.values()) == 10 * len(snapshots)


@pytest.mark.parametrize(
    "settings", [{"horizon_months": 0}, {"horizon_months": 1.5}, {"expansion_tolerance": -0.1}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build(subscriptions(*EVENTS), **settings)


def test_subscriptions_are_needed() -> None:
    tables = Tables(pd.DataFrame({"account_id": ["a"]}))
    with pytest.raises(TableError, match="subscriptions"):
        build_dataset(tables, snapshot_dates="2021-01-31", horizon_months=12)


def test_facts_and_summary_say_what_limits_the_rows() -> None:
    dataset = build(subscriptions(*EVENTS), end_dates="events")
    assert dataset.facts["observed_until"] == "2030-01-01"
    assert dataset.facts["observed_until_how"] == "given"
    assert dataset.facts["not_point_in_time"] == ["size"]
    assert dataset.facts["end_dates"] == "events"
    assert dataset.horizon_months == 12
    text = dataset.summary()
    for part in (
        "10 rows of 10 accounts",
        "retained: 50.0%",
        "not point-in-time",
        "observed until 2030-01-01",
    ):
        assert part in text


def test_groups_are_the_top_parents() -> None:
    tables = tables_of(subscriptions(*EVENTS))
    accounts = tables.accounts.assign(parent_id=[None, "a0", "a1", "elsewhere", "elsewhere", *[None] * 5])
    dataset = build_dataset(
        read_tables({"accounts": accounts, "subscriptions": tables.subscriptions})[0],
        snapshot_dates="2021-01-31",
        horizon_months=12,
        observed_until="2030-01-01",
    )
    assert dataset.groups.tolist() == [
        "a0",
        "a0",
        "a0",
        "elsewhere",
        "elsewhere",
        "a5",
        "a6",
        "a7",
        "a8",
        "a9",
    ]
    assert "parent_id" not in dataset.schema.names
    circle = pd.DataFrame({"account_id": ["a", "b", "c"], "parent_id": ["b", "a", "b"]})
    assert root_of(circle, distinct_ids(circle["account_id"])).tolist() == ["a", "a", "a"]
