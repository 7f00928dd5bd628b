"""One estimand over many snapshots: who is compared with whom, when an event counts, what is printed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

import icp_ml as icp
from icp_ml.data.dataset import Dataset
from icp_ml.errors import ConfigError
from icp_ml.insight import examine
from icp_ml.insight.building import build_profile
from icp_ml.insight.controls import ALARM, coin, exchanged, negative_controls
from icp_ml.insight.examine import search_target
from icp_ml.insight.preregistered import exact_p
from icp_ml.insight.riskset import Outcome, build_outcome, outcome_of
from icp_ml.simulation.ageing import make_ageing
from icp_ml.statistics import fisher_exact
from icp_ml.statistics.tails import tail_p


def as_rows(base: pd.DataFrame, tenure: bool = True) -> Dataset:
    return Dataset.from_frame(
        base if tenure else base.drop(columns="customer_since"),
        account_id="account_id",
        labels={"retained": "retained"},
        snapshot_date="snapshot_date",
        customer_since="customer_since" if tenure else None,
        horizon_months=12,
        technologies=[name for name in ("technologies",) if name in base],
    )


@pytest.fixture(scope="module")
def ageing() -> Dataset:
    base = make_ageing(400, seed=30_500, snapshots=26, churn=0.2).frame
    # opened some time before the first contract, so it is nearly the tenure
    tenure = (base["snapshot_date"] - base["customer_since"]).dt.days / 365.25
    before = base["account_id"].map(lambda name: int(name[1:]) * 0.618 % 1.0)
    base = base.assign(workspace_age=(tenure + before).round(2))
    few = ["workspace_age", "tool_count", "number_0", "category_0", "retained"]
    return as_rows(base[["account_id", "snapshot_date", "customer_since", *few]])


def accepted(traits: pd.DataFrame) -> pd.DataFrame:
    return traits[traits["kind"].isin(["icp", "anti_icp"])]


def account_means(*args: Any) -> Outcome:
    """As it was: each account's outcome and features averaged over its own rows, so 1/k a row."""
    account, y, labels, _, happens = args
    entry = labels.groupby("account_id")["snapshot_date"].transform("min")
    return outcome_of(account, y, labels.assign(tenure_days=np.nan, snapshot_date=entry), None, happens)


@pytest.mark.parametrize("control", [coin, exchanged])
def test_a_row_that_knows_its_accounts_future_is_found_out(
    ageing: Dataset, monkeypatch: pytest.MonkeyPatch, control: Any
) -> None:
    def p_values() -> list[float]:
        found = [
            search_target(control(ageing, run), "retained", seed=0, n_permutations=200) for run in range(4)
        ]
        names = [candidate.feature for candidate in found[0].design.candidates]
        return [float(one.fit.p_values[names.index("workspace_age")]) for one in found]

    assert min(p_values()) > 0.01
    monkeypatch.setattr(examine, "outcome_of", account_means)
    assert max(p_values()) <= 0.01


def test_the_controls_report_nothing_where_accounts_grow_older(ageing: Dataset) -> None:
    assert ALARM not in negative_controls(ageing, seed=1, n_runs=2, n_permutations=200).to_text()
    found = accepted(build_profile(ageing, {}, n_permutations=600).traits)["feature"]
    assert not {"workspace_age", "tool_count"} & set(found)


def test_accounts_are_compared_on_their_day_with_those_of_their_tenure(ageing: Dataset) -> None:
    account = pd.factorize(ageing.labels["account_id"])[0].astype(np.int64)
    outcome = outcome_of(account, ageing.target("retained")[1], ageing.labels, 12, 0.0)
    day = ageing.labels["snapshot_date"].to_numpy()
    tenure = ageing.labels["tenure_days"].to_numpy() // 91.3125
    stratum = outcome.stratum[outcome.unit]
    table = pd.DataFrame({"stratum": stratum, "day": day, "tenure": tenure})
    assert (table.groupby("stratum")["day"].nunique() == 1).all()
    spans = table.groupby(["day", "stratum"])["tenure"].agg(["min", "max"]).sort_values(["day", "min"])
    below = spans.groupby("day")["max"].shift()
    assert (spans["min"] > below)[below.notna()].all()
    many = table.groupby("day")["stratum"].transform("nunique") > 1
    assert table[many].groupby("stratum").size().min() >= 20
    within = np.bincount(outcome.stratum, weights=outcome.residual)
    assert np.abs(within).max() < 1e-9


def test_one_loss_counts_once_on_the_last_day_before_it() -> None:
    # an account that leaves 14 months after its first quarter end: seen as lost from the second one on
    account, date = np.zeros(5, dtype=np.int64), np.arange(5)
    y = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    months = 3 * np.arange(5)
    outcome = build_outcome(account, y, date, months=months, horizon_months=12, happens=0.0)
    assert outcome.event.tolist() == [0.0, 0.0, 0.0, 0.0, -1.0]
    # who grows all the time grows once a horizon
    grows = build_outcome(
        np.zeros(10, dtype=np.int64), np.ones(10), np.arange(10), months=3 * np.arange(10), horizon_months=12
    )
    assert grows.event.tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    # comes back, leaves again: two losses
    twice = build_outcome(
        np.zeros(4, dtype=np.int64),
        np.array([0.0, 1.0, 1.0, 0.0]),
        np.arange(4),
        months=np.array([0, 12, 24, 36]),
        horizon_months=12,
        happens=0.0,
    )
    assert twice.event.tolist() == [-1.0, 0.0, 0.0, -1.0]


def test_windows_that_do_not_overlap_or_are_not_known_count_each() -> None:
    y = np.array([0.0, 0.0, 1.0, 0.0])
    alone = build_outcome(np.zeros(4, dtype=np.int64), y, np.arange(4), happens=0.0)
    yearly = build_outcome(
        np.zeros(4, dtype=np.int64),
        y,
        np.arange(4),
        months=12 * np.arange(4),
        horizon_months=12,
        happens=0.0,
    )
    assert alone.event.tolist() == yearly.event.tolist() == [-1.0, -1.0, 0.0, -1.0]


def test_events_are_whole_accounts() -> None:
    # 1/k summed k times is .9999999999999999 for k = 6, 7, 10, ...: those never left
    account = np.repeat(np.arange(40), 7)
    y = np.ones(280)
    y[:6] = 0.0
    outcome = build_outcome(account, y, np.tile(np.arange(7), 40), happens=0.0)
    assert outcome.events == 1


def test_accounts_of_one_parent_are_one_unit() -> None:
    account = np.array([0, 0, 0, 0, 1, 2])
    y = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    outcome = build_outcome(account, y, np.zeros(6, dtype=np.int64), happens=0.0)
    assert outcome.n_units == outcome.n_accounts == 3
    assert outcome.event.tolist() == [-0.5, -1.0, 0.0]
    assert outcome.base_rate == 0.5


def test_one_base_rate_everywhere(ageing: Dataset) -> None:
    share = float(ageing.labels["retained"].astype(float).mean())
    profile = build_profile(ageing, {}, n_permutations=200)
    assert profile.facts["base_rates"]["retained"] == pytest.approx(share, abs=1e-12)
    assert np.allclose(profile.traits["base_rate"], share, atol=1e-12)
    assert np.allclose(profile.traits["lift"], profile.traits["rate"] - share, atol=1e-12)
    assert f"{share:.1%} of {len(ageing)} rows" in ageing.summary()


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    snapshots=st.sampled_from([1, 4, 10]),
    hazard=st.sampled_from(["constant", "falling"]),
    signal=st.sampled_from(["null", "strong"]),
)
def test_no_line_contradicts_itself(seed: int, snapshots: int, hazard: Any, signal: str) -> None:
    base = make_ageing(150, seed=seed, snapshots=snapshots, hazard=hazard, signal=signal, churn=0.3)
    traits = build_profile(as_rows(base.frame), {}, seed=seed, n_permutations=200).traits
    assert (np.sign(traits["lift"]) * traits["direction"] >= 0).all()
    found = accepted(traits)
    assert (np.sign(found["lift"]) == found["direction"]).all()


def test_what_ages_is_found_with_its_sign_and_what_only_ages_is_not() -> None:
    base = make_ageing(700, seed=30_501, snapshots=16, hazard="falling", terms="mixed", signal="strong")
    found = accepted(build_profile(as_rows(base.frame), {}, n_permutations=1000).traits).set_index("feature")
    older = "at least" in found.loc["founded", "trait"]
    assert found.loc["founded", "direction"] == (-1 if older else 1)
    assert found.loc["flag_2", "direction"] == -1
    assert found.loc["category_1", "direction"] == 1
    assert "opened" not in found.index


def wide(n: int, columns: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    flags = rng.random((n, columns)) < 0.25
    renewed = rng.random(n) < np.where(flags[:, 7], 0.95, 0.6)
    frame = pd.DataFrame(flags, columns=[f"uses_{i:04d}" for i in range(columns)])
    return frame.assign(id=[f"a{i}" for i in range(n)], renewed=renewed)


def test_a_stack_of_hundreds_of_tools_does_not_silence_the_profile() -> None:
    dataset = Dataset.from_frame(wide(400, 700, 3), account_id="id", labels={"retained": "renewed"})
    traits = build_profile(dataset, {}).traits
    found = accepted(traits)
    assert found["feature"].iloc[0] == "uses_0007"
    assert len(found) <= 2
    assert 0.0 < found["p_value"].iloc[0] < 1e-6


def test_fitted_tails_have_the_size_they_say() -> None:
    rng = np.random.default_rng(5)
    # the statistics here grow with z squared
    sizes = []
    for level in (1e-4, 1e-5):
        cut = np.full(120, chi2.isf(level, 1))
        sizes.append(np.exp(np.log(tail_p(cut, rng.chisquare(1, (120, 20_000)))).mean()) / level)
    assert 0.7 < sizes[0] < 1.4
    assert 0.4 < sizes[1] < 2.5
    assert tail_p([0.1], rng.chisquare(1, (1, 2000)))[0] > 0.5
    # never above the share of draws, never nothing
    assert (tail_p(np.full(3, 1e6), rng.chisquare(1, (3, 2000))) > 0).all()


def test_a_named_trait_is_tested_against_its_risk_sets() -> None:
    rng = np.random.default_rng(2)
    n = 60
    held, y = (np.arange(n) < 20).astype(float), (rng.random(n) < 0.6).astype(float)
    one = build_outcome(np.arange(n), y, np.zeros(n, dtype=np.int64), happens=0.0)
    good = y > 0.5
    exact = fisher_exact(int(good[:20].sum()), 20, int(good[20:].sum()), 40)
    assert exact_p(one, held) == exact
    # what merely belongs to one day says nothing
    date = (np.arange(n) >= 30).astype(np.int64)
    seasonal = build_outcome(np.arange(n), date.astype(float), date, happens=0.0)
    assert exact_p(seasonal, date.astype(float), n_draws=99) == 1.0


def test_tenure_comes_from_the_first_contract_or_the_profile_says_so(ageing: Dataset) -> None:
    base = make_ageing(60, seed=4, snapshots=3).frame
    dataset = as_rows(base)
    days = (base["snapshot_date"] - base["customer_since"]).dt.days
    assert dataset.labels["tenure_days"].tolist() == days.tolist()
    assert "customer_since" not in dataset.schema.names
    unknown = as_rows(base, tenure=False)
    assert unknown.labels["tenure_days"].isna().all()
    told = build_profile(unknown, {}, n_permutations=200).facts["tenure"]
    assert told == "first row"
    assert build_profile(dataset, {}, n_permutations=200).facts["tenure"] == "first contract"
    with pytest.raises(ConfigError, match="snapshot_date beside customer_since"):
        Dataset.from_frame(
            base, account_id="account_id", labels={"retained": "retained"}, customer_since="customer_since"
        )


def test_tables_carry_tenure_from_the_first_contract() -> None:
    accounts = pd.DataFrame({"account_id": list("abcd"), "size": [1, 2, 3, 4]})
    subscriptions = pd.DataFrame(
        {
            "account_id": list("aabcd"),
            "start_date": ["2020-01-01", "2021-01-01", "2020-06-01", "2020-01-01", "2020-02-01"],
            "end_date": ["2020-07-01", None, "2021-09-01", None, "2021-08-01"],
            "arr": 1000.0,
        }
    )
    tables, _ = icp.read_tables({"accounts": accounts, "subscriptions": subscriptions})
    dataset = icp.build_dataset(
        tables, snapshot_dates="2021-06-30", horizon_months=6, observed_until="2022-06-30", end_dates="events"
    )
    tenure = dataset.labels.set_index("account_id")["tenure_days"]
    assert tenure.to_dict() == {"a": 546.0, "b": 394.0, "c": 546.0, "d": 515.0}
