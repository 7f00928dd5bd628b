"""The one door to LightGBM: fit, write and read text, and predict out of fold; always one thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.model.columns import Floats

FIXED_PARAMS: dict[str, Any] = {
    "objective": "binary",
    "num_threads": 1,
    "deterministic": True,
    "zero_as_missing": False,
    "use_missing": True,
    "feature_pre_filter": False,
    "verbosity": -1,
}


def fit_booster(
    X: Floats, y: Floats, params: dict[str, Any], seed: int, n_rounds: int, weights: Floats | None = None
) -> Any:
    """Train a booster.

    Its text has all digits of what it predicts with: what is scored right after a fit is the model that a
    saved bundle holds, to the last bit.

    Parameters
    ----------
    X
        Dense float64 matrix, NaN = unknown; zeros are values.
    y
        Outcome per row, 0 or 1.
    params
        LightGBM parameters besides :data:`FIXED_PARAMS`, which win.
    seed
        Seed of row and column sampling.
    n_rounds
        Number of trees.
    weights
        How much each row counts; None counts all alike.
    """
    import lightgbm

    # Both give the same sums; a tree of one split needs only its share of the columns.
    way = "force_col_wise" if params.get("num_leaves") == 2 else "force_row_wise"
    full = {**params, **FIXED_PARAMS, way: True, "seed": seed}
    dataset = lightgbm.Dataset(X, label=y, weight=weights, params=full)
    # Else lightgbm writes the model and reads it again before it returns it.
    return lightgbm.train(full, dataset, num_boost_round=n_rounds, keep_training_booster=True)


def booster_to_text(booster: Any) -> str:
    """Return the model text of a booster."""
    return str(booster.model_to_string())


def booster_from_text(text: str) -> Any:
    """Read a booster from its model text."""
    import lightgbm

    return lightgbm.Booster(model_str=text)


def predict_path(booster: Any, X: Floats, rounds: tuple[int, ...]) -> Floats:
    """Return uncalibrated log-odds after each number of rounds, shape (rounds, rows); rounds ascend."""
    path = np.zeros((len(rounds), len(X)))
    done, total = 0, np.zeros(len(X))
    for place, stop in enumerate(rounds):
        total = total + booster.predict(
            X, raw_score=True, start_iteration=done, num_iteration=stop - done, num_threads=1
        )
        path[place], done = total, stop
    return path
