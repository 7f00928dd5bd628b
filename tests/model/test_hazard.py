"""Unfinished horizons: weights and hazard repair the average chance that counting as stayed spoils."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp
from icp_ml.data.ipcw import censoring_weights, period_rows, read_follow_up, rows_by_weight
from icp_ml.simulation import make_tables

HORIZON = 6
FAST = {"candidates": ("logistic",), "n_bags": 1, "n_jobs": 1, "n_folds": 3}


def cohort(n: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Features, the true chance to leave in six months, months followed, and who left."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    hazard = 1 / (1 + np.exp(2.6 - 0.8 * size))
    month = rng.geometric(hazard)
    seen = rng.integers(1, HORIZON + 3, n)
    left = (month <= seen) & (month <= HORIZON)
    followed = np.minimum(np.minimum(month, seen), HORIZON)
    return pd.DataFrame({"size": size}), 1 - (1 - hazard) ** HORIZON, followed, left


def test_weights_are_kaplan_meier_of_being_cut_off() -> None:
    # followed 1, 2, 2, 3 and 3 months; of 5 one is cut off after 1, of the 3 left then one after 2
    months = [1, 2, 2, 3, 3]
    left = [False, True, False, False, True]
    found = censoring_weights(months, left, horizon=3)
    after_one = 4 / 5
    after_two = after_one * 2 / 3
    expected = [0, 1 / after_one, 0, 1 / after_two, 1 / after_two]
    np.testing.assert_allclose(found, expected)


def test_weights_within_strata_and_capped() -> None:
    months, left = [3, 3, 1, 3], [False] * 4
    where = ["a", "a", "b", "b"]
    np.testing.assert_allclose(censoring_weights(months, left, 3, strata=where), [1, 1, 0, 2])
    np.testing.assert_allclose(censoring_weights(months, left, 3, strata=where, most=1.5), [1, 1, 0, 1.5])
    with pytest.raises(icp.NotEnoughDataError, match="stratum 'b'"):
        censoring_weights([3, 3, 1, 2], left, 3, strata=where)


def test_rows_come_as_often_as_their_weight() -> None:
    weights = np.random.default_rng(1).uniform(0, 4, 500)
    weights[::5] = 0
    counts = np.bincount(rows_by_weight(weights, seed=3), minlength=500)
    assert (counts[::5] == 0).all()
    assert (np.abs(counts - weights) < 1).all()
    assert abs(counts.sum() - weights.sum()) <= 1


def test_tables_give_every_month_that_is_known() -> None:
    tables = icp.read_tables(make_tables(250, seed=3, dirty=0.0, n_nulls=2).tables)[0]
    quarters = icp.quarter_ends("2021-03-31", "2025-06-30")
    dataset = icp.build_dataset(tables, snapshot_dates=quarters, horizon_months=12)
    found = icp.follow_up(tables, snapshot_dates=quarters, horizon_months=12)
    known = dataset.labels.assign(as_of=dataset.labels["snapshot_date"])[["account_id", "as_of", "retained"]]
    both = found.features[["account_id", "as_of"]].merge(known, on=["account_id", "as_of"], how="left")
    labelled = both["retained"].notna().to_numpy()
    assert labelled.sum() == len(dataset) < len(found)
    assert (both["retained"][labelled].astype(bool).to_numpy() == ~found.left[labelled]).all()
    unfinished = ~found.left & (found.months < 12)
    assert found.facts["unfinished"] == unfinished.sum() > 0
    assert not (unfinished & labelled).any()
    assert found.features["as_of"][~labelled].min() > dataset.labels["snapshot_date"].max()
    earlier = icp.follow_up(tables, snapshot_dates=quarters, horizon_months=12, observed_until="2024-03-31")
    assert earlier.features["as_of"].max() < pd.Timestamp("2024-03-31")
    with pytest.raises(icp.NotEnoughDataError, match="followed for a month"):
        icp.follow_up(tables, snapshot_dates="2025-06-30", horizon_months=12, observed_until="2025-07-15")


def test_follow_up_is_cut_at_the_horizon_and_checked() -> None:
    times, left = read_follow_up([2, 9, 5], [True, True, False], 6)
    assert (times.tolist(), left.tolist()) == ([2, 6, 5], [True, False, False])
    for months, gone in (([0], [True]), ([1.5], [False]), ([-1], [False])):
        with pytest.raises(icp.ConfigError, match="whole periods"):
            read_follow_up(months, gone, 6)
    rows, period, event = period_rows([2, 9, 0], [True, True, False], 3)
    assert rows.tolist() == [0, 0, 1, 1, 1]
    assert period.tolist() == [1, 2, 1, 2, 3]
    assert event.tolist() == [0, 1, 0, 0, 0]


def test_counting_unfinished_as_stayed_is_biased_and_both_ways_repair_it() -> None:
    features, true, months, left = cohort(2_500)
    fresh, fresh_true, _, _ = cohort(2_500, seed=1)
    groups = np.arange(len(features))

    def error(rows: np.ndarray) -> float:
        model = icp.PropensityClassifier(**FAST)
        model.fit(features.iloc[rows].reset_index(drop=True), left[rows].astype(int), groups=groups[rows])
        return float(model.predict_proba(fresh)[:, 1].mean() - fresh_true.mean())

    assert error(groups) < -0.05
    assert abs(error(rows_by_weight(censoring_weights(months, left, HORIZON)))) < 0.02
    model = icp.HazardClassifier(horizon=HORIZON, **FAST).fit(features, months, left)
    chance = model.predict_proba(fresh)[:, 1]
    assert abs(chance.mean() - fresh_true.mean()) < 0.02
    assert np.corrcoef(chance, fresh_true)[0, 1] > 0.98
    assert model.n_rows_ == months.sum()


def test_hazards_survival_and_chances_agree() -> None:
    features, _, months, left = cohort(500)
    model = icp.HazardClassifier(horizon=HORIZON, **FAST).fit(features, months, left)
    hazards = model.hazards(features.head(20))
    assert hazards.shape == (20, HORIZON)
    np.testing.assert_allclose(model.survival(features.head(20)), np.cumprod(1 - hazards, axis=1))
    chance = model.predict_proba(features.head(20))
    np.testing.assert_allclose(chance[:, 1], 1 - np.prod(1 - hazards, axis=1))
    np.testing.assert_allclose(chance.sum(axis=1), 1)
    assert set(model.predict(features)) <= {0, 1}
    alone = model.predict_proba(features.iloc[[7]])
    np.testing.assert_array_equal(alone[0], chance[7])


def test_a_renewal_month_is_seen() -> None:
    rng = np.random.default_rng(5)
    months = np.full(800, 6)
    left = rng.random(800) < 0.3
    early = rng.random(800) < 0.05
    frame = pd.DataFrame({"size": rng.normal(size=800)})
    model = icp.HazardClassifier(horizon=HORIZON, **FAST)
    hazards = model.fit(frame, np.where(early, 3, months), left | early).hazards(frame.head(50)).mean(axis=0)
    assert hazards[5] > 0.25
    assert hazards[[0, 1, 3, 4]].max() < 0.02


def test_rows_of_one_account_share_a_fold_and_too_little_is_refused() -> None:
    features, _, months, left = cohort(200)
    seen: list[np.ndarray] = []
    fit = icp.PropensityClassifier.fit_features

    def spy(self: object, frame: pd.DataFrame, schema: object, y: object, groups: np.ndarray) -> object:
        seen.append(groups)
        return fit(self, frame, schema, y, groups)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(icp.PropensityClassifier, "fit_features", spy)
        icp.HazardClassifier(horizon=HORIZON, **FAST).fit(features, months, left, groups=np.arange(200) // 2)
    assert len(np.unique(seen[0])) == 100
    assert len(seen[0]) == months.sum()
    with pytest.raises(icp.NotEnoughDataError, match="in each of 9 periods"):
        icp.HazardClassifier(horizon=9, **FAST).fit(features, months, left)
    with pytest.raises(icp.NotEnoughDataError, match="found 0 that left"):
        icp.HazardClassifier(horizon=HORIZON, **FAST).fit(features, months, np.zeros(200))
