"""Whatever is dated after the snapshot changes no feature."""

from __future__ import annotations

from typing import Any

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

import icp_ml as icp
from icp_ml.data.features import features_schema

SNAPSHOT = pd.Timestamp("2023-02-28")
IDS = ["a", "b", "c"]
PAST = st.integers(0, 900).map(lambda days: SNAPSHOT - pd.Timedelta(days=days))
FUTURE = st.integers(1, 900).map(lambda days: SNAPSHOT + pd.Timedelta(days=days))
ACCOUNT = st.sampled_from(IDS)
LATER_OR_OPEN = st.none() | FUTURE


def rows(when: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[list[dict[str, Any]]]]:
    """Rows of each table whose decisive date is drawn from ``when``."""

    def table(**columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
        return st.lists(st.fixed_dictionaries({"account_id": ACCOUNT, **columns}), max_size=5)

    return {
        "accounts": table(
            valid_from=when,
            size=st.sampled_from([1, 2.5, None, 700]),
            industry=st.sampled_from(["Retail", "Energy", None]),
            naics=st.sampled_from(["541511", "23", None]),
        ),
        "technologies": table(
            technology=st.sampled_from(["Slack", "slack", "Jira", "Zoom"]),
            category=st.sampled_from(["chat", "video", None]),
            first_seen=when,
            last_seen=LATER_OR_OPEN,
        ),
        "subscriptions": table(
            start_date=when,
            end_date=LATER_OR_OPEN,
            arr=st.sampled_from([100.0, 250.0]),
            discount=st.sampled_from([0.0, 0.2, None]),
            product=st.sampled_from(["x", "y", None]),
        ),
        "tickets": table(date=when),
        "nps": table(date=when, score=st.integers(0, 10)),
        "usage": table(date=when, metric=st.sampled_from(["logins", "seats"]), value=st.integers(0, 9)),
    }


def tables_of(parts: list[dict[str, list[dict[str, Any]]]]) -> icp.Tables:
    base = {
        "accounts": [
            {"account_id": name, "valid_from": pd.Timestamp("2000-01-01"), "size": 5, "industry": "Retail"}
            for name in IDS
        ],
        "subscriptions": [{"account_id": "a", "start_date": pd.Timestamp("2020-01-01"), "arr": 1.0}],
    }
    source = {}
    for name in parts[0]:
        found = base.get(name, []) + [row for part in parts for row in part[name]]
        columns = {
            "accounts": ["account_id", "valid_from", "size", "industry", "naics"],
            "technologies": ["account_id", "technology", "category", "first_seen", "last_seen"],
            "subscriptions": ["account_id", "start_date", "end_date", "arr", "discount", "product"],
            "tickets": ["account_id", "date"],
            "nps": ["account_id", "date", "score"],
            "usage": ["account_id", "date", "metric", "value"],
        }[name]
        source[name] = pd.DataFrame(found, columns=columns, dtype=object)
    return icp.read_tables(source)[0]


PAST_ROWS = st.fixed_dictionaries(rows(PAST))
FUTURE_ROWS = st.fixed_dictionaries(rows(FUTURE))


@settings(max_examples=60, deadline=None)
@given(PAST_ROWS, FUTURE_ROWS, FUTURE_ROWS)
def test_adding_editing_and_deleting_later_rows_changes_no_feature(
    past: dict[str, Any], future: dict[str, Any], other: dict[str, Any]
) -> None:
    frames = [
        icp.build_features(tables_of([past, *later]), as_of=SNAPSHOT, post_sale=True)
        for later in ([], [future], [other], [future, other])
    ]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])


@settings(max_examples=30, deadline=None)
@given(PAST_ROWS, FUTURE)
def test_when_something_will_end_changes_no_feature(past: dict[str, Any], end: pd.Timestamp) -> None:
    moved = {name: [dict(row) for row in found] for name, found in past.items()}
    for name, column in (("technologies", "last_seen"), ("subscriptions", "end_date")):
        for row in moved[name]:
            row[column] = end
    for post_sale in (False, True):
        pd.testing.assert_frame_equal(
            icp.build_features(tables_of([moved]), as_of=SNAPSHOT, post_sale=post_sale),
            icp.build_features(tables_of([past]), as_of=SNAPSHOT, post_sale=post_sale),
        )


def test_text_that_arrives_later_does_not_change_a_numbers_kind() -> None:
    past = {name: [] for name in rows(PAST)}
    later = {
        **past,
        "accounts": [{"account_id": "a", "valid_from": SNAPSHOT + pd.Timedelta(days=1), "size": "big"}],
    }
    numbers = [{"account_id": "b", "valid_from": SNAPSHOT, "size": 7}]
    first = tables_of([{**past, "accounts": numbers}])
    second = tables_of([{**later, "accounts": numbers + later["accounts"]}])
    assert features_schema(second, as_of=SNAPSHOT) == features_schema(first, as_of=SNAPSHOT)
    assert features_schema(second).kind("size") == "category"


def test_the_day_itself_is_known_and_the_next_is_not() -> None:
    for days, known in ((-1, True), (0, True), (1, False)):
        when = SNAPSHOT + pd.Timedelta(days=days)
        part: dict[str, Any] = {name: [] for name in rows(PAST)}
        part["technologies"] = [{"account_id": "a", "technology": "Slack", "first_seen": when}]
        part["accounts"] = [{"account_id": "a", "valid_from": when, "size": 99, "industry": "Energy"}]
        part["nps"] = [{"account_id": "a", "date": when, "score": 9}]
        found = icp.build_features(tables_of([part]), as_of=SNAPSHOT, post_sale=True).iloc[0]
        schema = features_schema(tables_of([part]))
        sized = icp.build_features(tables_of([part]), as_of=SNAPSHOT, schema=schema).iloc[0]
        assert bool(found["technology_count"] == 1) is known
        assert bool(found["nps_last"] == 9) is known
        assert sized["size"] == (99 if known else 5)
