"""A logistic regression between a floor and a ceiling: found where they are, exact, and worth its weight."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit

from icp_ml import PropensityClassifier
from icp_ml.model import contributions
from icp_ml.model.bounded import Bounds
from icp_ml.model.boundedfit import BOUNDED_PENALTIES, _posterior, fit_bounded_path
from icp_ml.model.members import BoundedMember, member_from_state
from icp_ml.model.ridge import Design, fit_linear_path
from tests.model.bases import look_up

SCORED = np.array([True, False, True])


def accounts(
    n: int, seed: int, floor: float = 0.0, gap: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an encoded matrix, outcomes and true chances."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), rng.random(n) < 0.3, rng.normal(size=n)])
    chance = floor + (1.0 - floor - gap) * expit(4.0 * X[:, 0] - 2.0 * X[:, 1])
    y = (rng.random(n) < chance).astype(float)
    X[rng.random(n) < 0.1, 2] = np.nan
    return X, y, chance


def member(seed: int = 0) -> tuple[BoundedMember, np.ndarray]:
    X, y, _ = accounts(3000, seed, 0.1, 0.2)
    return BoundedMember.from_models(
        tuple(fit_bounded_path(X[at::3], y[at::3], SCORED, (16.0, 2.0))[-1] for at in range(3))
    ), X


@pytest.mark.parametrize(("floor", "gap"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.08, 0.15)])
def test_floor_and_ceiling_are_found_where_they_are(floor, gap):
    X, y, _ = accounts(6000, 1, floor, gap)
    found = fit_bounded_path(X, y, SCORED, BOUNDED_PENALTIES)[-1].bounds
    assert found.floor == pytest.approx(floor, abs=0.025)
    assert found.gap == pytest.approx(gap, abs=0.035)


def test_few_accounts_show_no_bounds_unless_they_must():
    found = [fit_bounded_path(*accounts(150, seed)[:2], SCORED, (16.0, 2.0))[-1].bounds for seed in range(8)]
    assert np.median([bounds.floor + bounds.gap for bounds in found]) < 0.02


def test_contributions_add_up_in_any_batch(monkeypatch):
    found, X = member()
    X = np.vstack([X, [[np.nan] * 3, [1e9, 1.0, -1e9], [-1e9, 0.0, 1e9]]])
    raw, bags, parts = look_up(found, X)
    np.testing.assert_allclose(found.base + parts.sum(axis=1), raw, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.raw(X), raw)
    np.testing.assert_array_equal(found.raw_bags(X), bags)
    np.testing.assert_allclose(bags, [model.raw(X) for model in found.models], rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(contributions, "KERNEL_ROWS", len(X) + 1)
    for one, other in zip(look_up(found, X), (raw, bags, parts), strict=True):
        np.testing.assert_array_equal(one, other)
    for row in range(0, len(X), 500):
        np.testing.assert_array_equal(look_up(found, X[[row]])[2][0], parts[row])


def test_contributions_are_integrated_gradients_from_the_average_account():
    found, X = member()
    index, start = found.tables.raw(X[:5]), float(found.tables.base.mean())
    linear = np.zeros((3, 5))
    found.tables.add_to(linear, X[:5], 1.0)
    middle = (np.arange(4000) + 0.5) / 4000
    for row in range(5):
        path = start + middle * (index[row] - start)
        slope = (found.bounds.log_odds(path + 1e-6) - found.bounds.log_odds(path - 1e-6)) / 2e-6
        wanted = slope.mean() * linear[:, row]
        np.testing.assert_allclose(look_up(found, X[:5], 0.5)[2][row], 0.5 * wanted, rtol=1e-5, atol=1e-7)


def test_slopes_pass_smoothly_through_the_average():
    bounds = Bounds(0.05, 0.2)
    slopes = bounds.slopes(0.7 + np.array([-1e-4, -1e-5, -1e-7, 0.0, 1e-7, 1e-5, 1e-4]), 0.7)
    np.testing.assert_allclose(slopes, slopes[3], rtol=1e-4)
    steep = (bounds.log_odds(np.array([0.7 + 1e-5])) - bounds.log_odds(np.array([0.7 - 1e-5])))[0] / 2e-5
    assert slopes[3] == pytest.approx(steep, rel=1e-6)


def test_no_index_is_too_large():
    bounds = Bounds(0.02, 1e-6)
    found = bounds.log_odds(np.array([-1e6, -800.0, 800.0, 1e6]))
    np.testing.assert_allclose(expit(found), [0.02, 0.02, 1 - 1e-6, 1 - 1e-6], rtol=1e-9)


def test_state_keeps_every_bit():
    found, X = member()
    state, texts = found.to_state()
    again = member_from_state(json.loads(json.dumps(state, allow_nan=False)), texts)
    for one, other in zip(look_up(again, X), look_up(found, X), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_gradient_is_that_of_the_posterior():
    rng = np.random.default_rng(3)
    Z = np.column_stack([rng.normal(size=(60, 2)), np.ones(60)])
    y, each, ridge = (rng.random(60) < 0.4).astype(float), rng.random(60), np.array([2.0, 2.0, 1e-8])
    at = np.array([0.6, -0.3, 0.2, 0.4, 1.1])
    slope = _posterior(at, Z, y, each, ridge)[1]
    wanted = approx_fprime(at, lambda point: _posterior(point, Z, y, each, ridge)[0], 1e-7)
    np.testing.assert_allclose(slope, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fit", [fit_linear_path, fit_bounded_path])
def test_a_number_that_counts_as_it_is_keeps_to_its_direction_too(fit):
    rng = np.random.default_rng(7)
    minutes = np.where(rng.random(3000) < 0.85, 0.0, rng.exponential(15.0, 3000))
    X = np.column_stack([minutes, rng.normal(size=3000)])
    y = (rng.random(3000) < expit(0.12 * minutes - 1.0)).astype(float)
    scored, path = np.array([True, True]), np.column_stack([np.linspace(0, 90, 50), np.zeros(50)])
    assert Design.of(X, y, scored, np.ones(3000)).lines
    free, held = (
        fit(X, y, scored, (16.0, 2.0), None, np.array([direction, 0]))[-1].raw(path) for direction in (1, -1)
    )
    assert np.diff(free).min() >= 0.0
    assert free[-1] > free[0] + 1.0
    assert np.diff(held).max() <= 1e-12


def test_weights_count_like_copies():
    X, y, _ = accounts(800, 4, 0.1, 0.1)
    X[np.isnan(X)] = 0.0
    twice = np.arange(800) % 4 == 0
    flags = np.zeros(3, dtype=bool)
    copied = fit_bounded_path(np.vstack([X, X[twice]]), np.append(y, y[twice]), flags, (16.0,))[0]
    weighed = fit_bounded_path(X, y, flags, (16.0,), 1.0 + twice)[0]
    np.testing.assert_allclose(weighed.raw(X), copied.raw(X), atol=0.02)


def many_traits(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Chances between .05 and .8 by what eight numbers add up to, so that no number alone shows bounds."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8))
    chance = 0.05 + 0.75 * expit(3.0 * X.sum(axis=1))
    return pd.DataFrame(X, columns=list("abcdefgh")), (rng.random(n) < chance).astype(int), chance


def test_where_chances_are_bounded_the_mixture_is_better_with_it():
    frame, y, _ = many_traits(1200, 5)
    fresh, _, chance = many_traits(4000, 6)
    loss, others = [], ("additive", "deep", "bands", "logistic")
    for names in (others, (*others, "bounded")):
        model = PropensityClassifier(candidates=names, n_bags=2, n_folds=3, n_jobs=1).fit(frame, y)
        p = model.predict_proba(fresh)[:, 1]
        loss.append(-(chance * np.log(p) + (1 - chance) * np.log1p(-p)).mean())
    assert model.weights_["bounded"] > 0.5
    assert loss[1] < loss[0] - 0.02
    parts = model.contributions(frame)
    np.testing.assert_allclose(
        model.base_value_ + parts.sum(axis=1), model.decision_function(frame), rtol=0, atol=1e-10
    )
