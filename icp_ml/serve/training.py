"""From a labelled dataset to one model: retention, expansion, profile, and the reference for scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from icp_ml import parameters
from icp_ml.config import OBJECTIVES
from icp_ml.data.dataset import Dataset
from icp_ml.data.floor import grouped_features
from icp_ml.errors import ConfigError, NotEnoughDataError
from icp_ml.insight.building import build_profile
from icp_ml.model.columns import read_columns
from icp_ml.model.folds import group_codes
from icp_ml.model.propensity import PropensityClassifier
from icp_ml.model.tripwires import facts_of, watch
from icp_ml.serve.icpmodel import IcpModel, plain
from icp_ml.serve.reference import PERCENTILES, Ratios, Reference, arr_ratios, seen_values
from icp_ml.serve.typicality import Typicality, fit_typicality
from icp_ml.serve.unfinished import Unfinished, fill_in
from icp_ml.statistics.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icp_ml.data.follow_up import FollowUp

Floats = npt.NDArray[np.float64]

MODEL_TARGETS = ("retained", "expanded")
MIN_EVENTS = 20
MOST_EVENTS = 10**9
_PACKAGES = ("icp-ml", "lightgbm", "scikit-learn", "numpy", "pandas", "pyarrow")


def train(
    dataset: Dataset,
    *,
    seed: int = 0,
    profile: bool = True,
    n_jobs: int | None = None,
    allow_leaks: Sequence[str] = (),
    min_events: int = MIN_EVENTS,
    objective: str = "probability",
    follow_up: FollowUp | None = None,
    sample_weight: npt.ArrayLike | None = None,
    rising: Sequence[str] = (),
    falling: Sequence[str] = (),
) -> IcpModel:
    """Train a model: one calibrated classifier per target, the profile, and the reference.

    Parameters
    ----------
    dataset
        Labelled accounts.
    seed
        Seed of everything random; the same dataset and seed give the same bytes.
    profile
        Whether to look for traits and segments; False is faster and leaves ``icp_match`` unknown.
    n_jobs
        Threads over folds and bags; None is all cores. The result doesn't depend on it.
    allow_leaks
        Features that may separate a target almost perfectly, because you know why they do; no tripwire
        speaks of them.
    min_events
        Least number of accounts with the rarer outcome for a target to be modelled.
    objective
        ``"probability"``: retention is learnt from finished windows. ``"hazard"``: also from ``follow_up``,
        every month that is known of windows that aren't over, see :func:`icp_ml.serve.unfinished.fill_in`.
        What is shipped is the same kind of model, with contributions that add up.
    follow_up
        What :func:`icp_ml.follow_up` gave for the same tables, needed by ``"hazard"``. To test out of time,
        let it end where the test begins (``observed_until``).
    sample_weight
        How much each row of the dataset counts in the classifiers, such as :func:`icp_ml.censoring_weights`;
        the profile counts accounts.
    rising, falling
        Numeric or yes/no features with which no chance may fall, or rise, all else equal (monotone
        constraints): what a sales team wouldn't believe, and what noise makes where accounts are few. An
        unknown value may be anywhere.

    Raises
    ------
    ConfigError
        An unknown objective, a hazard without ``follow_up``, weights of another length, or rising or falling
        features that are none or have no order.
    LeakageError
        A single feature separates a target.
    NotEnoughDataError
        No target has enough accounts of both outcomes.

    Warns
    -----
    LeakageWarning
        Columns that seem to know the outcome were left out; all that was found is in ``facts["tripwires"]``.
    """
    seed, n_jobs = parameters.seed(seed), parameters.jobs(n_jobs)
    profile = parameters.flag("profile", profile)
    min_events = parameters.whole("min_events", min_events, 0, MOST_EVENTS)
    allow_leaks = parameters.texts("allow_leaks", allow_leaks)
    rising, falling = parameters.texts("rising", rising), parameters.texts("falling", falling)
    weights = _check_objective(objective, follow_up, sample_weight, len(dataset))
    given = dataset
    directed = replace(given, schema=given.schema.directed(rising=rising, falling=falling))
    dataset, findings = watch(directed, allow=allow_leaks, seed=seed)
    usable, skipped = _usable_targets(dataset, min_events)
    with one_blas_thread():
        extra = None
        if follow_up is not None and "retained" in usable:
            extra = fill_in(dataset, follow_up, seed=seed, n_jobs=n_jobs)
        propensities = {
            name: _fit_target(
                dataset, name, weights, extra if name == "retained" else None, seed=seed, n_jobs=n_jobs
            )
            for name in MODEL_TARGETS
            if name in usable
        }
        found = None
        if profile:
            shared = grouped_features(
                dataset.features, dataset.schema, group_codes(dataset.groups, len(dataset))
            )
            found = build_profile(replace(dataset, features=shared), propensities, seed=seed, n_jobs=n_jobs)
        reference = _build_reference(dataset, propensities)
    facts = _training_facts(given, propensities, reference, seed=seed, skipped=skipped)
    facts["tripwires"] = facts_of(findings)
    facts["objective"] = objective
    if extra is not None:
        facts["unfinished"] = extra.facts
    if weights is not None:
        facts["effective_rows"] = float(weights.sum() ** 2 / (weights**2).sum())
    return IcpModel(dataset.schema, propensities, found, reference, facts)


def _usable_targets(dataset: Dataset, min_events: int) -> tuple[set[str], dict[str, str]]:
    """Return the targets that can be modelled, and why each other one can't."""
    skipped: dict[str, str] = {}
    for name in MODEL_TARGETS:
        if name not in dataset.targets:
            skipped[name] = "no account has a known outcome"
            continue
        rarer, outcome = _rarer_events(dataset, name)
        if rarer < max(min_events, 1):
            skipped[name] = f"{rarer} accounts with {name} = {outcome}, fewer than {min_events}"
    usable = set(MODEL_TARGETS) - set(skipped)
    if not usable:
        raise NotEnoughDataError(
            f"expected at least {min_events} accounts of each outcome for retained or expanded, found "
            + "; ".join(f"{name}: {why}" for name, why in skipped.items())
            + ": add accounts or older snapshots, or lower min_events",
            skipped=skipped,
            min_events=min_events,
        )
    return usable, skipped


def _rarer_events(dataset: Dataset, name: str) -> tuple[int, bool]:
    rows, y = dataset.target(name)
    groups = dataset.groups[rows]
    counts = {outcome: len(np.unique(groups[y == float(outcome)])) for outcome in (False, True)}
    rarer = min(counts, key=lambda outcome: counts[outcome])
    return counts[rarer], rarer


def _check_objective(
    objective: str, follow_up: FollowUp | None, sample_weight: npt.ArrayLike | None, n_rows: int
) -> Floats | None:
    """Return the weights as an array, or say what doesn't fit."""
    parameters.choice("objective", objective, OBJECTIVES)
    if (objective == "hazard") != (follow_up is not None):
        raise ConfigError(
            'expected follow_up with objective="hazard" and only with it, found '
            f"{'none' if follow_up is None else 'one'} with {objective!r}: pass what follow_up gave",
            objective=objective,
        )
    if sample_weight is None:
        return None
    return parameters.weights("sample_weight", sample_weight, n_rows)


def _fit_target(
    dataset: Dataset,
    name: str,
    weights: Floats | None,
    extra: Unfinished | None,
    *,
    seed: int,
    n_jobs: int | None,
) -> PropensityClassifier:
    rows, y = dataset.target(name)
    features, groups = dataset.features.iloc[rows], dataset.groups[rows]
    counted = None if weights is None else weights[rows]
    if extra is not None and len(extra.outcome):
        counted = np.concatenate([np.ones(len(rows)) if counted is None else counted, extra.weights])
        features = pd.concat([features, extra.features], ignore_index=True)
        y, groups = np.concatenate([y, extra.outcome]), np.concatenate([groups, extra.groups])
    features = grouped_features(features, dataset.schema, group_codes(groups, len(groups)))
    classifier = PropensityClassifier(random_state=seed, n_jobs=n_jobs)
    classifier.fit_features(features, dataset.schema, y, groups, counted)
    # What comes after are endings that nobody has seen: nothing is measured on them.
    classifier.oof_log_odds_ = classifier.oof_log_odds_[: len(rows)]
    return classifier


def _build_reference(dataset: Dataset, propensities: Mapping[str, PropensityClassifier]) -> Reference:
    """Take each account's newest row and the scores it got from folds that didn't know it."""
    chances = {name: _out_of_fold(dataset, name, classifier) for name, classifier in propensities.items()}
    ratios = arr_ratios(dataset.labels)
    basis, fit_score = fit_scores(ratios, chances)
    newest = dataset.labels["account_id"].to_numpy()
    order = np.argsort(dataset.labels["snapshot_date"].to_numpy(), kind="stable")
    last = pd.Series(fit_score[order], index=newest[order]).dropna()
    last = last[~last.index.duplicated(keep="last")]
    return Reference(
        quantiles=tuple(float(value) for value in np.percentile(last.to_numpy(), PERCENTILES)),
        basis=basis,
        ratios=ratios,
        seen=seen_values(dataset.features, dataset.schema, dataset.groups),
        typicality=_newest_typicality(dataset),
    )


def _newest_typicality(dataset: Dataset) -> Typicality:
    """Fit what accounts look like on the newest row of each, so that each counts once."""
    order = np.argsort(dataset.labels["snapshot_date"].to_numpy(), kind="stable")
    account = pd.Series(dataset.labels["account_id"].to_numpy()[order])
    rows = np.sort(order[~account.duplicated(keep="last").to_numpy()])
    columns = read_columns(dataset.features.iloc[rows], dataset.schema)
    return fit_typicality(columns, dataset.groups[rows])


def fit_scores(ratios: Ratios, chances: Mapping[str, Floats]) -> tuple[str, Floats]:
    """Return the name and the values of the score that ranks accounts: expected NRR, else a probability."""
    ratio = ratios.expected(chances.get("retained"), chances.get("expanded"))
    if ratio is not None and np.isfinite(ratio).any():
        return "expected_nrr", ratio
    name = next(target for target in MODEL_TARGETS if target in chances)
    return f"p_{name}", chances[name]


def _out_of_fold(dataset: Dataset, name: str, classifier: PropensityClassifier) -> Floats:
    rows, _ = dataset.target(name)
    chance = np.full(len(dataset), np.nan)
    chance[rows] = expit(classifier.oof_log_odds_)
    return chance


def _training_facts(
    dataset: Dataset,
    propensities: Mapping[str, PropensityClassifier],
    reference: Reference,
    *,
    seed: int,
    skipped: Mapping[str, str],
) -> dict[str, Any]:
    targets = {}
    for name, classifier in propensities.items():
        rows, y = dataset.target(name)
        targets[name] = {
            "rows": len(rows),
            "accounts": len(np.unique(dataset.labels["account_id"].to_numpy()[rows])),
            "events": int(y.sum()),
            "base_rate": float(y.mean()),
            "chosen": str(classifier.chosen_),
        }
    dates = dataset.labels["snapshot_date"].dropna()
    cap = reference.ratios.cap
    return {
        "rows": len(dataset),
        "accounts": int(dataset.labels["account_id"].nunique()),
        "targets": targets,
        "skipped_targets": dict(skipped),
        "first_snapshot": str(dates.min().date()) if len(dates) else None,
        "last_snapshot": str(dates.max().date()) if len(dates) else None,
        "horizon_months": dataset.horizon_months,
        "dataset_fingerprint": dataset.fingerprint(),
        "dataset": plain(dataset.facts),
        "fit_score": reference.basis,
        "arr_ratio_cap": cap if np.isfinite(cap) else None,
        "seed": seed,
        "packages": _package_versions(_PACKAGES),
    }


def _package_versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
