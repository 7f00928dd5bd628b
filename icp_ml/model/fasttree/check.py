"""The tables against LightGBM itself, on rows made of the model's own thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from icp_ml.errors import InputMismatchError
from icp_ml.model.columns import Floats
from icp_ml.model.fasttree.binning import Binner

N_ROWS = 32
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


def sample_rows(binner: Binner, n_features: int, n_rows: int = N_ROWS, seed: int = 0) -> Floats:
    """Return rows of values at and beside the thresholds, categories known and unknown, zeros and NaN."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    for i, column in enumerate(binner.features.tolist()):
        if binner.categorical[i]:
            n_levels = int(binner.level_start[i + 1] - binner.level_start[i])
            X[:, column] = rng.integers(-1, n_levels + 2, n_rows)
        else:
            cuts = binner.edges[binner.edge_start[i] : binner.edge_start[i + 1]]
            at = rng.choice(cuts, n_rows)
            aside = rng.integers(0, 3, n_rows)
            X[:, column] = np.where(aside == 0, at, np.nextafter(at, np.where(aside == 1, np.inf, -np.inf)))
    X[rng.random(X.shape) < 0.1] = np.nan
    X[rng.random(X.shape) < 0.05] = 0.0
    return X


def refuse_other(found: Floats, booster: Any, X: Floats, dtype: str) -> None:
    """Refuse contributions that aren't LightGBM's.

    Raises
    ------
    InputMismatchError
        If they differ by more than rounding.
    """
    expected = np.asarray(booster.predict(X, pred_contrib=True, num_threads=1), dtype=np.float64)
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    worst = float(np.abs(found - expected).max(initial=0.0))
    if not worst <= TOLERANCE[dtype] * scale:
        raise InputMismatchError(
            f"expected the contributions of LightGBM, found {worst:.3g} beside them on {len(X)} rows: "
            "this kind of model isn't known, use booster.predict(X, pred_contrib=True)",
            difference=worst,
        )
