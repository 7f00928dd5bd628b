"""How good the probabilities are on accounts the model never saw, with intervals over accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit, ndtri

from icp_ml import parameters
from icp_ml.data.dataset import Dataset
from icp_ml.errors import NotEnoughDataError
from icp_ml.model.calibration import Z90
from icp_ml.model.columns import Floats
from icp_ml.model.folds import group_codes
from icp_ml.model.metrics import METRICS, decile_parts, metric_errors, score_metrics
from icp_ml.statistics import bootstrap_weights

LEVEL = (0.05, 0.95)
CELLS = 4_000_000
MOST_RESAMPLES = 1_000_000
COLUMNS = ["name", "target", "estimate", "low", "high", "n", "base_rate", "logistic"]
GAP_COLUMNS = ["name", "target", "folds", "estimate", "gap", "low", "high", "beyond_luck"]
# The error of folds knows how lucky accounts are as judges and not as teachers: what its variance counts, so
# that gaps spread as their intervals say (experiments/drift/luck.py).
TRAINING_LUCK = {"auc": 2.5, "log_loss": 2.0, "calibration_slope": 4.0}
# Chance that a gap of any target is called more than luck where it isn't.
FALSE_GAPS = 0.05

Statistic = Callable[[Floats], dict[str, Floats]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Parameters
    ----------
    metrics
        One row per metric and target: ``name``, ``target``, ``estimate``, ``low`` and ``high`` (90 %
        bootstrap interval over accounts), ``n`` (accounts), and the same metric of two baselines:
        ``base_rate`` (everyone gets the training base rate) and ``logistic`` (the plain logistic). NaN where
        a metric has no value.
    deciles
        Ten rows per target, best scores first: ``target``, ``decile``, ``n_rows``, ``predicted``,
        ``observed``, ``observed_low``, ``observed_high``, ``lift``.
    facts
        Numbers of rows and accounts, the bootstrap's size and seed.
    gaps
        AUC, log loss and calibration slope per target against what the folds of the training promised:
        ``folds`` (1 for the slope, which calibration sees to), ``estimate``, ``gap`` (estimate - folds),
        ``low`` and ``high`` (90 % interval of the gap), ``beyond_luck`` (whether the accounts differ from
        those that taught by more than luck, at 5 % for all gaps together).

    Notes
    -----
    ``calibration_intercept`` is the shift of log-odds that makes the mean prediction right (0 is perfect),
    ``calibration_slope`` the factor on log-odds of a two-parameter refit (1 is perfect).
    ``lift_decile_k`` is the rate of the good outcome in the k-th best tenth of rows over the overall rate.
    """

    metrics: pd.DataFrame
    deciles: pd.DataFrame
    facts: dict[str, Any]
    gaps: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=GAP_COLUMNS))

    def value(self, name: str, target: str) -> float:
        """Return one estimate."""
        found = self.metrics.query("name == @name and target == @target")["estimate"]
        if len(found) != 1:
            raise KeyError(f"expected one row with name {name!r} and target {target!r}, found {len(found)}")
        return float(found.iloc[0])


def evaluate(model: Any, dataset: Dataset, *, n_bootstrap: int = 200, seed: int = 0) -> Evaluation:
    """Measure a model on a dataset it was not trained on.

    Parameters
    ----------
    model
        Anything with ``propensities`` (target → fitted :class:`~icp_ml.PropensityClassifier`); if it also has
        ``expected_ratio(features)``, expected and realised net revenue retention are compared.
    dataset
        Accounts with known outcomes.
    n_bootstrap
        Resamples of accounts.
    seed
        Seed of the resamples.

    Raises
    ------
    ConfigError
        A setting is out of range.
    NotEnoughDataError
        If no row of the dataset has a known outcome that the model predicts.
    """
    seed = parameters.seed(seed)
    n_bootstrap = parameters.whole("n_bootstrap", n_bootstrap, 1, MOST_RESAMPLES)
    targets = [name for name in model.propensities if len(dataset.target(name)[0])]
    if not targets:
        raise NotEnoughDataError(
            f"expected rows with known outcomes among {list(model.propensities)}, found 0 of {len(dataset)} "
            "rows: choose earlier snapshots or a shorter horizon",
            n_rows=len(dataset),
        )
    metrics, deciles, gaps = [], [], []
    for name in targets:
        rows, y = dataset.target(name)
        features, groups = dataset.features.iloc[rows], dataset.groups[rows]
        propensity = model.propensities[name]
        log_odds = propensity.decision_function(features)
        n = len(np.unique(groups.astype(str)))
        table, parts = _one_target(y, log_odds, groups, n_bootstrap, seed)
        table["base_rate"] = _plain(y, np.full(len(y), logit(propensity.base_rate_)))
        baseline = propensity.baseline_proba(features)
        table["logistic"] = np.nan if baseline is None else _plain(y, logit(baseline))
        metrics.append(table.assign(target=name, n=n))
        found = metric_errors(y, log_odds, group_codes(groups, len(y)))
        gaps += [
            {"target": name, **gap} for gap in _gaps(propensity.cv_results_.iloc[-1], found, len(targets))
        ]
        deciles.append(parts.assign(target=name))
    if hasattr(model, "expected_ratio"):
        metrics.append(_revenue(model, dataset, n_bootstrap, seed))
    facts = {
        "n_rows": len(dataset),
        "n_accounts": int(pd.Series(dataset.groups).nunique()),
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    tables = [table for table in metrics if len(table)]
    columns = ["target", "decile", "n_rows", "predicted", "observed", "observed_low", "observed_high", "lift"]
    return Evaluation(
        metrics=pd.concat(tables, ignore_index=True)[COLUMNS],
        deciles=pd.concat(deciles, ignore_index=True)[columns],
        facts=facts,
        gaps=pd.DataFrame(gaps)[GAP_COLUMNS],
    )


def _gaps(promised: pd.Series, found: dict[str, tuple[float, float]], n_targets: int) -> list[dict[str, Any]]:
    """Hold what came against the folds of the training.

    The error of folds alone is too small for what one fitted model comes to (Bates, Hastie & Tibshirani 2024,
    *Journal of the American Statistical Association* 119:1434).
    """
    validated = promised["candidate"] == "chosen"
    strict = float(ndtri(1 - FALSE_GAPS / (2 * n_targets * len(found))))
    rows = []
    for name, (value, error) in found.items():
        folds = 1.0 if name == "calibration_slope" else float(promised[name])
        spread = float(np.sqrt(error**2 + TRAINING_LUCK[name] * promised[f"{name}_error"] ** 2))
        gap = value - folds if validated else np.nan
        rows.append(
            {
                "name": name,
                "folds": folds if validated else np.nan,
                "estimate": value,
                "gap": gap,
                "low": gap - Z90 * spread,
                "high": gap + Z90 * spread,
                "beyond_luck": bool(abs(gap) > strict * spread),
            }
        )
    return rows


def _one_target(
    y: Floats, log_odds: Floats, groups: Any, n_bootstrap: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    def everything(weights: Floats) -> dict[str, Floats]:
        return {**score_metrics(y, log_odds, weights), **decile_parts(y, log_odds, weights)}

    found = _bootstrap(everything, groups, n_bootstrap, seed)
    table = found.loc[list(METRICS)].reset_index(names="name")
    deciles = pd.DataFrame(
        {
            "decile": np.arange(1, 11),
            "n_rows": np.diff(np.round(np.linspace(0, len(y), 11))).astype(int),
            "predicted": [found.loc[f"predicted_{k}", "estimate"] for k in range(1, 11)],
            "observed": [found.loc[f"observed_{k}", "estimate"] for k in range(1, 11)],
            "observed_low": [found.loc[f"observed_{k}", "low"] for k in range(1, 11)],
            "observed_high": [found.loc[f"observed_{k}", "high"] for k in range(1, 11)],
            "lift": [found.loc[f"lift_decile_{k}", "estimate"] for k in range(1, 11)],
        }
    )
    return table, deciles


def _plain(y: Floats, log_odds: Floats) -> Floats:
    found = score_metrics(y, log_odds, np.ones((1, len(y))))
    return np.array([found[name][0] for name in METRICS])


def _revenue(model: Any, dataset: Dataset, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Compare expected with realised net revenue retention, on rows whose revenue is known at both ends."""
    starting = dataset.labels["starting_arr"].to_numpy(dtype=np.float64, na_value=np.nan)
    ending = dataset.labels["ending_arr"].to_numpy(dtype=np.float64, na_value=np.nan)
    rows = np.flatnonzero((starting > 0) & ~np.isnan(ending))
    if len(rows) == 0:
        return pd.DataFrame(columns=COLUMNS)
    ratio = model.expected_ratio(dataset.features.iloc[rows])
    if ratio is None or np.isnan(ratio).any():
        return pd.DataFrame(columns=COLUMNS)
    start, end, groups = starting[rows], ending[rows], dataset.groups[rows]

    def revenue(weights: Floats) -> dict[str, Floats]:
        total = (weights * start).sum(axis=1)
        expected, realised = (weights * start * ratio).sum(axis=1), (weights * end).sum(axis=1)
        return {
            "expected_nrr": expected / total,
            "realised_nrr": realised / total,
            "expected_minus_realised_nrr": (expected - realised) / total,
        }

    table = _bootstrap(revenue, groups, n_bootstrap, seed).reset_index(names="name")
    n = len(np.unique(groups.astype(str)))
    return table.assign(target="nrr", n=n, base_rate=np.nan, logistic=np.nan)


def _bootstrap(statistic: Statistic, groups: Any, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """Estimate and interval per statistic: on all rows, and over resamples of accounts in bounded memory."""
    estimate = statistic(np.ones((1, len(groups))))
    drawn: dict[str, list[Floats]] = {name: [] for name in estimate}
    for weights in _resamples(groups, n_bootstrap, seed):
        for name, values in statistic(weights).items():
            drawn[name].append(values)
    rows = {}
    for name, value in estimate.items():
        values = np.concatenate(drawn[name]) if drawn[name] else np.empty(0)
        values = values[~np.isnan(values)]
        low, high = np.quantile(values, LEVEL) if len(values) else (np.nan, np.nan)
        rows[name] = {"estimate": float(value[0]), "low": float(low), "high": float(high)}
    return pd.DataFrame.from_dict(rows, orient="index")


def _resamples(groups: Any, n_bootstrap: int, seed: int) -> Iterator[Floats]:
    texts = np.asarray(groups).astype(str)
    size = int(max(1, min(n_bootstrap, CELLS // max(len(texts), 1))))
    for place, start in enumerate(range(0, n_bootstrap, size)):
        n = min(size, n_bootstrap - start)
        chunk = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
        yield bootstrap_weights(texts, n, seed=chunk)
