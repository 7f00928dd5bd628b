from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from icp_ml.model import contributions, ridge
from icp_ml.model.linear import LinearModel
from icp_ml.model.members import LinearMember, member_from_state
from icp_ml.model.ridge import fit_linear_path
from tests.model.bases import look_up


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


def bag() -> tuple[tuple[LinearModel, ...], np.ndarray]:
    X, y = data()
    models = [fit_linear_path(X[at::3], y[at::3], SCORED, (4.0,))[0] for at in range(3)]
    # A column may have knots in one model and none in another.
    models[1] = replace(models[1], knots=(models[1].knots[0], None, None))
    beyond = [[np.nan] * 3, [0.0, 0.0, 0.0], [1e9, 1.0, 99.0], [-1e9, 0.3, -99.0]]
    knots = np.concatenate([pair[0] for model in models if (pair := model.knots[0]) is not None])
    on_knots = np.column_stack([knots, np.ones(len(knots)), knots])
    return tuple(models), np.vstack([X, beyond, on_knots])


def test_a_bag_in_one_table_says_what_its_models_say():
    models, X = bag()
    member = LinearMember.from_models(models)
    raw, bags, parts = look_up(member, X)
    np.testing.assert_allclose(bags, [model.raw(X) for model in models], rtol=1e-12, atol=1e-12)
    wanted = np.mean([model.contributions(X) for model in models], axis=0)
    np.testing.assert_allclose(parts, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(member.base + parts.sum(axis=1), raw, rtol=1e-12, atol=1e-12)
    state, texts = member.to_state()
    again = member_from_state(json.loads(json.dumps(state, allow_nan=False)), texts)
    np.testing.assert_array_equal(again.raw(X), raw)


def test_lines_have_the_same_bits_from_the_kernel_and_alone(monkeypatch):
    models, X = bag()
    # More rows than the kernel takes at a time.
    X = np.vstack([X, X])
    member = LinearMember.from_models(models)
    plain = look_up(member, X)
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    for order in ("C", "F"):
        for one, other in zip(look_up(member, np.asarray(X, order=order)), plain, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(member.raw(X), plain[0])
    for row in range(0, len(X), 40):
        np.testing.assert_array_equal(member.raw_bags(X[[row]]), plain[1][:, [row]])


def test_stronger_penalties_give_smaller_coefficients():
    X, y = data()
    norms = [np.abs(model.coefficients).sum() for model in fit_linear_path(X, y, SCORED, (256.0, 16.0, 2.0))]
    assert norms[0] < norms[1] < norms[2]


def test_separable_outcomes_converge():
    X = np.column_stack([np.arange(40.0)])
    model = fit_linear_path(X, (X[:, 0] > 19).astype(float), np.array([True]), (256.0, 2.0))[-1]
    assert np.isfinite(model.raw(X)).all()


def idle(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A number that is 0 in most rows and counts by its size elsewhere, and one that says nothing."""
    rng = np.random.default_rng(seed)
    minutes = np.where(rng.random(n) < 0.85, 0.0, rng.exponential(15.0, n))
    X = np.column_stack([minutes, rng.normal(size=n)])
    return X, (rng.random(n) < 1 / (1 + np.exp(1.0 - 0.12 * minutes))).astype(float)


def test_a_number_counts_as_it_is_where_its_rank_says_less():
    X, y = idle(3000, 0)
    both = np.array([True, True])
    model = fit_linear_path(X, y, both, (16.0, 2.0))[-1]
    at = np.column_stack([[0.0, 10.0, 20.0, 30.0, 40.0], np.zeros(5)])
    wanted = 0.12 * at[:, 0]
    parts = model.contributions(at)[:, 0]
    assert np.abs((parts - parts[0]) - wanted).max() < 0.8
    # Ranks alone flatten: 30 minutes more would count about half of what they do.
    ranks = np.interp(at[:, 0], *ridge._knots(X[:, 0]))
    assert (ranks[4] - ranks[1]) / (ranks[1] - ranks[0]) < 1.0 < (parts[4] - parts[1]) / (parts[1] - parts[0])


def test_a_number_that_says_nothing_seldom_counts_as_it_is():
    both, ones = np.array([True, True]), np.ones(800)
    lines = [ridge.Design.of(*idle(800, seed), both, ones).lines for seed in range(60)]
    told = np.mean([[line.column for line in own].count(1) for own in lines])
    assert told < 0.08


def test_lines_and_scores_together_are_what_was_fitted():
    X, y = idle(1500, 1)
    X[::7, 0] = np.nan
    both, ones = np.array([True, True]), np.ones(1500)
    design = ridge.Design.of(X, y, both, ones)
    assert [line.column for line in design.lines] == [0]
    sizes = ridge.newton_path(design.Z, y, ones, (8.0,))[0]
    np.testing.assert_allclose(design.model(sizes).raw(X), design.Z @ sizes, atol=1e-10)


def test_few_or_equal_or_huge_numbers_are_no_line():
    rng = np.random.default_rng(0)
    y = (np.arange(200) % 2).astype(float)
    for values in (np.full(200, 3.0), y * 5.0, np.where(np.arange(200) < 190, np.nan, rng.normal(size=200))):
        assert ridge.Design.of(values[:, None], y, np.array([True]), np.ones(200)).lines == ()
    huge = rng.choice([-1e308, 0.0, 1e308], 200)[:, None]
    assert np.isfinite(fit_linear_path(huge, y, np.array([True]), (4.0,))[0].raw(huge)).all()
