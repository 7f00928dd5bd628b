from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from icp_ml.model.linear import LinearModel
from icp_ml.model.ridge import fit_linear_path


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = np.column_stack([np.exp(3 * rng.normal(size=800)), rng.random(800) < 0.2, rng.normal(size=800)])
    y = (rng.random(800) < 1 / (1 + np.exp(-(np.log(X[:, 0]) / 3 - X[:, 1])))).astype(float)
    X[rng.random(800) < 0.2, 0] = np.nan
    return X, y


SCORED = np.array([True, False, True])


def test_flags_alone_equal_ridge_regression_of_scikit_learn():
    rng = np.random.default_rng(1)
    X = (rng.random((500, 4)) < 0.3).astype(float)
    y = (rng.random(500) < 1 / (1 + np.exp(-(X[:, 0] - X[:, 1])))).astype(float)
    ours = fit_linear_path(X, y, np.zeros(4, dtype=bool), (64.0, 4.0))[-1]
    rival = LogisticRegression(C=1 / 4.0, tol=1e-10, max_iter=1000).fit(X - X.mean(axis=0), y)
    np.testing.assert_allclose(ours.coefficients, rival.coef_[0], atol=1e-3)
    assert ours.intercept == pytest.approx(rival.intercept_[0], abs=1e-3)


def test_heavy_tails_stay_bounded_and_gaps_are_average():
    X, y = data()
    model = fit_linear_path(X, y, SCORED, (4.0,))[0]
    largest = np.array([[1e30, 0.0, 0.0]])
    usual = np.array([[np.nanmax(X[:, 0]), 0.0, 0.0]])
    assert model.raw(largest)[0] == pytest.approx(model.raw(usual)[0])
    assert model.flagged == (0,)
    gap = model.contributions(np.array([[np.nan, 0.0, 0.0]]))[0, 0]
    assert gap == pytest.approx(model.flag_coefficients[0] * (1 - model.flag_centre[0]))


def test_contributions_add_up_and_state_keeps_every_bit():
    X, y = data()
    model = fit_linear_path(X, y, SCORED, (16.0, 4.0))[-1]
    np.testing.assert_allclose(model.intercept + model.contributions(X).sum(axis=1), model.raw(X), atol=1e-12)
    again = LinearModel.from_state(json.loads(json.dumps(model.to_state(), allow_nan=False)))
    np.testing.assert_array_equal(again.raw(X), model.raw(X))


def test_stronger_penalties_give_smaller_coefficients():
    X, y = data()
    norms = [np.abs(model.coefficients).sum() for model in fit_linear_path(X, y, SCORED, (256.0, 16.0, 2.0))]
    assert norms[0] < norms[1] < norms[2]


def test_separable_outcomes_converge():
    X = np.column_stack([np.arange(40.0)])
    model = fit_linear_path(X, (X[:, 0] > 19).astype(float), np.array([True]), (256.0, 2.0))[-1]
    assert np.isfinite(model.raw(X)).all()
