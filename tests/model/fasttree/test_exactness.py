"""What the tables give is what LightGBM gives."""

from __future__ import annotations

import numpy as np
import pytest

from icp_ml import FastTreeContributions

from .boosters import KINDS, expected, make_rows, odd_rows, train

SEEDS = (0, 1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_equal_pred_contrib(kind: str) -> None:
    """54 models: every kind with three seeds, categories native or as numbers."""
    for seed in SEEDS:
        booster = train(KINDS[kind], seed=seed, native=seed != 1)
        X = np.vstack([make_rows(60, seed + 100), odd_rows(seed)])
        wanted = expected(booster, X)
        exact = FastTreeContributions(booster)
        np.testing.assert_allclose(exact.contributions(X), wanted, rtol=0, atol=1e-10)
        single = FastTreeContributions(booster, dtype="float32")
        np.testing.assert_allclose(single.contributions(X), wanted, rtol=0, atol=1e-5)
        raw = booster.predict(X, raw_score=True, num_threads=1)
        np.testing.assert_allclose(exact.predict_raw(X), raw, rtol=0, atol=1e-10)
