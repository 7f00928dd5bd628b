"""Bands: conditions that matter are found, noise is not, signs and weights hold, any draw is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from icp_ml.model import bands, gibbs, stepkernel
from icp_ml.model.bands import EXPECTED, fit_band_path
from icp_ml.model.candidates import CANDIDATES
from icp_ml.model.members import StepMember, member_from_state
from icp_ml.model.plans import Part
from icp_ml.model.steps import tables_of
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


def test_a_band_and_a_gap_are_found_and_noise_counts_little(band):
    X, y = band
    model = fit_band_path(X, y, EXPECTED[:2], 0)[-1]
    probe = np.zeros((4, 10))
    probe[:, 0] = [-1.5, 0.0, 2.0, 0.0]
    probe[3, 1] = np.nan
    low, inside, high, unknown = model.raw(probe)
    assert inside - low == pytest.approx(1.5, abs=0.3)
    assert inside - high == pytest.approx(1.5, abs=0.3)
    assert unknown - inside == pytest.approx(-1.2, abs=0.3)
    parts = look_up(tables_of((model,), 10), X)[2]
    assert parts[:, 2:].std(axis=0).max() < 0.05 < parts[:, :2].std(axis=0).min()


def test_a_band_costs_less_than_two_steps_do(band):
    """What lies in the middle is one condition: a few accounts are enough for it."""
    rng = np.random.default_rng(5)
    gains = []
    for _ in range(10):
        X = rng.normal(size=(400, 20))
        inside = (X[:, 0] > -0.5) & (X[:, 0] <= 0.8)
        y = (rng.random(400) < expit(2.0 * inside - 1)).astype(float)
        raw = fit_band_path(X, y, (3.0,), 0)[0].raw(np.where(np.arange(20) == 0, [[-2.0], [0.1], [2.0]], 0.0))
        gains.append(min(raw[1] - raw[0], raw[1] - raw[2]))
    assert np.median(gains) > 1.2


def test_more_is_kept_where_more_is_expected(band):
    X, y = band
    spread = [
        look_up(tables_of((m,), 10), X)[2][:, 2:].std(axis=0).sum() for m in fit_band_path(X, y, EXPECTED, 0)
    ]
    assert spread[0] < spread[-1] / 3


def test_without_any_effect_next_to_nothing_is_said():
    rng = np.random.default_rng(3)
    spreads = []
    for seed in range(20):
        X, y = rng.normal(size=(500, 20)), (rng.random(500) < 0.15).astype(float)
        spreads.append(fit_band_path(X, y, EXPECTED[:1], seed)[0].raw(X).std())
    assert np.median(spreads) < 0.15


def test_weights_count_as_copies_do(band):
    X, y = band[0][:600], band[1][:600]
    twice = fit_band_path(np.repeat(X, 2, axis=0), np.repeat(y, 2), (8.0,), 0)[0]
    weighted = fit_band_path(X, y, (8.0,), 0, np.full(600, 2.0))[0]
    assert np.corrcoef(weighted.raw(X), twice.raw(X))[0, 1] > 0.98
    once = fit_band_path(X, y, (8.0,), 0)[0]
    assert weighted.raw(X).std() > 1.1 * once.raw(X).std()


def test_signs_are_kept_and_the_rest_fits_as_well_as_it_can(band):
    X, y = band
    free = fit_band_path(X, y, EXPECTED, 0)[-1]
    kept = fit_band_path(X, y, EXPECTED, 0, directions=np.array([1, 0, -1] + [0] * 7))[-1]
    steps = {int(j): kept.sizes[(kept.columns == j) & ~np.isnan(kept.thresholds)] for j in kept.columns}
    assert (free.sizes[(free.columns == 0) & ~np.isnan(free.thresholds)] < 0).any()
    assert len(steps[0]) > 0
    assert (steps[0] >= 0).all()
    assert (steps.get(2, np.zeros(1)) <= 0).all()
    assert (steps[5] < 0).any()
    assert (steps[5] > 0).any()


def test_numba_and_python_draw_the_same():
    rng = np.random.default_rng(0)
    design = rng.normal(size=(400, 12))
    cross, linear = design.T @ design / 5, design.T @ (rng.normal(size=400) + design[:, 0] - design[:, 1]) / 5
    signs = np.array([1.0, 1.0] + [0.0] * 10)
    uniforms, normals = rng.random((200, 13)), rng.normal(size=(200, 12))
    found = []
    for draw in (gibbs.draw, stepkernel.draw):
        state, mean = np.append(np.zeros(12), 0.12), np.empty(12)
        draw(cross, linear, np.full(12, -2.0), signs, bands.VARIANCES, uniforms, normals, 40, state, mean)
        found.append(np.append(mean, state))
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    assert found[0][0] > 0.3
    assert found[0][1] == 0


def test_draws_average_to_the_posterior_that_can_be_counted():
    """Three coefficients: eight sets of conditions, each with a closed form."""
    rng = np.random.default_rng(2)
    design = rng.normal(size=(60, 3))
    design[:, 1] += 0.8 * design[:, 0]
    cross, linear = design.T @ design / 4, design.T @ (0.5 * design[:, 0] + rng.normal(size=60) * 2) / 4
    odds, variance = np.array([-1.0, -0.5, 0.0]), 0.12
    total, mean = 0.0, np.zeros(3)
    for code in range(8):
        at = [j for j in range(3) if code >> j & 1]
        precise = cross[np.ix_(at, at)] + np.eye(len(at)) / variance
        centre = np.linalg.solve(precise, linear[at]) if at else np.zeros(0)
        fit = linear[at] @ centre / 2 - np.linalg.slogdet(precise * variance)[1] / 2 if at else 0.0
        chance = np.exp(odds[at].sum() + fit)
        total, mean[at] = total + chance, mean[at] + chance * centre
    state, found = np.append(np.zeros(3), variance), np.empty(3)
    uniforms, normals = rng.random((60_000, 4)), rng.normal(size=(60_000, 3))
    stepkernel.draw(
        cross, linear, odds, np.zeros(3), np.array([variance]), uniforms, normals, 100, state, found
    )
    np.testing.assert_allclose(found, mean / total, atol=0.01)


def test_contributions_add_up_and_come_back_from_json(band):
    X, y = band
    parts_of = [slice(0, 2700), slice(300, 3000)]
    models = tuple(fit_band_path(X[at], y[at], EXPECTED[:3], 0)[-1] for at in parts_of)
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


def test_the_same_seed_gives_the_same_model_and_one_fit_ends_where_the_path_does(band):
    X, y = band[0][:500], band[1][:500]
    candidate, parts = CANDIDATES["bands"], tuple(Part(f"x{j}", "value") for j in range(10))
    path = candidate.path(X, y, X, parts, 7)
    np.testing.assert_array_equal(path, candidate.path(X, y, X, parts, 7))
    np.testing.assert_array_equal(candidate.fit_one(X, y, parts, EXPECTED[2], 7).raw(X), path[2])


@pytest.mark.parametrize("columns", [0, 2, 3])
def test_constant_and_unknown_columns_are_left_alone(columns):
    X = np.column_stack([np.full(200, 3.0), np.full(200, np.nan), np.tile([0.0, 1.0], 100)])[:, :columns]
    y = np.tile([0.0, 1.0, 1.0, 1.0], 50)
    candidate, parts = CANDIDATES["bands"], (Part("x", "value"),) * columns
    member = candidate.member([candidate.fit_one(X, y, parts, EXPECTED[-1], 0)], columns)
    assert np.isfinite(member.raw(X)).all()
    assert (look_up(member, X)[2][:, :2] == 0).all()
    assert expit(member.base) == pytest.approx(0.75, abs=0.05)
