"""Weights count everywhere: a row of weight 2 is two rows, one of weight 0 isn't there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp
from icp_ml.model.calibration import fit_calibration, weighted_mean
from icp_ml.model.columns import infer_schema
from icp_ml.model.ridge import fit_linear_path
from icp_ml.model.stacking import calibrated_loss


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=300), "city": rng.choice(list("abcdefghijklm"), 300)})
    y = (frame["size"] + rng.normal(size=300) > 0).astype(int).to_numpy()
    return frame, y, rng.integers(1, 4, 300).astype(float)


def test_coefficients_and_calibration_take_weights_for_copies(rows) -> None:
    frame, y, weights = rows
    copies = np.repeat(np.arange(300), weights.astype(int))
    X, outcome = frame[["size"]].to_numpy(), y.astype(float)
    plain = np.array([False])
    one = fit_linear_path(X, outcome, plain, (4.0,), weights)[0]
    other = fit_linear_path(X[copies], outcome[copies], plain, (4.0,))[0]
    assert one.coefficients[0] == pytest.approx(other.coefficients[0], rel=1e-3)
    f, codes = 2 * X[:, 0], np.arange(300)
    weighted, copied = (
        fit_calibration(f, outcome, codes, weights),
        fit_calibration(f[copies], outcome[copies], codes[copies]),
    )
    assert weighted.slope == pytest.approx(copied.slope, rel=0.02)
    assert weighted.covariance == pytest.approx(copied.covariance, rel=0.05)
    losses = calibrated_loss(f, outcome, codes, weights)
    assert losses.mean() == pytest.approx(
        calibrated_loss(f[copies], outcome[copies], codes[copies]).mean(), rel=0.01
    )
    assert weighted_mean(outcome, weights) == pytest.approx(outcome[copies].mean())


def fitted(rows, weights) -> icp.PropensityClassifier:
    frame, y, _ = rows
    model = icp.PropensityClassifier(n_bags=2, n_jobs=1, n_folds=3)
    return model.fit_features(frame, infer_schema(frame), y, sample_weight=weights)


def test_equal_weights_change_nothing_and_zero_leaves_out(rows) -> None:
    frame, _, weights = rows
    alone, same = fitted(rows, None), fitted(rows, np.full(300, 7.0))
    np.testing.assert_array_equal(alone.decision_function(frame), same.decision_function(frame))
    part = fitted(rows, np.where(np.arange(300) < 60, 0.0, weights))
    assert np.isnan(part.oof_log_odds_[:60]).all()
    assert np.isfinite(part.oof_log_odds_[60:]).all()
    total = part.base_value_ + part.contributions(frame).sum(axis=1)
    np.testing.assert_allclose(total, part.decision_function(frame), atol=1e-9)


@pytest.mark.parametrize("bad", [[1.0], [-1.0] * 300, [0.0] * 300, [np.nan] * 300])
def test_weights_are_checked(rows, bad) -> None:
    with pytest.raises(ValueError, match=r"expected .* in sample_weight"):
        fitted(rows, bad)
