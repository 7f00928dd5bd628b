"""A bag of boosters that share their bins: each one's contributions are LightGBM's."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from icp_ml.errors import InputMismatchError
from icp_ml.model.fasttree.bags import BaggedTrees
from icp_ml.model.fasttree.parse import parse_model
from icp_ml.model.fasttree.public import FastTreeContributions

PARAMS = {"objective": "binary", "num_leaves": 12, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}


@pytest.fixture(scope="module")
def bag() -> tuple[np.ndarray, list[lightgbm.Booster]]:
    """Three boosters on other rows each, so that their thresholds differ; one column is used by none."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(900, 6)), np.ones(900)])
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) * np.nan_to_num(X[:, 1]) + rng.normal(size=900) > 0).astype(float)
    parts = [rng.random(900) < 0.7 for _ in range(3)]
    trained = [lightgbm.train(PARAMS, lightgbm.Dataset(X[at], y[at]), num_boost_round=25) for at in parts]
    return X, trained


def tables_of(boosters: list[lightgbm.Booster], backend: str = "auto") -> BaggedTrees:
    return BaggedTrees([parse_model(booster.model_to_string()) for booster in boosters], backend)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_each_booster_keeps_its_own_score_and_contributions(bag, backend):
    X, boosters = bag
    tables = tables_of(boosters, backend)
    expected = np.array([booster.predict(X, pred_contrib=True) for booster in boosters])
    np.testing.assert_allclose(tables.base, expected[:, 0, -1], atol=1e-12)
    np.testing.assert_allclose(tables.raw_bags(X), expected.sum(axis=2), atol=1e-12)
    parts = np.ones((7, 900))
    raw = tables.add_to(parts, X, 0.5)
    np.testing.assert_array_equal(raw, tables.raw_bags(X))
    np.testing.assert_allclose(parts, 1 + 0.5 * expected[:, :, :-1].sum(axis=0).T, atol=1e-12)


def test_a_score_is_that_of_the_booster_alone_whatever_the_batch(bag):
    X, boosters = bag
    tables = tables_of(boosters)
    whole = tables.raw_bags(X)
    for row in range(0, 900, 90):
        np.testing.assert_array_equal(tables.raw_bags(X[[row]]), whole[:, [row]])
    alone = [FastTreeContributions(booster).predict_raw(X) for booster in boosters]
    np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_leaves_wider_than_a_table_have_no_total_to_look_up(backend):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(3000, 16))
    params = {**PARAMS, "num_leaves": 20, "feature_fraction": 1.0, "min_data_in_leaf": 1}
    y = ((X > -1.2).all(axis=1)).astype(float)
    booster = lightgbm.train(params, lightgbm.Dataset(X, y), num_boost_round=3)
    tables = tables_of([booster, booster], backend)
    assert not tables._has_totals
    parts = np.zeros((16, 500))
    raw = tables.add_to(parts, X[:500], 1.0)
    np.testing.assert_array_equal(raw, tables.raw_bags(X[:500]))
    np.testing.assert_allclose(raw[0], booster.predict(X[:500], raw_score=True), atol=1e-12)
    np.testing.assert_allclose(parts.sum(axis=0) + tables.base.sum(), raw.sum(axis=0), atol=1e-12)


def test_scores_alone_need_no_tables_of_contributions(bag):
    X, boosters = bag
    tables = tables_of(boosters)
    tables.raw_bags(X)
    assert set(tables._made) == {False}
    tables.add_to(np.zeros((7, 900)), X, 1.0)
    assert set(tables._made) == {False, True}


def test_tables_are_held_against_lightgbm(bag):
    _, boosters = bag
    tables = tables_of(boosters)
    tables.check(boosters)
    with pytest.raises(InputMismatchError, match="contributions of LightGBM"):
        tables.check(boosters[::-1])


def test_totals_are_held_against_lightgbm_too(bag, monkeypatch):
    _, boosters = bag
    tables = tables_of(boosters)
    right = tables.raw_bags
    monkeypatch.setattr(tables, "raw_bags", lambda X: right(X) + 1e-6)
    with pytest.raises(InputMismatchError, match="contributions of LightGBM"):
        tables.check(boosters)


def test_boosters_without_a_split_are_their_base_value():
    X = np.ones((50, 2))
    booster = lightgbm.train(PARAMS, lightgbm.Dataset(X, np.arange(50) % 2), num_boost_round=3)
    tables = tables_of([booster, booster])
    np.testing.assert_allclose(tables.raw_bags(X), np.zeros((2, 50)) + booster.predict(X[:1], raw_score=True))
