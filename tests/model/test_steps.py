"""The lasso on steps: finds bands, ignores noise, explains itself exactly, survives a bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from icp_ml.model import descent, lasso, stepkernel
from icp_ml.model.candidates import CANDIDATES, StepMember, member_from_state
from icp_ml.model.encoding import Part
from icp_ml.model.steps import SHARES, fit_step_path, tables_of
from tests.model.bases import look_up


@pytest.fixture(scope="module")
def band() -> tuple[np.ndarray, np.ndarray]:
    """Column 0 matters between -.5 and .8, column 1 where it is unknown, eight columns not at all."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 10))
    X[rng.random(3000) < 0.3, 1] = np.nan
    X[:, 2] = X[:, 2] > 0
    inside = (X[:, 0] > -0.5) & (X[:, 0] <= 0.8)
    y = rng.random(3000) < expit(1.5 * inside - 1.2 * np.isnan(X[:, 1]) - 1)
    return X, y.astype(float)


def test_a_band_and_a_gap_are_found_and_noise_is_left_out(band):
    X, y = band
    model = fit_step_path(X, y, SHARES[:3])[-1]
    assert set(model.columns.tolist()) == {0, 1}
    probe = np.zeros((4, 10))
    probe[:, 0] = [-1.5, 0.0, 2.0, 0.0]
    probe[3, 1] = np.nan
    low, inside, high, unknown = model.raw(probe)
    assert inside - low == pytest.approx(1.5, abs=0.4)
    assert inside - high == pytest.approx(1.5, abs=0.4)
    assert unknown - inside == pytest.approx(-1.2, abs=0.4)


def test_penalties_run_from_nothing_to_everything(band):
    X, y = band
    sizes = [len(set(model.columns.tolist())) for model in fit_step_path(X, y, SHARES)]
    assert sizes[0] <= 2
    assert sizes == sorted(sizes)
    assert sizes[-1] == 10


def test_without_any_effect_the_strongest_penalty_keeps_nothing():
    rng = np.random.default_rng(3)

    def kept() -> int:
        X, y = rng.normal(size=(500, 20)), (rng.random(500) < 0.15).astype(float)
        return len(fit_step_path(X, y, SHARES[:1])[0].columns)

    assert sum(kept() == 0 for _ in range(20)) >= 17


def test_weights_count_as_copies_do(band):
    X, y = band[0][:600], band[1][:600]
    twice = fit_step_path(np.repeat(X, 2, axis=0), np.repeat(y, 2), (1.0,))[0]
    # A weight of 2 makes twice the noise, two copies √2 of it: the same penalty is another share.
    weighted = fit_step_path(X, y, (1.0 / np.sqrt(2),), np.full(600, 2.0))[0]
    np.testing.assert_allclose(weighted.raw(X), twice.raw(X), atol=1e-3)


def test_signs_are_kept_and_the_rest_fits_as_well_as_it_can(band):
    X, y = band
    free = fit_step_path(X, y, SHARES)[-1]
    kept = fit_step_path(X, y, SHARES, directions=np.array([1, 0, -1] + [0] * 7))[-1]
    steps = {int(j): kept.sizes[(kept.columns == j) & ~np.isnan(kept.thresholds)] for j in kept.columns}
    assert (free.sizes[(free.columns == 0) & ~np.isnan(free.thresholds)] < 0).any()
    assert len(steps[0]) > 0
    assert (steps[0] > 0).all()
    assert (steps.get(2, np.zeros(1)) <= 0).all()
    assert (steps[5] < 0).any() or (steps[5] > 0).any()


def test_numba_and_python_descend_to_the_same_place():
    rng = np.random.default_rng(0)
    design = np.column_stack([rng.normal(size=(400, 12)), np.ones(400)])
    cross, slope = design.T @ design / 5, design.T @ rng.normal(size=400)
    penalties, ridges = np.full(13, 4.0), np.ones(13)
    penalties[-1] = ridges[-1] = 0
    found = []
    signs = np.array([1.0, -1.0] * 3 + [0.0] * 7)
    for descend in (descent.descend, stepkernel.descend):
        beta = np.zeros(13)
        descend(cross, slope.copy(), beta, penalties, ridges, signs)
        found.append(beta)
    np.testing.assert_allclose(found[0], found[1], atol=1e-10)
    assert (found[0] * signs >= 0).all()
    assert (found[0][:-1] == 0).any()
    assert (found[0][:-1] != 0).any()


def test_the_lasso_meets_the_conditions_of_its_optimum():
    """A kept coefficient's slope equals the penalty, a dropped one's is below it."""
    rng = np.random.default_rng(1)
    design = np.column_stack([rng.normal(size=(800, 15)), np.ones(800)])
    y = (rng.random(800) < expit(design[:, 0] - design[:, 1] - 1)).astype(float)
    beta = lasso._fit(design, y, np.ones(800), np.zeros(16), 20.0, np.zeros(16))
    slope = design.T @ (y - expit(design @ beta)) - lasso.RIDGE * np.append(beta[:-1], 0.0)
    kept = beta[:-1] != 0
    np.testing.assert_allclose(slope[:-1][kept], 20.0 * np.sign(beta[:-1][kept]), atol=0.2)
    assert (np.abs(slope[:-1][~kept]) <= 20.2).all()
    assert abs(slope[-1]) < 0.2


def test_contributions_add_up_and_come_back_from_json(band):
    X, y = band
    parts_of = [slice(0, 2700), slice(300, 3000)]
    models = tuple(fit_step_path(X[at], y[at], SHARES[:6])[-1] for at in parts_of)
    member = StepMember.from_models(models, X.shape[1])
    raw, bags, parts = look_up(member, X)
    np.testing.assert_allclose(member.base + parts.sum(axis=1), raw, rtol=0, atol=1e-12)
    np.testing.assert_allclose(bags, [model.raw(X) for model in models], rtol=0, atol=1e-12)
    for i in range(0, 3000, 97):
        np.testing.assert_array_equal(member.raw(X[[i]]), raw[[i]])
    # Contributions are told from the average training row, column by column.
    own = look_up(tables_of(models[:1], 10), X[:2700])[2]
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=0.02)
    state, texts = member.to_state()
    again = member_from_state(json.loads(json.dumps(state, allow_nan=False)), texts)
    np.testing.assert_array_equal(again.raw(X), raw)


def test_a_column_that_matters_only_where_it_is_unknown_is_the_same_in_a_crowd():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2))
    X[rng.random(4000) < 0.4, 1] = np.nan
    y = (rng.random(4000) < expit(-2.0 * np.isnan(X[:, 1]))).astype(float)
    model = fit_step_path(X, y, (1.4,))[0]
    assert np.isnan(model.thresholds).all()
    assert model.columns.tolist() == [1]
    tables = tables_of((model,), 2)
    np.testing.assert_array_equal(tables.raw(X)[:50], tables.raw(X[:50]))
    assert len(np.unique(tables.raw(X))) == 2


def test_constant_and_unknown_columns_are_left_alone():
    X = np.column_stack([np.full(200, 3.0), np.full(200, np.nan), np.tile([0.0, 1.0], 100)])
    y = np.tile([0.0, 1.0, 1.0, 1.0], 50)
    steps, parts = CANDIDATES["steps"], (Part("x", "value"),) * 3
    member = steps.member([steps.fit_one(X, y, parts, 0.04, 0)], 3)
    assert np.isfinite(member.raw(X)).all()
    assert (look_up(member, X)[2][:, :2] == 0).all()
