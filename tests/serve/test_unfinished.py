"""Retention learnt from windows that aren't over: every known month counts, and what ships still adds up."""

from __future__ import annotations

import warnings
from datetime import date

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp
from icp_ml.config import parse_config
from icp_ml.serve.configured import train_configured
from icp_ml.serve.unfinished import fill_in
from icp_ml.simulation import make_tables

SNAPSHOTS = ["2023-06-30", "2024-03-31", "2025-03-31"]
FAST = {"profile": False, "n_jobs": 1, "seed": 3}


@pytest.fixture(scope="module")
def tables() -> icp.Tables:
    return icp.read_tables(make_tables(220, seed=5, dirty=0.0, n_nulls=2).tables)[0]


@pytest.fixture(scope="module")
def dataset(tables: icp.Tables) -> icp.Dataset:
    return icp.build_dataset(tables, snapshot_dates=SNAPSHOTS, horizon_months=12)


@pytest.fixture(scope="module")
def followed(tables: icp.Tables) -> icp.FollowUp:
    return icp.follow_up(tables, snapshot_dates=SNAPSHOTS, horizon_months=12)


@pytest.fixture(scope="module")
def model(dataset: icp.Dataset, followed: icp.FollowUp) -> icp.IcpModel:
    return icp.train(dataset, objective="hazard", follow_up=followed, **FAST)


def test_what_is_not_over_is_shared_out_among_its_endings(dataset, followed) -> None:
    extra = fill_in(dataset, followed, seed=0, n_jobs=1)
    assert extra.facts["left"] + extra.facts["open"] == len(followed) - len(dataset)
    assert extra.weights.sum() == pytest.approx(len(followed) - len(dataset))
    assert ((extra.weights >= 0) & (extra.weights <= 1)).all()
    assert 0.3 < extra.facts["retained"] < 1
    assert set(extra.features["as_of"]) == {pd.Timestamp("2025-03-31")}


def test_a_model_by_hazard_adds_up_and_knows_what_it_learnt_from(model, dataset) -> None:
    assert model.facts["objective"] == "hazard"
    assert model.facts["unfinished"]["open"] > 0
    assert model.facts["targets"]["retained"]["rows"] == len(dataset)
    propensity = model.propensities["retained"]
    parts = propensity.contributions(dataset.features)
    total = propensity.base_value_ + parts.sum(axis=1)
    np.testing.assert_allclose(total, propensity.decision_function(dataset.features), atol=1e-9)
    assert len(propensity.oof_log_odds_) == len(dataset)
    with warnings.catch_warnings():
        # levels of few accounts are told of, also where they were trained on
        warnings.simplefilter("ignore", icp.InputWarning)
        assert model.score(dataset.features.head(20))["p_retained"].between(0, 1).all()


def test_the_same_seed_gives_the_same_model(model, dataset, followed) -> None:
    again = icp.train(dataset, objective="hazard", follow_up=followed, **FAST)
    rows = dataset.features.head(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", icp.InputWarning)
        pd.testing.assert_frame_equal(model.score(rows), again.score(rows))


def test_objective_and_follow_up_go_together(dataset, followed) -> None:
    with pytest.raises(icp.ConfigError, match="objective"):
        icp.train(dataset, objective="survival", **FAST)
    with pytest.raises(icp.ConfigError, match="follow_up"):
        icp.train(dataset, objective="hazard", **FAST)
    with pytest.raises(icp.ConfigError, match="follow_up"):
        icp.train(dataset, follow_up=followed, **FAST)
    shorter = icp.FollowUp(
        followed.features, followed.schema, followed.groups, followed.months, followed.left, 6
    )
    with pytest.raises(icp.ConfigError, match="same horizon"):
        fill_in(dataset, shorter, seed=0, n_jobs=1)
    undated = dataset.take(np.arange(50))
    undated.labels["snapshot_date"] = pd.NaT
    with pytest.raises(icp.ConfigError, match="snapshot dates"):
        fill_in(undated, followed, seed=0, n_jobs=1)


def test_weights_shift_the_base_rate(dataset) -> None:
    rows, y = dataset.target("retained")
    weights = np.ones(len(dataset))
    weights[rows[y == 0]] = 3.0
    model = icp.train(dataset, sample_weight=weights, **FAST)
    lost = 3 * (1 - y).sum()
    assert model.propensities["retained"].base_rate_ == pytest.approx(y.sum() / (y.sum() + lost))
    assert model.facts["effective_rows"] < len(dataset)
    with pytest.raises(icp.ConfigError, match="one weight"):
        icp.train(dataset, sample_weight=weights[:-1], **FAST)


def test_the_file_says_how_to_train(tables) -> None:
    config = parse_config(
        {
            "data": {"snapshot_dates": ["2022-12-31", "2023-06-30", "2024-03-31", "2024-06-30"]},
            "model": {"objective": "hazard", "allow_leaks": ["cancel_code"], "seed": 3},
        }
    )
    dated = icp.build_dataset(tables, snapshot_dates=config.snapshot_dates, horizon_months=12)
    known, newest = icp.split_out_of_time(dated, test_from="2024-06-30")
    model = train_configured(
        tables, known, date(2024, 6, 30), config, snapshot_dates=config.snapshot_dates, n_jobs=1
    )
    assert model.facts["objective"] == "hazard"
    assert model.facts["unfinished"]["observed_until"] == "2024-06-30"
    assert len(newest)
    with pytest.raises(icp.ConfigError, match=r"model\.objective"):
        parse_config({"model": {"objective": "cox"}})
    with pytest.raises(icp.ConfigError, match="list of texts"):
        parse_config({"model": {"allow_leaks": "cancel_code"}})
