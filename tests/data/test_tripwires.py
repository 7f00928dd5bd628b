"""Each tripwire speaks of the leak it was made for, and is silent about honest columns."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp
from icp_ml.data.tripwires import find_tripwires, quarantine
from icp_ml.data.wires import Finding

N = 600
RNG = np.random.default_rng(3)
STAYED = RNG.random(N) < 0.7
TOOLS = ["Slack", "Jira", "AWS"]


def frame_of(**columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "id": [f"a{k:04d}" for k in range(N)],
            "employees": rng.lognormal(4, 1, N).round(1) + STAYED,
            "revenue": rng.lognormal(3, 1, N).round(2),
            "web_rank": rng.integers(1, 10**7, N),
            "growth": rng.normal(0, 1, N).round(4),
            "industry": rng.choice(["x", "y", "z"], N),
            "kept": STAYED,
        }
    )
    return frame.assign(**columns)


def dataset_of(
    frame: pd.DataFrame, date: str | None = None, technologies: tuple[str, ...] = ()
) -> icp.Dataset:
    return icp.Dataset.from_frame(
        frame, account_id="id", labels={"retained": "kept"}, snapshot_date=date, technologies=technologies
    )


def speaks(dataset: icp.Dataset, column: str, wire: str) -> Finding:
    found = [f for f in find_tripwires(dataset) if f.column == column and f.wire == wire]
    assert found, find_tripwires(dataset)
    assert not [f for f in find_tripwires(dataset) if f.column != column and f.severity != "note"]
    assert not find_tripwires(dataset, allow=[column])
    return found[0]


def panel(periods: int = 4) -> pd.DataFrame:
    days = pd.date_range("2023-03-31", periods=periods, freq="QE")
    frame = frame_of().head(200)
    rows = pd.concat([frame.assign(day=day) for day in days], ignore_index=True)
    rows["employees"] += np.random.default_rng(5).integers(1, 50, len(rows))
    return rows


def test_honest_columns_set_nothing_off() -> None:
    assert find_tripwires(dataset_of(frame_of())) == ()
    assert find_tripwires(dataset_of(panel(), "day")) == ()


def test_a_column_that_nearly_tells_the_outcome_alone() -> None:
    flag = STAYED ^ (RNG.random(N) < 0.06)
    assert speaks(dataset_of(frame_of(flag=flag)), "flag", "alone").severity == "quarantine"
    copy = speaks(dataset_of(frame_of(flag=STAYED)), "flag", "alone")
    assert (copy.severity, copy.evidence) == ("refuse", 1.0)


def test_a_name_makes_a_strong_column_suspicious() -> None:
    score = STAYED + RNG.normal(0, 0.75, N)
    named = [f for f in find_tripwires(dataset_of(frame_of(lead_quality=score))) if f.wire == "name"]
    assert [(f.column, f.severity) for f in named] == [("lead_quality", "quarantine")]
    assert find_tripwires(dataset_of(frame_of(fit=score))) == ()
    assert find_tripwires(dataset_of(frame_of(funding_stage=score))) == ()


def test_a_name_alone_is_only_noted() -> None:
    assert speaks(dataset_of(frame_of(churn_notice=RNG.normal(size=N))), "churn_notice", "name").severity == (
        "note"
    )


def test_empty_cells_of_those_who_left() -> None:
    pages = np.where(~STAYED & (RNG.random(N) < 0.5), np.nan, RNG.poisson(40, N) + RNG.random(N))
    found = find_tripwires(dataset_of(frame_of(pages=pages)))
    assert {(f.column, f.wire, f.severity) for f in found} == {
        ("pages", "missing", "quarantine"),
        ("pages", "pure", "quarantine"),
    }


def test_a_tool_that_only_survivors_have_is_taken_out_of_the_lists() -> None:
    late = STAYED & (RNG.random(N) < 0.4)
    stack = [[*TOOLS, "Nova"] if has else TOOLS[: 1 + k % 3] for k, has in enumerate(late)]
    dataset = dataset_of(frame_of(stack=stack), technologies=("stack",))
    found = speaks(dataset, "stack", "pure")
    assert (found.tool, found.severity) == ("Nova", "quarantine")
    with pytest.warns(icp.LeakageWarning, match="left 1 of .* Nova in stack"):
        kept = quarantine(dataset, [found])
    tools = set(kept.features["stack"].explode())
    assert tools == set(TOOLS)
    assert kept.schema == dataset.schema
    assert kept.features["stack"].dtype == dataset.features["stack"].dtype
    assert dataset.features["stack"].explode().eq("Nova").any()


def test_a_mean_of_the_outcome_that_counted_the_row_itself() -> None:
    owner = RNG.integers(0, 75, N)
    mean = pd.Series(STAYED.astype(float)).groupby(owner).transform("mean").to_numpy()
    speaks(dataset_of(frame_of(owner_index=mean)), "owner_index", "echo")
    chance = np.round(np.clip(RNG.normal(0.7, 0.25, N), 0.02, 0.98), 1)
    honest = frame_of(chance=chance, kept=RNG.random(N) < chance)
    assert not [f for f in find_tripwires(dataset_of(honest)) if f.column == "chance"]


def test_account_numbers_in_the_order_of_the_outcome() -> None:
    place = RNG.random(N) + np.where(STAYED, 0.0, 0.5)
    record = 5_000 + np.argsort(np.argsort(place))
    assert speaks(dataset_of(frame_of(record=record)), "record", "id").severity == "quarantine"
    assert speaks(dataset_of(frame_of(record=5_000 + np.arange(N))), "record", "id").severity == "note"


@pytest.mark.parametrize("scale", ["year", "yyyymmdd", "seconds"])
def test_dates_after_the_snapshot(scale: str) -> None:
    ended = pd.Series(np.where(STAYED | (RNG.random(N) < 0.6), "2021-05-03", "2025-02-01")).astype(
        "datetime64[ns]"
    )
    values = {
        "year": ended.dt.year,
        "yyyymmdd": ended.dt.strftime("%Y%m%d").astype(int),
        "seconds": ended.astype("int64") // 10**9,
    }[scale]
    dataset = dataset_of(frame_of(last_change=values, day="2024-06-30"), "day")
    assert "after" in {f.wire for f in find_tripwires(dataset) if f.severity == "quarantine"}
    past = dataset_of(frame_of(seen=np.full(N, 2019) - np.arange(N) % 3, day="2024-06-30"), "day")
    assert not [f for f in find_tripwires(past) if f.wire == "after"]


def test_columns_that_tell_the_time() -> None:
    rows = panel()
    quarter = pd.factorize(rows["day"])[0]
    found = speaks(
        dataset_of(rows.assign(wave=quarter + RNG.normal(0, 0.2, len(rows))), "day"), "wave", "time"
    )
    assert found.severity == "note"
    late = quarter >= 2
    rows["kept"] = RNG.random(len(rows)) < np.where(late, 0.95, 0.5)
    telling = dataset_of(rows.assign(wave=quarter + RNG.normal(0, 0.2, len(rows))), "day")
    assert ("wave", "time", "quarantine") in {(f.column, f.wire, f.severity) for f in find_tripwires(telling)}


def test_fields_written_over_the_past_of_those_who_left() -> None:
    rows = panel()
    last = rows.groupby("id")["employees"].transform("last")
    again = rows.assign(employees=rows["employees"].where(rows["kept"], last))
    assert speaks(dataset_of(again, "day"), "employees", "frozen").evidence == 0.0


def test_columns_that_give_a_leak_back() -> None:
    term = np.where(STAYED, RNG.normal(300, 20, N), RNG.normal(240, 20, N))
    start = RNG.normal(1_000, 300, N)
    found = find_tripwires(dataset_of(frame_of(term=term, start=start, finish=start + term)))
    assert ("finish", "shadow") in {(f.column, f.wire) for f in found} or ("start", "shadow") in {
        (f.column, f.wire) for f in found
    }
    assert {f.column for f in found if f.severity != "note"} - {"start", "finish"} == {"term"}


def test_accounts_that_agree_in_all_but_one_field_are_counted() -> None:
    frame = frame_of()
    copies = frame.head(3).assign(id=["b1", "b2", "b3"], industry="w")
    same = frame.iloc[[9]].assign(id="b4")
    found = find_tripwires(dataset_of(pd.concat([frame, copies, same], ignore_index=True)))
    assert [(f.wire, f.severity, f.evidence) for f in found] == [
        ("twins", "note", 1.0),
        ("twins", "note", 3.0),
    ]


def test_what_is_left_out_is_named_and_counted() -> None:
    dataset = dataset_of(frame_of())
    bad = [Finding("revenue", "name", "quarantine", 0.8, "said so"), Finding("growth", "id", "note", 0.5, "")]
    with pytest.warns(icp.LeakageWarning, match=r"left 1 of 5 columns .* revenue \(said so\)"):
        kept = quarantine(dataset, bad)
    assert "revenue" not in kept.schema.names
    assert "revenue" not in kept.features
    assert "growth" in kept.schema.names
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quarantine(dataset, bad[1:]) is dataset
    every = [Finding(name, "name", "quarantine", 0.8, "") for name in dataset.schema.names]
    with pytest.raises(icp.LeakageError, match="found none in 5"):
        quarantine(dataset, every)


def test_small_tables_prove_nothing() -> None:
    flag = STAYED ^ (RNG.random(N) < 0.06)
    small = dataset_of(frame_of(flag=flag)).take(np.arange(40))
    assert find_tripwires(small) == ()
