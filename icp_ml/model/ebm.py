"""The one door to InterpretML: explainable boosting machines (Nori et al. 2019, arXiv:1909.09223) as steps.

Main effects only, one machine per model of the bag. What is learnt is a curve per column, so a saved model is
scored and explained without InterpretML.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from icp_ml.errors import MissingDependencyError
from icp_ml.model.columns import Floats, Ints
from icp_ml.model.steps import StepModel

ROUNDS = (3.0, 8.0, 20.0, 50.0, 120.0)
"""Passes over all columns: the complexity that folds choose."""
FIXED_PARAMS: dict[str, Any] = {
    "interactions": 0,
    "outer_bags": 1,
    "validation_size": 0,
    "learning_rate": 0.02,
    "max_bins": 32,
    # Without these a level whose few accounts all stayed goes to the sky.
    "min_samples_leaf": 10,
    "reg_lambda": 20.0,
    "n_jobs": 1,
}


def fit_ebm_path(
    X: Floats,
    y: Floats,
    rounds: Sequence[float],
    seed: int,
    weights: Floats | None = None,
    directions: Ints | None = None,
) -> list[StepModel]:
    """Fit one model per number of rounds.

    Parameters
    ----------
    X
        Encoded matrix, NaN = unknown.
    y
        Outcome per row, 0 or 1.
    rounds
        Numbers of passes over all columns, see :data:`ROUNDS`.
    seed
        Of the machine.
    weights
        How much each row counts; None counts all alike.
    directions
        1 or -1 per encoded column that must not push down or up, else 0; None: all may do either.

    Raises
    ------
    MissingDependencyError
        If InterpretML isn't installed.
    """
    try:
        from interpret.glassbox import ExplainableBoostingClassifier
    except ModuleNotFoundError as problem:
        raise MissingDependencyError(
            'expected interpret-core for the candidate "ebm", found none: pip install "icp-ml[ebm]"'
        ) from problem
    # Its plots can't show unknown values; nothing is plotted here.
    warnings.filterwarnings("ignore", "Missing values detected", UserWarning)
    # A column that nobody knows teaches nothing, and the machine stumbles over it.
    used = np.flatnonzero(~np.isnan(X).all(axis=0))
    few = X[:, used]
    path = []
    for number in rounds:
        machine = ExplainableBoostingClassifier(
            **FIXED_PARAMS,
            max_rounds=int(number),
            feature_types=["continuous"] * len(used),
            monotone_constraints=None if directions is None else directions[used].tolist(),
            random_state=seed % 2**31,
        )
        path.append(_steps(machine.fit(few, y, sample_weight=weights), few, used))
    return path


def _steps(machine: Any, X: Floats, used: Ints) -> StepModel:
    """Return a machine's curves as steps; a value on a cut belongs to its right."""
    parts: list[tuple[Floats, Floats, Floats]] = []
    columns: list[Ints] = []
    intercept = float(machine.intercept_[0])
    for (column,), scores in zip(machine.term_features_, machine.term_scores_, strict=True):
        thresholds = np.nextafter(machine.bins_[column][0], -np.inf)
        missing, curve = scores[0], scores[1:-1]
        values = X[:, column]
        unknown = float(np.isnan(values).mean())
        known = np.sort(values[~np.isnan(values)])
        above = 1 - np.searchsorted(known, thresholds, side="right") / max(len(known), 1)
        sizes = np.diff(curve)
        # Steps are centred on their shares: what that takes off goes to the intercept.
        mean = float(curve[0] + sizes @ above) if unknown < 1 else 0.0
        parts.append(
            (np.append(thresholds, np.nan), np.append(sizes, missing - mean), np.append(above, unknown))
        )
        columns.append(np.full(len(thresholds) + 1, used[column]))
        intercept += (1 - unknown) * mean + unknown * missing
    thresholds, sizes, shares = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = np.flatnonzero(sizes)
    return StepModel(np.concatenate(columns)[kept], thresholds[kept], sizes[kept], shares[kept], intercept)
