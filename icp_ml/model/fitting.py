"""The fit itself, as functions: out-of-fold log-odds, the choice they make, calibration, the final bags."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from icp_ml.data.schema import Schema
from icp_ml.model.calibration import Calibration, base_log_odds, fit_calibration, log_loss_rows
from icp_ml.model.candidates import CANDIDATES, Candidate, Member
from icp_ml.model.columns import Columns, Floats, Ints
from icp_ml.model.encoding import Encoder
from icp_ml.model.ensemble import BASELINE, Ensemble
from icp_ml.model.folds import group_folds, group_subsample, possible_folds
from icp_ml.model.stacking import calibrated_loss, choose_weights
from icp_ml.statistics.threads import one_blas_thread

BAG_SHARE = 0.9
# Bags of 90 % of the accounts vary like a delete-10 % jackknife. Twice that, because complexity chosen out of
# fold balances variance against squared bias; on simulated bases
# they cover 65 to 90 % of the true probabilities, the least where accounts are few.
BAG_VARIANCE = 2 * BAG_SHARE / (1 - BAG_SHARE)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Fitted:
    """Everything a fit found out.

    Parameters
    ----------
    ensemble
        What scores.
    cv_results
        One row per candidate, the base rate and the final choice.
    oof_log_odds
        Calibrated out-of-fold log-odds per row.
    base_rate
        Mean outcome.
    """

    ensemble: Ensemble
    cv_results: pd.DataFrame
    oof_log_odds: Floats
    base_rate: float


@dataclass(frozen=True)
class _Choice:
    complexity: dict[str, float]
    weights: dict[str, float]
    calibration: Calibration
    baseline: Calibration | None
    cv_results: pd.DataFrame
    oof_log_odds: Floats


def parallel(task: Callable[[T], R], items: Sequence[T], n_jobs: int | None) -> list[R]:
    """Run ``task`` on every item in threads, results in order; LightGBM and BLAS release the lock."""
    n_workers = min(n_jobs or os.cpu_count() or 1, len(items))
    if n_workers <= 1:
        return [task(item) for item in items]
    with ThreadPoolExecutor(n_workers) as pool:
        return list(pool.map(task, items))


def derive_seed(seed: int, *place: int) -> int:
    """Return a seed of its own for each place in the fit."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0] >> 1)


def fit_model(
    columns: Columns,
    schema: Schema,
    y: Floats,
    codes: Ints,
    *,
    candidates: Sequence[str],
    n_bags: int,
    n_folds: int,
    seed: int,
    n_jobs: int | None,
) -> Fitted:
    """Choose among candidates out of fold, calibrate, and fit the choice on all rows.

    Parameters
    ----------
    columns
        Feature columns, see :func:`icp_ml.model.columns.read_columns`.
    schema
        The source features.
    y
        Outcome per row, 0 or 1, both present.
    codes
        Account code per row; an account is never on both sides of a fold.
    candidates
        Names from :data:`icp_ml.model.candidates.CANDIDATES`.
    n_bags, n_folds, seed, n_jobs
        See ``PropensityClassifier``.
    """
    # Threads of BLAS below threads of ours would wait for each other.
    with one_blas_thread():
        return _fit_model(columns, schema, y, codes, candidates, n_bags, n_folds, seed, n_jobs)


def _fit_model(
    columns: Columns,
    schema: Schema,
    y: Floats,
    codes: Ints,
    candidates: Sequence[str],
    n_bags: int,
    n_folds: int,
    seed: int,
    n_jobs: int | None,
) -> Fitted:
    family = [CANDIDATES[name].for_rows(len(y)) for name in candidates]
    folds = possible_folds(y, codes, n_folds)
    if folds < 2:
        choice = _unvalidated_choice(family, y)
    else:
        paths = _out_of_fold(columns, schema, y, codes, family, folds, seed, n_jobs)
        choice = _choose(family, paths, y, codes)
    encoder, matrix = Encoder.fit_transform(columns, schema, y, codes, derive_seed(seed, 1))
    wanted = [
        candidate
        for candidate in family
        if choice.weights[candidate.name] > 0 or (candidate.name == BASELINE and choice.baseline)
    ]
    members = _fit_members(wanted, choice.complexity, encoder, matrix, y, codes, n_bags, seed, n_jobs)
    ensemble = Ensemble(
        encoder=encoder,
        members=members,
        weights={name: weight for name, weight in choice.weights.items() if weight > 0},
        calibration=choice.calibration,
        baseline=choice.baseline,
        bag_variance=BAG_VARIANCE,
    )
    return Fitted(ensemble, choice.cv_results, choice.oof_log_odds, float(y.mean()))


def n_repeats(n_rows: int) -> int:
    """Return how often the folds are drawn anew; small data need it and can afford it."""
    if n_rows <= 2500:
        return 3
    return 2 if n_rows <= 6000 else 1


def _out_of_fold(
    columns: Columns,
    schema: Schema,
    y: Floats,
    codes: Ints,
    family: Sequence[Candidate],
    n_folds: int,
    seed: int,
    n_jobs: int | None,
) -> dict[str, Floats]:
    """Log-odds per candidate, complexity and row, averaged over repeats."""
    repeats = n_repeats(len(y))
    fold = [group_folds(y, codes, n_folds, derive_seed(seed, 2, r)) for r in range(repeats)]

    def one(place: tuple[int, int]) -> list[Floats]:
        repeat, k = place
        train, held = np.flatnonzero(fold[repeat] != k), np.flatnonzero(fold[repeat] == k)
        group = np.unique(codes[train], return_inverse=True)[1]
        encoder, matrix = Encoder.fit_transform(
            columns.take(train), schema, y[train], group, derive_seed(seed, 3, repeat, k)
        )
        other = encoder.transform(columns.take(held))
        return [
            candidate.path(matrix, y[train], other, encoder.parts, derive_seed(seed, 4, repeat, k))
            for candidate in family
        ]

    places = [(repeat, k) for repeat in range(repeats) for k in range(n_folds)]
    total = {candidate.name: np.zeros((len(candidate.grid), len(y))) for candidate in family}
    for (repeat, k), found in zip(places, parallel(one, places, n_jobs), strict=True):
        held = np.flatnonzero(fold[repeat] == k)
        for candidate, path in zip(family, found, strict=True):
            total[candidate.name][:, held] += path / repeats
    return total


def _choose(family: Sequence[Candidate], paths: dict[str, Floats], y: Floats, codes: Ints) -> _Choice:
    complexity: dict[str, float] = {}
    single: dict[str, Floats] = {}
    rows: list[dict[str, Any]] = []
    for candidate in family:
        path = paths[candidate.name]
        best = int(np.argmin([calibrated_loss(log_odds, y, codes).mean() for log_odds in path]))
        complexity[candidate.name], single[candidate.name] = candidate.grid[best], path[best]
    stacked = np.array([single[candidate.name] for candidate in family])
    weights = choose_weights(stacked, y, codes)
    combined = np.tensordot(weights, stacked, axes=1)
    calibration = fit_calibration(combined, y, codes)
    baseline = fit_calibration(single[BASELINE], y, codes) if BASELINE in single else None
    rows = [
        _result(
            candidate.name,
            y,
            fit_calibration(single[candidate.name], y, codes).apply(single[candidate.name]),
            complexity[candidate.name],
            float(weight),
        )
        for candidate, weight in zip(family, weights, strict=True)
    ]
    final = calibration.apply(combined)
    rows.append(_result("base rate", y, np.full(len(y), base_log_odds(y)), np.nan, 0.0))
    rows.append(_result("chosen", y, final, np.nan, 1.0))
    names = [candidate.name for candidate in family]
    return _Choice(
        complexity=complexity,
        weights=dict(zip(names, (float(weight) for weight in weights), strict=True)),
        calibration=calibration,
        baseline=baseline,
        cv_results=pd.DataFrame(rows),
        oof_log_odds=final,
    )


def _unvalidated_choice(family: Sequence[Candidate], y: Floats) -> _Choice:
    """Without two accounts of each outcome nothing can be validated: everything says the base rate."""
    constant = Calibration(0.0, base_log_odds(y))
    log_odds = np.full(len(y), constant.intercept)
    weights = {candidate.name: 0.0 for candidate in family}
    weights[family[0].name] = 1.0
    has_baseline = any(candidate.name == BASELINE for candidate in family)
    return _Choice(
        complexity={candidate.name: candidate.grid[0] for candidate in family},
        weights=weights,
        calibration=constant,
        baseline=constant if has_baseline else None,
        cv_results=pd.DataFrame([_result("base rate", y, log_odds, np.nan, 0.0)]),
        oof_log_odds=log_odds,
    )


def _result(name: str, y: Floats, log_odds: Floats, complexity: float, weight: float) -> dict[str, Any]:
    return {
        "candidate": name,
        "log_loss": float(log_loss_rows(y, log_odds).mean()),
        "auc": float(roc_auc_score(y, log_odds)),
        "complexity": complexity,
        "weight": weight,
    }


def _fit_members(
    wanted: Sequence[Candidate],
    complexity: dict[str, float],
    encoder: Encoder,
    matrix: Floats,
    y: Floats,
    codes: Ints,
    n_bags: int,
    seed: int,
    n_jobs: int | None,
) -> dict[str, Member]:
    share = BAG_SHARE if n_bags > 1 else 1.0
    rows = [group_subsample(codes, y, share, derive_seed(seed, 5, bag)) for bag in range(n_bags)]

    def one(place: tuple[Candidate, int]) -> Any:
        candidate, bag = place
        chosen = complexity[candidate.name]
        return candidate.fit_one(
            matrix[rows[bag]], y[rows[bag]], encoder.parts, chosen, derive_seed(seed, 6, bag)
        )

    places = [(candidate, bag) for candidate in wanted for bag in range(n_bags)]
    fitted = parallel(one, places, n_jobs)
    members: dict[str, Member] = {}
    for candidate in wanted:
        own = [model for (name, _), model in zip(places, fitted, strict=True) if name is candidate]
        members[candidate.name] = candidate.member(own, matrix.shape[1])
    return members
