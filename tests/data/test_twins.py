"""One customer under two account numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp


def base(n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    tools = ["Salesforce", "AWS", "Jira", "Slack"]
    return pd.DataFrame(
        {
            "id": [f"a{number:03d}" for number in range(n)],
            "employees": rng.lognormal(4, 1, n).round(1),
            "revenue": rng.lognormal(3, 1, n).round(2),
            "web_rank": rng.integers(1, 10**6, n),
            "industry": rng.choice(["x", "y", "z"], n),
            "stack": [[tool for tool in tools if rng.random() < 0.4] for _ in range(n)],
            "ok": rng.random(n) < 0.8,
        }
    )


def dataset(frame: pd.DataFrame, date: str | None = None) -> icp.Dataset:
    return icp.Dataset.from_frame(
        frame, account_id="id", labels={"retained": "ok"}, snapshot_date=date, technologies=["stack"]
    )


def test_a_customer_entered_twice_is_one_group_and_said_so() -> None:
    frame = base()
    copy = frame.iloc[[3, 8, 3]].assign(id=["b1", "b2", "b3"])
    copy["stack"] = [tools[::-1] for tools in copy["stack"]]
    built = dataset(pd.concat([frame, copy], ignore_index=True))
    assert built.facts["twins"] == 3
    assert built.groups[200:].tolist() == ["a003", "a008", "a003"]
    assert built.groups[:200].tolist() == frame["id"].tolist()
    assert built.n_accounts == 203
    assert "3 accounts agree with another one" in built.summary()


def test_one_different_field_makes_another_customer() -> None:
    frame = base()
    copy = frame.iloc[[3]].assign(id="b1", industry="other")
    assert dataset(pd.concat([frame, copy], ignore_index=True)).facts["twins"] == 0


def test_agreement_by_chance_joins_nobody() -> None:
    frame = base()[["id", "industry", "stack", "ok"]]
    assert dataset(frame).facts["twins"] == 0


def test_records_that_know_nothing_are_no_twins() -> None:
    frame = base()
    empty = frame.iloc[:5].assign(
        id=[f"e{i}" for i in range(5)], employees=np.nan, revenue=np.nan, web_rank=np.nan, industry=None
    )
    empty["stack"] = [None] * 5
    assert dataset(pd.concat([frame, empty], ignore_index=True)).facts["twins"] == 0


def test_the_same_account_at_two_dates_is_no_twin_but_twins_at_one_date_are() -> None:
    frame = base()
    both = pd.concat([frame.assign(day="2024-01-01"), frame.assign(day="2024-04-01")], ignore_index=True)
    assert dataset(both, "day").facts["twins"] == 0
    again = frame.iloc[[5]].assign(id="b1", day="2024-04-01")
    built = dataset(pd.concat([both, again], ignore_index=True), "day")
    assert built.facts["twins"] == 1
    assert built.groups[-1] == "a005"


@pytest.mark.parametrize("seed", range(3))
def test_copies_do_not_confirm_each_other(seed: int) -> None:
    frame = base(400, seed)
    doubled = pd.concat([frame, frame.assign(id="c" + frame["id"])], ignore_index=True)
    once = icp.build_profile(dataset(frame), {}, n_permutations=200).traits
    twice = icp.build_profile(dataset(doubled), {}, n_permutations=200).traits
    assert twice["kind"].isin(["icp", "anti_icp"]).sum() <= once["kind"].isin(["icp", "anti_icp"]).sum()
    assert twice["n_accounts"].max() == once["n_accounts"].max()
