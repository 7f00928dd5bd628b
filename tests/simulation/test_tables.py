"""The simulated CRM keeps the table contracts, and the data room reads exactly what was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from icp_ml.data.dataset import build_dataset
from icp_ml.data.tables import read_tables
from icp_ml.data.windows import quarter_ends
from icp_ml.errors import ConfigError
from icp_ml.simulation import make_tables
from icp_ml.simulation.planted import holds

UNTIL = pd.Timestamp("2025-09-30")


@pytest.fixture(scope="module")
def clean():
    return make_tables(1500, seed=3, dirty=0.0)


@pytest.fixture(scope="module")
def dataset(clean):
    tables, _ = read_tables(clean.tables)
    return build_dataset(tables, snapshot_dates=quarter_ends("2021-03-31", "2024-09-30"), horizon_months=12)


def test_same_seed_same_tables():
    one, two, other = make_tables(120, seed=4), make_tables(120, seed=4), make_tables(120, seed=5)
    for name, table in one.tables.items():
        assert_frame_equal(table, two.tables[name])
    assert not one.tables["subscriptions"].equals(other.tables["subscriptions"])


def test_clean_tables_are_accepted_whole(clean):
    tables, rejects = read_tables(clean.tables)
    assert len(rejects) == 0
    assert {name: len(frame) for name, frame in tables.present().items()} == {
        name: len(frame) for name, frame in clean.tables.items()
    }


def test_nothing_after_the_last_day_but_contract_ends(clean):
    for name, columns in {
        "accounts": ["valid_from"],
        "technologies": ["first_seen", "last_seen"],
        "subscriptions": ["start_date"],
        "deals": ["created_date", "closed_date"],
        "tickets": ["date"],
        "nps": ["date"],
        "usage": ["date"],
    }.items():
        for column in columns:
            assert clean.tables[name][column].max() <= UNTIL, (name, column)
    ends = clean.tables["subscriptions"]["end_date"]
    assert ends.max() > UNTIL
    # an end after the last day is the known end of a term, so a monthly contract has none
    later = clean.tables["subscriptions"][ends > UNTIL]
    assert later["renewal_date"].notna().all()


def test_the_shape_of_contracts(clean):
    rows = clean.tables["subscriptions"]
    months = ((rows["end_date"] - rows["start_date"]).dt.days / 30.44).round()
    core = rows["product"] == "Core"
    assert months[core].eq(12).mean() > 0.6
    assert months[core].eq(36).any()
    assert rows["end_date"].isna().any()
    assert rows["arr"].min() > 0
    assert (rows["product"] == "Add-on").any()
    terms = rows[core].sort_values(["account_id", "start_date"])
    following = terms.groupby("account_id")["start_date"].shift(-1)
    assert (following.dropna() == terms["end_date"][following.notna()]).all()
    ratio = (terms.groupby("account_id")["arr"].shift(-1) / terms["arr"]).dropna()
    assert (ratio >= 1.05).mean() > 0.15
    assert (ratio < 0.95).mean() > 0.03
    assert ratio.between(0.99, 1.04).mean() > 0.3


def test_accounts_have_history_groups_codes_and_unknown_fields(clean):
    accounts = clean.tables["accounts"]
    rows = accounts.groupby("account_id").size()
    assert len(rows) == 1800
    assert 0.1 < (rows > 1).mean() < 0.5
    assert not accounts.duplicated(["account_id", "valid_from"]).any()
    assert accounts.groupby("parent_id")["account_id"].nunique().eq(4).all()
    assert accounts["naics"].dropna().str.fullmatch(r"\d{6}").all()
    assert accounts["employees"].isna().mean() == pytest.approx(0.08, abs=0.03)
    first = accounts.groupby("account_id")["valid_from"].min()
    start = clean.tables["subscriptions"].groupby("account_id")["start_date"].min()
    assert (first[start.index] < start).all()
    software = accounts[accounts["industry"] == "Software"]["naics"].str[:2]
    assert software.isin(["51", "54"]).mean() > 0.7


def test_some_accounts_have_no_known_stack(clean):
    known = (
        clean.tables["technologies"]["account_id"].nunique()
        / clean.tables["accounts"]["account_id"].nunique()
    )
    assert 0.92 < known < 0.98
    assert clean.tables["technologies"]["technology"].nunique() >= 40
    assert 0.01 < clean.tables["technologies"]["last_seen"].notna().mean() < 0.1


def test_deals_won_by_customers_and_lost_with_a_reason(clean):
    deals = clean.tables["deals"]
    customers = set(clean.tables["subscriptions"]["account_id"])
    assert set(deals[deals["won"]]["account_id"]) == customers
    assert deals["reason_lost"].notna().equals(~deals["won"])
    assert len(set(deals["account_id"]) - customers) == 300
    assert (deals["created_date"] <= deals["closed_date"]).all()


def test_aftersale_stays_within_the_customer_life_and_knows_who_leaves(clean):
    rows = clean.tables["subscriptions"]
    begin = rows.groupby("account_id")["start_date"].min()
    end = rows.assign(end_date=rows["end_date"].fillna(UNTIL)).groupby("account_id")["end_date"].max()
    for name in ("tickets", "nps", "usage"):
        table = clean.tables[name]
        assert (table["date"] >= begin[table["account_id"]].to_numpy()).all()
        assert (table["date"] <= end[table["account_id"]].to_numpy()).all()
    score = clean.tables["nps"].groupby("account_id")["score"].mean()
    gone = end[score.index] <= UNTIL
    assert score[gone].mean() < score[~gone].mean() - 0.4


def test_labels_have_the_churn_asked_for(dataset):
    labels = dataset.labels
    assert labels["retained"].astype("Float64").mean() == pytest.approx(0.85, abs=0.035)
    assert labels["churned_first_year"].astype("Float64").mean() == pytest.approx(0.171, abs=0.035)
    assert 0.18 < labels["expanded"].astype("Float64").mean() < 0.32


def test_planted_traits_show_in_what_the_data_room_builds(clean, dataset):
    assert {trait["feature"] for trait in clean.truth.traits} <= set(dataset.schema.names)
    for trait in clean.truth.traits:
        rows, y = dataset.target(trait["target"])
        held = holds(dataset.features.iloc[rows], trait)
        gap = y[held == 1.0].mean() - y[held == 0.0].mean()
        assert np.sign(gap) == trait["direction"], trait
        assert abs(gap) > 0.025, trait


def test_a_null_vendor_has_no_trait():
    base = make_tables(3000, seed=6, dirty=0.0, signal="null", prospects=0.0)
    tables, _ = read_tables(base.tables)
    dataset = build_dataset(tables, snapshot_dates=["2023-12-31"], horizon_months=12)
    for trait in make_tables(60).truth.of("retained"):
        rows, y = dataset.target("retained")
        held = holds(dataset.features.iloc[rows], trait)
        groups = y[held == 1.0], y[held == 0.0]
        error = np.sqrt(sum(part.var() / len(part) for part in groups))
        assert abs(groups[0].mean() - groups[1].mean()) < 4 * error


def test_tables_say_what_is_planted_for_an_outcome_that_contains_another(clean):
    assert clean.truth.kind_of("retained", "has_data_team", True) == "echo"
    assert clean.truth.kind_of("retained", "naics_2") == "proxy"
    assert clean.truth.kind_of("churned_first_year", "has_data_team", True) == "planted"


@pytest.mark.parametrize("fmt", ["frames", "csv", "csv.gz", "parquet"])
def test_every_planted_bad_row_is_refused_and_no_other(tmp_path, fmt):
    base = make_tables(400, seed=2, dirty=0.02)
    spotless = make_tables(400, seed=2, dirty=0.0)
    source = base.tables if fmt == "frames" else base.write(tmp_path / fmt, fmt)
    tables, rejects = read_tables(source)
    found = rejects.frame[["table", "rule", "row"]].astype({"table": object, "rule": object})
    keys = ["table", "row"]
    wanted = base.dirt.sort_values(keys, ignore_index=True).astype({"table": object, "rule": object})
    assert_frame_equal(found.sort_values(keys, ignore_index=True), wanted, check_dtype=False)
    assert len(tables.subscriptions) == len(spotless.tables["subscriptions"])
    assert tables.subscriptions["arr"].sum() == pytest.approx(spotless.tables["subscriptions"]["arr"].sum())


def test_dirt_has_text_amounts_and_names_in_any_case():
    base = make_tables(400, seed=2, dirty=0.02)
    assert any(isinstance(v, str) and v.startswith("$") for v in base.tables["subscriptions"]["arr"])
    names = set(base.tables["technologies"]["technology"].dropna())
    assert {"Salesforce", "SALESFORCE", "salesforce", " Salesforce "} & names == {
        "Salesforce",
        "SALESFORCE",
        "salesforce",
        " Salesforce ",
    }


def test_an_unknown_format_is_refused(clean, tmp_path):
    with pytest.raises(ConfigError, match="xlsx"):
        clean.write(tmp_path, "xlsx")


@pytest.mark.parametrize("settings", [{"n_accounts": 10}, {"until": "2020-06-30"}, {"churn": 0.9}])
def test_a_wrong_setting_is_named(settings):
    with pytest.raises(ConfigError, match="expected"):
        make_tables(**settings)
