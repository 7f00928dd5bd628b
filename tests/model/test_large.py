"""Large bases: folds and bags learn from a part of the rows, every row gets a score of its own."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp
from icp_ml.model import fitting, stacking


def test_a_large_base_is_learnt_from_parts_of_it(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "CHOICE_ROWS", 150)
    monkeypatch.setattr(fitting, "BAG_ROWS", 200)
    seen: list[int] = []
    fit_one = fitting.Candidate.fit_one

    def spied(self, X, *args, **kwargs):
        seen.append(len(X))
        return fit_one(self, X, *args, **kwargs)

    monkeypatch.setattr(fitting.Candidate, "fit_one", spied)
    monkeypatch.setattr(stacking, "MOST_ROWS", 100)
    judged: list[int] = []

    def judging(log_odds, *args):
        judged.append(len(log_odds))
        return stacking.calibrated_loss(log_odds, *args)

    monkeypatch.setattr(fitting, "calibrated_loss", judging)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(600, 3)), columns=["a", "b", "c"])
    y = (frame["a"] + rng.normal(size=600) > 0).astype(int)
    model = icp.PropensityClassifier(n_bags=3, n_folds=3, n_jobs=1).fit(frame, y)
    assert max(seen) <= 202
    assert set(judged) == {100}
    assert np.isfinite(model.oof_log_odds_).all()
    assert model.ensemble.bag_variance == pytest.approx(fitting.bag_variance(200 / 600))
    parts = model.contributions(frame)
    np.testing.assert_allclose(
        model.base_value_ + parts.sum(axis=1), model.decision_function(frame), atol=1e-9
    )
    low, high = model.interval(frame)
    assert (low <= high).all()


def test_after_an_error_the_other_folds_are_not_learnt(monkeypatch) -> None:
    learnt: list[str] = []

    def failing(self, *args, **kwargs):
        learnt.append(self.name)
        if len(learnt) > 1:
            time.sleep(0.05)
        raise RuntimeError("no memory")

    monkeypatch.setattr(fitting.Candidate, "path", failing)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), np.tile([0, 1], 150)
    with pytest.raises(RuntimeError, match="no memory"):
        icp.PropensityClassifier(n_folds=5, n_jobs=1).fit(X, y)
    # Seven candidates, five folds, three times.
    assert len(learnt) < 30


def test_bags_of_most_accounts_count_as_before() -> None:
    assert fitting.bag_variance(0.9) == pytest.approx(18)
    assert fitting.bag_variance(1.0) == pytest.approx(18)
    assert fitting.bag_variance(0.2) == pytest.approx(0.5)
