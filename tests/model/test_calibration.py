from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from icp_ml.model import stacking
from icp_ml.model.calibration import Calibration, base_log_odds, fit_calibration, log_loss_rows
from icp_ml.model.folds import group_codes, group_folds, group_subsample, possible_folds
from icp_ml.model.stacking import choose_weights


def scores(n: int, slope: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    f = rng.normal(size=n)
    return f, (rng.random(n) < expit(slope * f - 1.5)).astype(float)


@pytest.mark.parametrize("slope", [0.4, 1.0, 2.0])
def test_slope_and_intercept_are_recovered(slope):
    f, y = scores(20_000, slope)
    fitted = fit_calibration(f, y, np.arange(len(y)))
    assert fitted.slope == pytest.approx(slope, abs=0.08)
    assert fitted.intercept == pytest.approx(-1.5, abs=0.08)


def test_scores_without_skill_collapse_to_the_base_rate():
    slopes = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y = (rng.random(500) < 0.15).astype(float)
        f = rng.normal(-1.7, 1.0, 500)
        fitted = fit_calibration(f, y, np.arange(500))
        assert 0.0 <= fitted.slope < 0.4
        assert expit(fitted.apply(f)).mean() == pytest.approx(y.mean(), abs=1e-6)
        slopes.append(fitted.slope)
    assert np.mean(np.array(slopes) == 0.0) > 0.6


def test_scores_that_point_the_wrong_way_are_not_turned_round():
    f, y = scores(2_000, 1.0)
    assert fit_calibration(-f, y, np.arange(len(y))).slope == 0.0


def test_calibration_never_worsens_the_log_loss_of_a_constant():
    f, y = scores(400, 0.2)
    loss = log_loss_rows(y, fit_calibration(10 * f, y, np.arange(len(y))).apply(10 * f)).mean()
    assert loss <= log_loss_rows(y, np.full(len(y), base_log_odds(y))).mean() + 1e-9


def test_repeated_rows_of_accounts_don_t_look_like_more_evidence():
    f, y = scores(800, 1.0)
    alone = fit_calibration(f, y, np.arange(800))
    repeated = fit_calibration(np.tile(f, 4), np.tile(y, 4), np.tile(np.arange(800), 4))
    assert repeated.covariance[0] == pytest.approx(alone.covariance[0], rel=0.1)


def test_variance_grows_away_from_the_data():
    f, y = scores(800, 1.0)
    fitted = fit_calibration(f, y, np.arange(800))
    near, far = fitted.variance(np.array([f.mean(), f.mean() + 5]))
    assert 0 < near < far


def test_state_round_trip():
    f, y = scores(300, 1.0)
    fitted = fit_calibration(f, y, np.arange(300))
    assert Calibration.from_dict(fitted.to_dict()) == fitted


def test_groups_are_never_split_and_folds_balance():
    rng = np.random.default_rng(0)
    codes = group_codes(rng.integers(0, 300, 1000).astype(str), 1000)
    y = (rng.random(1000) < 0.2).astype(float)
    fold = group_folds(y, codes, 5, seed=1)
    assert all(len(np.unique(fold[codes == code])) == 1 for code in np.unique(codes))
    rates = [y[fold == k].mean() for k in range(5)]
    assert max(rates) - min(rates) < 0.06
    assert not np.array_equal(fold, group_folds(y, codes, 5, seed=2))


def test_folds_are_no_more_than_accounts_of_the_rarer_outcome():
    y = np.array([1.0, 1, 1, 0, 0, 0, 0])
    assert possible_folds(y, np.array([0, 0, 1, 2, 3, 4, 5]), 5) == 2


def test_subsample_takes_whole_accounts_of_both_outcomes():
    codes = np.repeat(np.arange(100), 3)
    y = np.repeat((np.arange(100) < 10).astype(float), 3)
    rows = group_subsample(codes, y, 0.9, seed=0)
    assert len(rows) == 270
    assert y[rows].sum() == 27
    assert all(np.isin(np.flatnonzero(codes == code), rows).all() for code in np.unique(codes[rows]))


def test_weights_stay_usual_with_few_accounts_and_follow_the_data_with_many():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 6000))
    y = (rng.random(6000) < expit(one + other)).astype(float)
    codes, both = np.arange(6000), np.ones(2)
    weights = choose_weights(np.array([one, other]), y, codes, both)
    assert weights.sum() == pytest.approx(1.0)
    assert weights == pytest.approx([0.5, 0.5], abs=0.11)
    assert choose_weights(np.array([other, one + other]), y, codes, both) == pytest.approx([0, 1], abs=0.1)
    worse = one + other + 0.5 * rng.normal(size=6000)
    assert choose_weights(np.array([one + other, worse]), y, codes, both)[0] > 0.9
    few = slice(0, 60)
    pair = np.array([worse[few], (one + other)[few]])
    assert choose_weights(pair, y[few], codes[few], both) == pytest.approx([0.5, 0.5], abs=0.1)
    assert choose_weights(one[None, :], y, codes, np.ones(1)).tolist() == [1.0]


def test_an_unusual_candidate_earns_its_weight():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 6000))
    y = (rng.random(6000) < expit(one + other)).astype(float)
    codes, usual = np.arange(6000), np.array([1.0, 0.0])
    assert choose_weights(np.array([one, other]), y, codes, usual)[1] > 0.3
    few = slice(0, 400)
    pair = np.array([one, 0.3 * other + rng.normal(size=6000)])[:, few]
    alike = choose_weights(pair, y[few], codes[few], np.ones(2))[1]
    assert choose_weights(pair, y[few], codes[few], usual)[1] < alike


def test_rows_of_one_account_are_not_more_evidence():
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(2, 300))
    y = (rng.random(300) < expit(0.6 * one + 0.2 * other)).astype(float)
    once = choose_weights(np.array([one, other]), y, np.arange(300), np.ones(2))
    pair, codes = np.repeat([one, other], 8, axis=1), np.repeat(np.arange(300), 8)
    again = choose_weights(pair, np.repeat(y, 8), codes, np.ones(2))
    assert again == pytest.approx(once, abs=0.1)


def test_a_small_weight_that_gains_next_to_nothing_is_dropped():
    rng = np.random.default_rng(4)
    one = rng.normal(size=2000)
    y = (rng.random(2000) < expit(one)).astype(float)
    family = np.array([one, one + 1.2 * rng.normal(size=2000), one + 1.5 * rng.normal(size=2000)])
    weights = choose_weights(family, y, np.arange(2000), np.ones(3))
    assert weights.sum() == pytest.approx(1.0)
    assert ((weights == 0) | (weights > stacking.SMALL)).all()
    assert (weights == 0).any()
