from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pytest

from icp_ml.model import contributions
from icp_ml.model.contributions import compile_steps
from icp_ml.model.estimator import booster_from_text, booster_to_text, fit_booster, predict_path
from icp_ml.model.fasttree.parse import CATEGORICAL, MISSING_ZERO, Forest, parse_model
from tests.model.bases import look_up

PARAMS = {
    "num_leaves": 2,
    "learning_rate": 0.1,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
}


def predict_raw(booster: Any, X: np.ndarray) -> np.ndarray:
    return np.asarray(booster.predict(X, raw_score=True, num_threads=1))


def predict_contributions(booster: Any, X: np.ndarray) -> np.ndarray:
    return np.asarray(booster.predict(X, pred_contrib=True, num_threads=1))[:, :-1]


def forest_of(booster: Any) -> Forest:
    return parse_model(booster_to_text(booster))


def data(seed: int, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Numbers with gaps, with zeros, with neither, a flag with gaps, a constant."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    X[rng.random(n) < 0.2, 0] = np.nan
    X[rng.random(n) < 0.5, 1] = 0.0
    X[:, 3] = np.where(rng.random(n) < 0.2, np.nan, rng.random(n) < 0.3)
    X[:, 4] = 7.0
    logit = np.nan_to_num(X[:, 0]) + (X[:, 1] == 0) - (X[:, 2] > 0.5) + np.isnan(X[:, 3])
    return X, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)


@pytest.mark.parametrize("extra_trees", [False, True])
def test_step_tables_equal_pred_contrib(extra_trees):
    X, y = data(0)
    boosters = [fit_booster(X, y, {**PARAMS, "extra_trees": extra_trees}, seed, 80) for seed in range(3)]
    tables = compile_steps([forest_of(booster) for booster in boosters], X.shape[1])
    # Unknown where training knew everything, and values beyond all thresholds, too.
    new = np.vstack([data(1)[0], np.full((1, 5), np.nan), np.zeros((1, 5)), np.full((1, 5), 1e9)])
    oracle = np.mean([predict_contributions(booster, new) for booster in boosters], axis=0)
    parts = look_up(tables, new)[2]
    np.testing.assert_allclose(parts, oracle, atol=1e-12)
    np.testing.assert_allclose(look_up(tables, new, -0.3)[2], -0.3 * oracle, atol=1e-12)
    base = [booster.predict(X[:1], pred_contrib=True)[0, -1] for booster in boosters]
    np.testing.assert_allclose(tables.base, base, atol=1e-12)
    np.testing.assert_allclose(tables.raw_bags(new), [predict_raw(b, new) for b in boosters], atol=1e-12)
    np.testing.assert_allclose(tables.raw(new), tables.raw_bags(new).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(tables.base.mean() + parts.sum(axis=1), tables.raw(new), atol=1e-12)


def test_values_on_a_threshold_fall_as_in_lightgbm():
    X, y = data(2)
    booster = fit_booster(X, y, PARAMS, 0, 40)
    tables = compile_steps([forest_of(booster)], X.shape[1])
    for table in tables.tables:
        # LightGBM takes everything within 1e-35 of zero for zero, and has thresholds there.
        thresholds = table.thresholds[np.abs(table.thresholds) > 1e-30]
        rows = np.zeros((3 * len(thresholds), X.shape[1]))
        rows[:, table.column] = np.concatenate(
            [
                thresholds,
                np.nextafter(thresholds, np.inf),
                np.nextafter(thresholds, -np.inf),
            ]
        )
        np.testing.assert_allclose(look_up(tables, rows)[2], predict_contributions(booster, rows), atol=1e-12)


def test_trees_without_a_split_are_a_base_value():
    X, y = np.ones((50, 2)), np.arange(50) % 2.0
    booster = fit_booster(X, y, PARAMS, 0, 5)
    tables = compile_steps([forest_of(booster)], 2)
    np.testing.assert_allclose(tables.raw(X), predict_raw(booster, X), atol=1e-12)
    assert tables.tables == ()


def test_deeper_trees_are_refused():
    X, y = data(0)
    booster = fit_booster(X, y, {"num_leaves": 4}, 0, 3)
    with pytest.raises(ValueError, match="one split"):
        compile_steps([forest_of(booster)], X.shape[1])


@pytest.mark.parametrize("decision", [CATEGORICAL, MISSING_ZERO << 2])
def test_categories_and_zeros_as_missing_are_refused(decision):
    X, y = data(0)
    (tree, *_) = forest_of(fit_booster(X, y, PARAMS, 0, 1)).trees
    odd = replace(tree, decision=np.array([decision]))
    with pytest.raises(ValueError, match="zero is a value"):
        compile_steps([Forest((odd,), (), ())], 5)


def test_a_fitted_booster_is_the_saved_booster():
    X, y = data(3)
    booster = fit_booster(X, y, {"num_leaves": 7}, 0, 50)
    again = booster_from_text(booster_to_text(booster))
    np.testing.assert_array_equal(predict_raw(booster, X), predict_raw(again, X))


@pytest.mark.parametrize(("num_leaves", "way"), [(2, "col"), (7, "row")])
def test_column_by_column_or_row_by_row_the_trees_are_the_same(num_leaves, way):
    X, y = data(3)
    booster = fit_booster(X, y, {**PARAMS, "num_leaves": num_leaves}, 0, 50)
    assert f"[force_{way}_wise: 1]" in booster_to_text(booster)
    for other in ("col", "row"):
        params = {**booster.params, "force_col_wise": other == "col", "force_row_wise": other == "row"}
        again = lightgbm.train(params, lightgbm.Dataset(X, label=y, params=params), 50)
        np.testing.assert_array_equal(predict_raw(booster, X), predict_raw(again, X))


def test_path_ends_where_the_whole_model_does():
    X, y = data(3)
    booster = fit_booster(X, y, {"num_leaves": 7}, 0, 50)
    path = predict_path(booster, X, (10, 50))
    np.testing.assert_allclose(path[1], predict_raw(booster, X), atol=1e-12)
    np.testing.assert_allclose(path[0], booster.predict(X, raw_score=True, num_iteration=10), atol=1e-12)


def test_same_seed_same_text():
    X, y = data(4)
    params = {**PARAMS, "extra_trees": True}
    first, second, third = (booster_to_text(fit_booster(X, y, params, seed, 30)) for seed in (5, 5, 6))
    assert first == second
    assert first != third


def test_kernel_and_numpy_give_the_same_bits_alone_and_in_the_crowd(monkeypatch):
    X, y = data(3)
    X = np.vstack([X, np.full((1, 5), np.nan)])
    boosters = [fit_booster(X[:-1], y, PARAMS, seed, 60) for seed in range(3)]
    tables = compile_steps([forest_of(booster) for booster in boosters], X.shape[1])
    plain = (*look_up(tables, X, 0.7), tables.raw(X), tables.raw_bags(X))
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    for order in ("C", "F"):
        asked = np.asarray(X, order=order)
        found = (*look_up(tables, asked, 0.7), tables.raw(asked), tables.raw_bags(asked))
        for one, other in zip(found, plain, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(plain[0], plain[3])
    np.testing.assert_array_equal(plain[1], plain[4])
    for row in range(0, len(X), 50):
        np.testing.assert_array_equal(tables.raw_bags(X[[row]]), plain[1][:, [row]])


def test_the_kernel_looks_flags_up_without_a_search(monkeypatch):
    rng = np.random.default_rng(6)
    X = (rng.random((500, 3)) < 0.4).astype(float)
    y = (rng.random(500) < 0.3 + 0.4 * X[:, 0]).astype(float)
    X[rng.random(500) < 0.2, 0] = np.nan
    # Bagging off: one threshold per column.
    tables = compile_steps([forest_of(fit_booster(X, y, {"num_leaves": 2}, 0, 30))], 3)
    assert [len(table.thresholds) for table in tables.tables] == [1] * len(tables.tables)
    assert tables.tables
    plain = look_up(tables, X)
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    for one, other in zip(look_up(tables, X), plain, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_numba_the_numpy_path_is_taken(monkeypatch):
    X, y = data(4)
    tables = compile_steps([forest_of(fit_booster(X, y, PARAMS, 0, 20))], X.shape[1])
    wanted = tables.raw(X)
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    monkeypatch.setattr(contributions, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "icp_ml.model.stepkernel", None)
    np.testing.assert_array_equal(tables.raw(X), wanted)


def test_sums_by_source_are_the_same_bits_for_one_row_and_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, source_of = np.random.default_rng(0).normal(size=(50, 7)), np.array([2, 0, 0, 1, 2, 2, 2])
    one_by_one = [contributions.sums_by_source(parts[[row]], source_of, 4)[0] for row in range(50)]
    np.testing.assert_allclose(one_by_one[7][2], parts[7, [0, 4, 5, 6]].sum())
    assert one_by_one[7][3] == 0.0
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    np.testing.assert_array_equal(contributions.sums_by_source(parts, source_of, 4), one_by_one)
