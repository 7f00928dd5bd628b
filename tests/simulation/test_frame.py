"""The judge itself is judged: base rates, calibration, determinism, and what the truth says about columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sklearn.metrics import log_loss, roc_auc_score

from icp_ml.errors import ConfigError
from icp_ml.simulation import NO_TRAPS, VERSION, make_frame, make_prospects

TARGETS = ("retained", "expanded", "churned_first_year")
MANY = 40_000


@pytest.fixture(scope="module")
def base():
    return make_frame(MANY, seed=11)


@pytest.fixture(scope="module")
def population(base):
    return base.truth.population(MANY, seed=12)


def auc(labels, scores):
    return float(roc_auc_score(labels, scores))


def test_same_seed_same_bytes_other_seed_other_companies():
    first, again, other = make_frame(300, seed=5), make_frame(300, seed=5), make_frame(300, seed=6)
    assert_frame_equal(first.frame, again.frame)
    assert first.truth.to_dict() == again.truth.to_dict()
    assert not first.frame["employees"].equals(other.frame["employees"])
    # the world does not depend on the sample
    assert first.truth.to_dict() == other.truth.to_dict()


def test_the_shape_of_the_frame(base):
    frame = base.frame
    assert len(frame) == MANY
    assert frame["account_id"].is_unique
    assert list(frame.columns) == list(base.complete.columns)
    assert all(frame[target].dtype == bool for target in TARGETS)
    assert not (frame["expanded"] & ~frame["retained"]).any()
    assert len(base.features) + 4 == frame.shape[1]
    assert {type(cell) for cell in frame["technologies"]} == {list, type(None)}
    levels = frame[base.features].select_dtypes(exclude="number").drop(columns="technologies").nunique()
    assert levels.max() >= 45
    assert frame["listed_in_directory"].mean() == pytest.approx(0.02, abs=0.005)
    assert frame["social_followers"].max() > 1000 * frame["social_followers"].median()


def test_vendors_of_one_stack_exclude_each_other(base):
    crm = {"Salesforce", "HubSpot", "Zoho CRM", "Pipedrive", "Dynamics 365"}
    stacks = base.complete["technologies"]
    assert max(len(crm & set(tools)) for tools in stacks) == 1
    assert 0.3 < np.mean(["Salesforce" in tools for tools in stacks]) < 0.5


@pytest.mark.parametrize("n_tools", [40, 61, 100])
def test_as_many_tools_as_asked_for(n_tools):
    world = make_frame(50, n_tools=n_tools).truth.world
    assert len(set(world.tools())) == n_tools
    assert len(world.stacks()) == 6


@pytest.mark.parametrize("churn", [0.05, 0.15, 0.30])
@pytest.mark.parametrize("signal", ["null", "medium", "strong"])
def test_the_base_rate_is_the_one_asked_for(churn, signal):
    base = make_frame(20_000, seed=3, churn=churn, signal=signal)
    assert base.frame["retained"].mean() == pytest.approx(1 - churn, abs=0.012)
    assert base.frame["churned_first_year"].mean() == pytest.approx(churn, abs=0.012)
    assert base.frame["expanded"].mean() == pytest.approx(0.3 * (1 - churn), abs=0.015)


@pytest.mark.parametrize("target", TARGETS)
def test_probability_is_calibrated_against_the_labels(base, target):
    chance = base.truth.probability(base.complete, target)
    labels = base.complete[target].to_numpy()
    for part in np.array_split(np.argsort(chance, kind="stable"), 8):
        error = np.sqrt(0.25 / len(part))
        assert labels[part].mean() == pytest.approx(chance[part].mean(), abs=4 * error)


@pytest.mark.parametrize("target", TARGETS)
def test_probability_stays_calibrated_where_planted_fields_are_unknown(base, target):
    chance = base.truth.probability(base.frame, target)
    unknown = base.frame["funding_stage"].isna().to_numpy()
    assert 0.1 < unknown.mean() < 0.2
    assert base.frame[target][unknown].mean() == pytest.approx(chance[unknown].mean(), abs=0.02)
    # less is known, so less is told apart, and never more
    exact = base.truth.probability(base.complete, target)
    assert auc(base.frame[target], chance) < auc(base.frame[target], exact)


def test_expansion_given_retention_is_the_unconditional_one_divided_by_retention(base):
    truth, frame = base.truth, base.complete.head(200)
    given = truth.probability(frame, "expanded", given_retained=True)
    np.testing.assert_allclose(truth.probability(frame, "expanded"), given * truth.probability(frame))


def test_a_medium_signal_is_as_hard_as_the_evidence_says(base, population):
    chance = base.truth.probability(population)
    kept = population["retained"]
    assert auc(kept, chance) == pytest.approx(0.765, abs=0.012)
    assert log_loss(kept, chance) == pytest.approx(0.362, abs=0.008)


def test_holders_of_a_trait_have_it_better_by_the_stated_lift(base, population):
    truth = base.truth
    assert {trait["target"] for trait in truth.traits} == set(TARGETS)
    for trait in truth.traits:
        held = truth.mask(trait, population)
        assert 0.08 < held.mean() < 0.6
        lift = truth.lift(trait, population, trait["target"])
        assert np.sign(lift) == trait["direction"]
        assert abs(lift) > 0.03
        labels = population[trait["target"]].to_numpy()
        assert labels[held].mean() - labels.mean() == pytest.approx(lift, abs=0.02)


def test_odds_ratios_are_the_stated_ones(population, base):
    truth = base.truth
    trait = truth.of("retained")[0]
    inside = population.assign(employees=100.0)
    outside = population.assign(employees=10.0)
    odds = [p / (1 - p) for p in (truth.probability(inside), truth.probability(outside))]
    np.testing.assert_allclose(odds[0] / odds[1], trait["odds_ratio"], rtol=1e-4)


def test_band_is_closed_below_and_open_above(base):
    frame = pd.DataFrame({"employees": [49.0, 50.0, 499.0, 500.0, np.nan]})
    band = base.truth.of("retained")[0]
    assert base.truth.mask(band, frame).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"feature": "x", "operator": "is missing", "value": None}, [False, False, True]),
        ({"feature": "stack", "operator": "has", "value": "snowflake"}, [True, False, False]),
        ({"feature": "stack", "operator": "lacks", "value": "Snowflake"}, [False, True, False]),
        ({"feature": "flag", "operator": "has", "value": True}, [True, False, False]),
        ({"feature": "flag", "operator": "has", "value": False}, [False, True, False]),
        ({"feature": "flag", "operator": "lacks", "value": True}, [False, True, False]),
        ({"feature": "x", "operator": "in", "value": ["a", "c"]}, [True, False, False]),
    ],
)
def test_reported_claims_can_be_evaluated_too(base, claim, expected):
    frame = pd.DataFrame(
        {
            "x": ["a", "b", None],
            "stack": [["Snowflake", "dbt"], [], None],
            "flag": pd.array([True, False, pd.NA], dtype="boolean"),
        }
    )
    assert base.truth.mask(claim, frame).tolist() == expected


def test_an_unknown_operator_is_refused(base):
    with pytest.raises(ConfigError, match="found 'near'"):
        base.truth.mask({"feature": "employees", "operator": "near", "value": 3}, base.frame)


def test_nothing_is_associated_in_a_null_world():
    base = make_frame(MANY, seed=4, signal="null")
    truth = base.truth
    assert truth.traits == []
    assert truth.segments == []
    assert truth.proxies == {}
    assert np.ptp(truth.probability(base.complete)) == pytest.approx(0, abs=1e-12)
    labels = base.frame["retained"].to_numpy()
    for trait in make_frame(50).truth.traits:
        held = truth.mask(trait, base.complete)
        assert truth.lift(held, base.complete, trait["target"]) == pytest.approx(0, abs=1e-12)
        assert labels[held].mean() == pytest.approx(labels.mean(), abs=4 * 0.36 / np.sqrt(held.sum()))
    assert truth.kind_of("retained", "employees") == "null"


def test_columns_called_null_are_independent_of_the_outcome(base):
    # Bonferroni over the columns, on chances instead of labels: far sharper than any method's view
    chance = base.truth.probability(base.complete)
    frame = base.complete
    for name in base.truth.nulls:
        if name.startswith("technologies:"):
            held = [name.split(":", 1)[1] in tools for tools in frame["technologies"]]
            column = pd.Series(held)
        else:
            column = frame[name]
        groups = column if column.nunique() <= 60 else pd.qcut(column, 10, duplicates="drop")
        table = pd.Series(chance).groupby(groups.to_numpy(), observed=True).agg(["mean", "size"])
        z = (table["mean"] - chance.mean()) * np.sqrt(table["size"]) / chance.std()
        assert z.abs().max() < 5.0, name


def test_columns_called_proxies_are_associated_with_the_outcome(base):
    chance = base.truth.probability(base.complete)
    for name in ("revenue_musd", "sites", "it_spend_kusd", "hiring_rate", "business_model", "region"):
        column = base.complete[name]
        groups = column if column.nunique() <= 60 else pd.qcut(column, 10, duplicates="drop")
        means = pd.Series(chance).groupby(groups.to_numpy(), observed=True).mean()
        assert means.max() - means.min() > 0.02, name
        assert base.truth.kind_of("retained", name) in ("proxy", "confounded")


@pytest.mark.parametrize(
    ("target", "feature", "value", "kind"),
    [
        ("retained", "employees", [50, 500], "planted"),
        ("retained", "technologies", "Salesforce", "planted"),
        ("retained", "technologies", "HubSpot", "proxy"),
        ("retained", "technologies", "Snowflake", "null"),
        ("retained", "has_data_team", True, "null"),
        ("retained", "region", None, "confounded"),
        ("retained", "hq_state", None, "null"),
        ("expanded", "technologies", "Snowflake", "planted"),
        ("expanded", "technologies", "AWS", "proxy"),
        ("expanded", "revenue_growth", None, "echo"),
        ("expanded", "has_data_team", True, "planted"),
        ("churned_first_year", "has_data_team", True, "planted"),
        ("churned_first_year", "technologies", "Legacy ERP", "planted"),
        ("retained", "health_score", None, "leak"),
    ],
)
def test_what_a_reported_column_is(base, target, feature, value, kind):
    assert base.truth.kind_of(target, feature, value) == kind


def test_snapshots_repeat_accounts_with_related_labels_and_small_changes():
    base = make_frame(3000, seed=8, snapshots=6)
    frame = base.complete
    assert len(frame) == 18_000
    assert frame.groupby("account_id")["snapshot_date"].nunique().eq(6).all()
    assert frame["snapshot_date"].max() == pd.Timestamp("2025-06-30")
    assert frame["retained"].mean() == pytest.approx(0.85, abs=0.012)
    wide = frame.pivot_table(index="account_id", columns="snapshot_date", values="retained", aggfunc="first")
    gap = wide.astype(float) - base.truth.probability(frame).reshape(-1, 6)
    assert 0.15 < np.corrcoef(gap.to_numpy().T)[np.triu_indices(6, 1)].mean() < 0.5
    assert frame.groupby("account_id")["region"].nunique().max() == 1
    change = frame.groupby("account_id")["employees"].agg(lambda v: v.iloc[-1] / v.iloc[0])
    assert 0.03 < np.log(change).std() < 0.2
    assert frame.groupby("account_id")["churned_first_year"].nunique().max() == 1
    unknown = base.frame["employees"].isna().groupby(base.frame["account_id"]).mean()
    assert set(unknown) == {0.0, 1.0}


def test_an_interaction_only_world_has_lift_inside_the_conjunction_and_nowhere_else():
    base = make_frame(200, interaction_only=True)
    truth = base.truth
    population = truth.population(MANY, seed=2)
    (segment,) = truth.segments
    assert truth.traits == []
    inside = truth.mask(segment, population)
    assert 0.15 < inside.mean() < 0.3
    assert truth.lift(segment, population) > 0.08
    one = truth.mask(segment["conditions"][0], population) & ~inside
    other = truth.mask(segment["conditions"][1], population) & ~inside
    neither = ~one & ~other & ~inside
    assert truth.rate(one, population) == pytest.approx(truth.rate(neither, population), abs=1e-9)
    assert truth.rate(other, population) == pytest.approx(truth.rate(neither, population), abs=1e-9)
    assert truth.kind_of("retained", "employees") == "component"
    assert truth.kind_of("retained", "revenue_growth") == "null"
    assert truth.kind_of("retained", "revenue_musd") == "proxy"


def test_an_added_interaction_is_harmful_on_top_of_the_traits():
    plain, added = make_frame(50), make_frame(50, interaction=True)
    (segment,) = added.truth.segments
    population = added.truth.population(MANY, seed=2)
    assert added.truth.lift(segment, population) < -0.05
    assert added.truth.of("retained") == plain.truth.of("retained")
    assert added.truth.kind_of("retained", "technologies", "AWS") == "component"
    assert plain.truth.kind_of("retained", "technologies", "AWS") == "null"


def test_prospects_come_from_elsewhere_and_without_shift_from_here(base):
    here = make_prospects(base.truth, 4000, seed=1, shift=0.0)
    away = make_prospects(base.truth, 4000, seed=1)
    assert "retained" not in away
    assert np.log(here["employees"]).mean() == pytest.approx(np.log(base.frame["employees"]).mean(), abs=0.1)
    assert np.log(away["employees"]).mean() < np.log(base.frame["employees"]).mean() - 2.5
    customers = set(base.frame["region"].dropna())
    assert set(here["region"].dropna()) <= customers
    assert (~away["region"].dropna().isin(customers)).mean() > 0.7
    stacks = [frame["technologies"].dropna().map(len).mean() for frame in (here, away)]
    assert stacks[1] < stacks[0] - 1.5
    assert not set(away["account_id"]) & set(base.frame["account_id"])
    assert np.isfinite(base.truth.probability(away)).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"churn": 0.9},
        {"n_tools": 10},
        {"signal": "huge"},
        {"traps": {"label_nose": 0.1}},
        {"n_accounts": 0},
        {"traps": {"missing": 1.5}},
        {"snapshots": 0},
        {"signal": 0.5},
    ],
)
def test_a_wrong_setting_is_named(settings):
    with pytest.raises(ConfigError, match="expected"):
        make_frame(**settings)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 60),
    signal=st.sampled_from(["null", "weak", "strong"]),
    missing=st.floats(0, 0.6),
    snapshots=st.integers(1, 3),
)
def test_any_small_base_is_well_formed(seed, n, signal, missing, snapshots):
    base = make_frame(
        n, seed=seed, signal=signal, snapshots=snapshots, traps={"missing": missing}, n_tools=40
    )
    assert len(base.frame) == n * snapshots
    for frame in (base.frame, base.complete):
        for target in TARGETS:
            chance = base.truth.probability(frame, target)
            assert ((chance > 0) & (chance < 1)).all()
    assert not base.complete[base.features].isna().any().any()


def test_clean_world_without_traps_has_nothing_missing():
    base = make_frame(500, traps=NO_TRAPS)
    assert_frame_equal(
        base.frame.drop(columns="technologies").astype(object),
        base.complete.drop(columns="technologies").astype(object),
    )
    assert base.truth.version == VERSION


def test_the_judge_is_frozen_or_says_so():
    # whoever changes what the simulator gives has to raise VERSION, since older results no longer compare
    base = make_frame(2000, seed=1)
    many = make_frame(500, seed=1, snapshots=4, traps={"label_noise": 0.05, "drift": True, "parents": 0.2})
    assert VERSION == "1"
    assert [int(base.frame[target].sum()) for target in TARGETS] == [1703, 513, 323]
    assert [int(many.frame[target].sum()) for target in TARGETS] == [1702, 541, 352]
    assert base.complete["employees"].sum() == pytest.approx(798_916, rel=1e-5)
    assert base.complete["technologies"].map(len).sum() == 20_376
    assert base.frame.isna().sum().sum() == 11_510
