"""Small boosters of every kind, and rows that meet all their cases."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np

N_FEATURES = 8
CATEGORICAL = (6, 7)


def make_rows(n: int, seed: int, *, zeros: bool = True) -> np.ndarray:
    """Numbers of several scales, flags, counts with zeros, categories; a tenth is missing."""
    rng = np.random.default_rng(seed)
    X = np.column_stack(
        [
            rng.normal(size=n),
            np.exp(rng.normal(size=n) * 2 + 8),
            rng.poisson(1.5, n),
            rng.random(n) < 0.2,
            np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n)),
            rng.normal(size=n) * 1e-3,
            rng.integers(0, 40, n),
            rng.integers(0, 6, n),
        ]
    )
    if zeros:
        X[rng.random(X.shape) < 0.05] = 0.0
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


def odd_rows(seed: int) -> np.ndarray:
    """Values no training row has: unseen and negative categories, fractions, infinities, almost zeros."""
    rng = np.random.default_rng(seed)
    X = make_rows(40, seed)
    at = rng.integers(0, len(X), 60), rng.integers(0, N_FEATURES, 60)
    X[at] = rng.choice(
        [-1.0, -0.5, 0.5, 1e9, 1e300, np.inf, -np.inf, 1e-36, -1e-36, 1e-35, -1e-35, 77.0, 5e9, -0.0], 60
    )
    return X


def make_target(X: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = np.nan_to_num(X[:, 0]) + (np.nan_to_num(X[:, 6]) % 3) - np.isnan(X[:, 2]) * 2.0
    z = z + np.nan_to_num(X[:, 3]) * np.nan_to_num(X[:, 4]) + rng.logistic(size=len(X))
    return (z > np.median(z)).astype(float)


def train(
    params: dict[str, Any], *, rounds: int = 12, n: int = 400, seed: int = 0, native: bool = True
) -> Any:
    """Train one booster with one thread."""
    X = make_rows(n, seed)
    own = {
        "num_threads": 1,
        "verbosity": -1,
        "min_data_in_leaf": 5,
        "objective": "binary",
        "seed": seed,
        **params,
    }
    y = make_target(X, seed) if own["objective"] == "binary" else np.nan_to_num(X[:, 0]) * 3 + 50
    data = lightgbm.Dataset(
        X, label=y, params=own, categorical_feature=list(CATEGORICAL) if native else [], free_raw_data=True
    )
    return lightgbm.train(own, data, num_boost_round=rounds)


def expected(booster: Any, X: np.ndarray) -> np.ndarray:
    return np.asarray(booster.predict(X, pred_contrib=True, num_threads=1))


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stumps": {"num_leaves": 2},
    "deep": {"num_leaves": 40, "min_data_in_leaf": 2},
    "shallow": {"max_depth": 3},
    "zero_as_missing": {"zero_as_missing": True},
    "no_missing": {"use_missing": False},
    "monotone": {"monotone_constraints": [1, 0, 0, 1, -1, 0, 0, 0]},
    "interaction": {"interaction_constraints": [[0, 1, 2], [3, 4, 5, 6, 7]]},
    "bagging": {"bagging_fraction": 0.6, "bagging_freq": 1, "feature_fraction": 0.6},
    "dart": {"boosting": "dart", "drop_rate": 0.5},
    "forest": {"boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1},
    "goss": {"data_sample_strategy": "goss"},
    "no_average": {"boost_from_average": False},
    "regression": {"objective": "regression"},
    "l1": {"objective": "regression_l1"},
    "few_bins": {"max_bin": 7},
    "extra_trees": {"extra_trees": True},
    "big_categories": {"max_cat_to_onehot": 1, "cat_smooth": 1, "min_data_per_group": 1},
}
