"""An explainable boosting machine as a candidate: its curves are steps, exact and scored without it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from scipy.special import expit

from icp_ml.errors import MissingDependencyError
from icp_ml.model.candidates import CANDIDATES, DEFAULT_CANDIDATES, STEPPED
from icp_ml.model.ebm import FIXED_PARAMS, fit_ebm_path
from icp_ml.model.members import StepMember, member_from_state
from icp_ml.model.plans import Part
from icp_ml.model.propensity import PropensityClassifier
from tests.model.bases import look_up


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Numbers, one with gaps, a flag, a column of one value and one that nobody knows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 5))
    X[rng.random(600) < 0.2, 1] = np.nan
    X[:, 2] = X[:, 2] > 0
    X[:, 3], X[:, 4] = 7.0, np.nan
    y = rng.random(600) < expit(1.5 * X[:, 0] + X[:, 2] - np.isnan(X[:, 1]) - 1)
    return X, y.astype(float)


def test_steps_say_what_the_machine_says_on_cuts_and_gaps_too(rows):
    glassbox = pytest.importorskip("interpret.glassbox")
    X, y = rows
    (model,) = fit_ebm_path(X, y, (20.0,), seed=3)
    machine = glassbox.ExplainableBoostingClassifier(
        **FIXED_PARAMS, max_rounds=20, feature_types=["continuous"] * 4, random_state=3
    ).fit(X[:, :4], y)
    probe = np.vstack([X, np.full((1, 5), np.nan), np.full((1, 5), 99.0), np.full((1, 5), -99.0)])
    cuts = machine.bins_[0][0]
    for aside in (cuts, np.nextafter(cuts, -np.inf), np.nextafter(cuts, np.inf)):
        at = np.zeros((len(cuts), 5))
        at[:, 0] = aside
        probe = np.vstack([probe, at])
    np.testing.assert_allclose(model.raw(probe), machine.decision_function(probe[:, :4]), rtol=0, atol=1e-10)
    assert model.raw(X).std() > 0.1


def test_a_member_of_machines_adds_up_and_comes_back_without_the_library(rows, monkeypatch):
    pytest.importorskip("interpret")
    X, y = rows
    candidate, parts = CANDIDATES["ebm"], (Part("x", "value"),) * 5
    models = [candidate.fit_one(X[at::2], y[at::2], parts, 8.0, seed=at) for at in range(2)]
    assert models[0].intercept != models[1].intercept
    member = candidate.member(models, 5)
    assert isinstance(member, StepMember)
    raw, _, shares = look_up(member, X)
    np.testing.assert_allclose(member.base + shares.sum(axis=1), raw, rtol=0, atol=1e-12)
    np.testing.assert_allclose(shares.mean(axis=0), 0.0, atol=0.02)
    state, texts = member.to_state()
    monkeypatch.setitem(sys.modules, "interpret.glassbox", None)
    np.testing.assert_array_equal(member_from_state(json.loads(json.dumps(state)), texts).raw(X), raw)


def test_one_machine_needs_no_simpler_ones(rows, monkeypatch):
    asked = []

    def spied(X, y, rounds, *args):
        asked.append(rounds)
        return [None] * len(rounds)

    monkeypatch.setitem(STEPPED, "ebm", spied)
    CANDIDATES["ebm"].fit_one(*rows, (Part("x", "value"),) * 5, 20.0, seed=0)
    assert asked == [(20.0,)]


def test_weights_count_as_rows_do_and_directions_hold(rows):
    pytest.importorskip("interpret")
    X, y = rows
    # Flags, because other cuts of numbers would differ too.
    flags = (X[:, :2] > 0).astype(float)
    counts = np.where(np.arange(600) < 300, 3, 1)
    (weighed,) = fit_ebm_path(flags, y, (20.0,), 0, counts.astype(float))
    (repeated,) = fit_ebm_path(np.repeat(flags, counts, axis=0), np.repeat(y, counts), (20.0,), 0)
    (unweighed,) = fit_ebm_path(flags, y, (20.0,), 0)
    np.testing.assert_allclose(weighed.raw(flags), repeated.raw(flags), rtol=0, atol=1e-6)
    assert np.abs(weighed.raw(flags) - unweighed.raw(flags)).max() > 0.01
    (plain,) = fit_ebm_path(X, y, (8.0,), 0)
    (falling,) = fit_ebm_path(X, y, (8.0,), 0, directions=np.array([-1, 0, 0, 0, 0]))
    ramp = np.zeros((50, 5))
    ramp[:, 0] = np.linspace(-3, 3, 50)
    assert (np.diff(falling.raw(ramp)) <= 1e-12).all()
    assert np.diff(plain.raw(ramp)).max() > 0.01


def test_it_has_to_be_asked_for_and_earns_its_weight(rows):
    pytest.importorskip("interpret")
    X, y = rows
    assert "ebm" not in DEFAULT_CANDIDATES
    X, names = X[:, :3], ("ebm", "logistic")
    model = PropensityClassifier(candidates=names, n_bags=2, n_folds=2, n_jobs=2).fit(X, y)
    again = PropensityClassifier(candidates=names, n_bags=2, n_folds=2, n_jobs=1).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    assert set(model.cv_results_["candidate"]) == {"ebm", "logistic", "base rate", "chosen"}
    assert model.cv_results_["log_loss"].iloc[0] < model.cv_results_["log_loss"].iloc[2]


def test_without_the_library_it_says_what_to_install(rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "interpret.glassbox", None)
    with pytest.raises(MissingDependencyError, match=r"icp-ml\[ebm\]"):
        fit_ebm_path(*rows, (3.0,), 0)
