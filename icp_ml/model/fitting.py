"""The fit itself, as functions: out-of-fold log-odds, the choice they make, calibration, the final bags."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.schema import Schema
from icp_ml.model.calibration import Calibration, base_log_odds, fit_calibration, weighted_mean
from icp_ml.model.candidates import CANDIDATES, Candidate
from icp_ml.model.columns import Columns, Floats, Ints
from icp_ml.model.encoding import Encoder
from icp_ml.model.ensemble import BASELINE, Ensemble
from icp_ml.model.folds import group_codes, group_folds, group_subsample, possible_folds
from icp_ml.model.members import Member
from icp_ml.model.metrics import WITH_ERROR, metric_errors
from icp_ml.model.plans import Part
from icp_ml.model.stacking import calibrated_loss, choose_weights, judges
from icp_ml.statistics.threads import one_blas_thread

BAG_SHARE = 0.9
# Folds learn from at most so many rows and a bag holds at most so many: more change little and take hours.
CHOICE_ROWS = 60_000
BAG_ROWS = 200_000

CV_ERRORS = tuple(f"{name}_error" for name in WITH_ERROR)
CV_NUMBERS = ("log_loss", "auc", "complexity", "weight", *CV_ERRORS)

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
class Learnt:
    """What there is to learn from.

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
    weights
        How much each row counts; None counts all alike.
    """

    columns: Columns
    schema: Schema
    y: Floats
    codes: Ints
    weights: Floats | None = None

    @classmethod
    def of(
        cls, columns: Columns, schema: Schema, y: Floats, groups: npt.ArrayLike | None, weights: Floats | None
    ) -> Learnt:
        """Give accounts numbers and leave out rows of weight 0, which ``y`` doesn't have any more."""
        if weights is None:
            return cls(columns, schema, y, group_codes(groups, len(y)))
        rows = np.flatnonzero(weights > 0)
        codes = group_codes(None if groups is None else np.asarray(groups)[rows], len(y))
        return cls(columns.take(rows), schema, y, codes, weights[rows])

    def encode(self, rows: Ints, seed: int) -> tuple[Encoder, Floats]:
        """Fit an encoder on some rows and return it with their matrix."""
        group = np.unique(self.codes[rows], return_inverse=True)[1]
        return Encoder.fit_transform(
            self.columns.take(rows), self.schema, self.y[rows], group, seed, self.weigh(rows)
        )

    def weigh(self, rows: Ints) -> Floats | None:
        """Return the weights of some rows."""
        return None if self.weights is None else self.weights[rows]


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
    data: Learnt,
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
    data
        Columns, outcomes, accounts and weights.
    candidates
        Names from :data:`icp_ml.model.candidates.CANDIDATES`.
    n_bags, n_folds, seed, n_jobs
        See ``PropensityClassifier``.
    """
    # Threads of BLAS below threads of ours would wait for each other.
    with one_blas_thread():
        n_rows = len(data.y)
        worth = [name for name in candidates if CANDIDATES[name].is_worth(n_rows)] or candidates
        family = [CANDIDATES[name].for_rows(n_rows) for name in worth]
        folds = possible_folds(data.y, data.codes, n_folds)
        if folds < 2:
            choice = _unvalidated_choice(family, data)
        else:
            choice = _choose(family, _out_of_fold(data, family, folds, seed, n_jobs), data)
        encoder, members = _fit_members(data, family, choice, n_bags, seed, n_jobs)
    ensemble = Ensemble(
        encoder=encoder,
        members=members,
        weights={name: weight for name, weight in choice.weights.items() if weight > 0},
        calibration=choice.calibration,
        baseline=choice.baseline,
        bag_variance=bag_variance(_bag_share(len(data.y), n_bags)),
    )
    return Fitted(ensemble, choice.cv_results, choice.oof_log_odds, weighted_mean(data.y, data.weights))


def _bag_share(n_rows: int, n_bags: int) -> float:
    return min(BAG_SHARE if n_bags > 1 else 1.0, BAG_ROWS / n_rows)


def bag_variance(share: float) -> float:
    """Return the factor from the variance over bags of a share of the accounts to that over samples.

    Bags of 90 % of the accounts vary like a delete-10 % jackknife. Twice that, because complexity chosen out
    of fold balances variance against squared bias; on simulated bases the intervals cover 65 to 90 % of the
    true probabilities, the least where accounts are few.
    """
    share = min(share, BAG_SHARE)
    return 2 * share / (1 - share)


def n_repeats(n_rows: int) -> int:
    """Return how often the folds are drawn anew; small data need it and can afford it."""
    if n_rows <= 2500:
        return 3
    return 2 if n_rows <= 3500 else 1


def _out_of_fold(
    data: Learnt, family: Sequence[Candidate], n_folds: int, seed: int, n_jobs: int | None
) -> dict[str, Floats]:
    """Log-odds per candidate, complexity and row, averaged over repeats."""
    y, codes = data.y, data.codes
    repeats = n_repeats(len(y))
    fold = [group_folds(y, codes, n_folds, derive_seed(seed, 2, r)) for r in range(repeats)]

    def encode(repeat: int, k: int) -> tuple[Ints, Floats, Floats, tuple[Part, ...]]:
        train, held = np.flatnonzero(fold[repeat] != k), np.flatnonzero(fold[repeat] == k)
        train = _at_most(train, data, CHOICE_ROWS, derive_seed(seed, 7, repeat, k))
        encoder, matrix = data.encode(train, derive_seed(seed, 3, repeat, k))
        return train, matrix, encoder.transform(data.columns.take(held)), encoder.parts

    def learn(candidate: Candidate, place: int) -> Floats:
        train, matrix, other, parts = encoded[place].result()
        own = derive_seed(seed, 4, *places[place])
        return candidate.path(matrix, y[train], other, parts, own, data.weigh(train))

    places = [(repeat, k) for repeat in range(repeats) for k in range(n_folds)]
    total = {candidate.name: np.zeros((len(candidate.grid), len(y))) for candidate in family}
    # Tasks start in the order given: a fold is encoded while the candidates of the one before it learn, so
    # that no core waits for a last long fold, and few matrices are in memory.
    pool = ThreadPoolExecutor(n_jobs or os.cpu_count() or 1)
    try:
        encoded = {0: pool.submit(encode, *places[0])}
        paths: list[list[Future[Floats]]] = []
        for place in range(len(places)):
            if place + 1 < len(places):
                encoded[place + 1] = pool.submit(encode, *places[place + 1])
            paths.append([pool.submit(learn, candidate, place) for candidate in family])
        for place, (repeat, k) in enumerate(places):
            held = np.flatnonzero(fold[repeat] == k)
            for candidate, path in zip(family, paths[place], strict=True):
                total[candidate.name][:, held] += path.result() / repeats
            del encoded[place]
            paths[place].clear()
    finally:
        # After an error nobody waits for the rest.
        pool.shutdown(cancel_futures=True)
    return total


def _at_most(rows: Ints, data: Learnt, most: int, seed: int) -> Ints:
    """Return the rows, or those of a random part of their accounts."""
    if len(rows) <= most:
        return rows
    codes = np.unique(data.codes[rows], return_inverse=True)[1]
    return rows[group_subsample(codes, data.y[rows], most / len(rows), seed)]


def _choose(family: Sequence[Candidate], paths: dict[str, Floats], data: Learnt) -> _Choice:
    y, codes, weights = data.y, data.codes, data.weights
    complexity: dict[str, float] = {}
    single: dict[str, Floats] = {}
    few = judges(len(y))
    judging = y[few], codes[few], None if weights is None else weights[few]
    for candidate in family:
        path = paths[candidate.name]
        best = int(np.argmin([calibrated_loss(log_odds[few], *judging).mean() for log_odds in path]))
        complexity[candidate.name], single[candidate.name] = candidate.grid[best], path[best]
    stacked = np.array([single[candidate.name] for candidate in family])
    usual = np.array([float(candidate.usual) for candidate in family])
    shares = choose_weights(stacked, y, codes, usual if usual.any() else np.ones(len(family)), weights)
    combined = np.tensordot(shares, stacked, axes=1)
    calibration = fit_calibration(combined, y, codes, weights)
    baseline = fit_calibration(single[BASELINE], y, codes, weights) if BASELINE in single else None
    rows = [
        _result(
            candidate.name,
            data,
            fit_calibration(single[candidate.name], y, codes, weights).apply(single[candidate.name]),
            complexity[candidate.name],
            float(share),
        )
        for candidate, share in zip(family, shares, strict=True)
    ]
    final = calibration.apply(combined)
    rows.append(_result("base rate", data, np.full(len(y), base_log_odds(y, weights)), np.nan, 0.0))
    rows.append(_result("chosen", data, final, np.nan, 1.0))
    names = [candidate.name for candidate in family]
    return _Choice(
        complexity=complexity,
        weights=dict(zip(names, (float(share) for share in shares), strict=True)),
        calibration=calibration,
        baseline=baseline,
        cv_results=pd.DataFrame(rows),
        oof_log_odds=final,
    )


def _unvalidated_choice(family: Sequence[Candidate], data: Learnt) -> _Choice:
    """Without two accounts of each outcome nothing can be validated: everything says the base rate."""
    constant = Calibration(0.0, base_log_odds(data.y, data.weights))
    log_odds = np.full(len(data.y), constant.intercept)
    weights = {candidate.name: 0.0 for candidate in family}
    weights[family[0].name] = 1.0
    has_baseline = any(candidate.name == BASELINE for candidate in family)
    return _Choice(
        complexity={candidate.name: candidate.grid[0] for candidate in family},
        weights=weights,
        calibration=constant,
        baseline=constant if has_baseline else None,
        cv_results=pd.DataFrame([_result("base rate", data, log_odds, np.nan, 0.0)]),
        oof_log_odds=log_odds,
    )


def _result(name: str, data: Learnt, log_odds: Floats, complexity: float, weight: float) -> dict[str, Any]:
    found = metric_errors(data.y, log_odds, data.codes, data.weights)
    return {
        "candidate": name,
        "log_loss": found["log_loss"][0],
        "auc": found["auc"][0],
        "complexity": complexity,
        "weight": weight,
        **{f"{metric}_error": error for metric, (_, error) in found.items()},
    }


def _fit_members(
    data: Learnt, family: Sequence[Candidate], choice: _Choice, n_bags: int, seed: int, n_jobs: int | None
) -> tuple[Encoder, dict[str, Member]]:
    """Fit the candidates with weight, and the baseline, on bags of all rows."""
    encoder, matrix = Encoder.fit_transform(
        data.columns, data.schema, data.y, data.codes, derive_seed(seed, 1), data.weights
    )
    wanted = [
        candidate
        for candidate in family
        if choice.weights[candidate.name] > 0 or (candidate.name == BASELINE and choice.baseline)
    ]
    share = _bag_share(len(data.y), n_bags)
    bags = [group_subsample(data.codes, data.y, share, derive_seed(seed, 5, bag)) for bag in range(n_bags)]

    def one(place: tuple[Candidate, int]) -> Any:
        candidate, bag = place
        rows = bags[bag]
        chosen, own = choice.complexity[candidate.name], derive_seed(seed, 6, bag)
        return candidate.fit_one(matrix[rows], data.y[rows], encoder.parts, chosen, own, data.weigh(rows))

    places = [(candidate, bag) for candidate in wanted for bag in range(n_bags)]
    fitted = parallel(one, places, n_jobs)
    members: dict[str, Member] = {}
    for candidate in wanted:
        own = [model for (name, _), model in zip(places, fitted, strict=True) if name is candidate]
        members[candidate.name] = candidate.member(own, matrix.shape[1])
    return encoder, members
