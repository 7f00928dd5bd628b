"""The whole line once more: dataset, model, evaluation, registry, and challenger against champion."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.censoring import last_day
from icp_ml.data.conform import conform
from icp_ml.data.dataset import Dataset, build_dataset
from icp_ml.data.splits import split_out_of_time
from icp_ml.data.windows import quarter_ends
from icp_ml.errors import NotEnoughDataError, TrackingError
from icp_ml.model.evaluation import Evaluation, evaluate
from icp_ml.serve.bundle import save
from icp_ml.serve.record import RunRecord, run_record
from icp_ml.serve.score import score_rows
from icp_ml.serve.training import IcpModel, train
from icp_ml.statistics import bootstrap_weights

if TYPE_CHECKING:
    from icp_ml.config import Config
    from icp_ml.data.tables import Tables

Floats = npt.NDArray[np.float64]
Draw = Callable[[IcpModel, Evaluation], Mapping[str, str | bytes]]

MARGIN = 0.005
"""Log loss by which a challenger may be worse than the champion and still count as not worse."""
_PROBE_ROWS = 50
_RESAMPLES = 1000
_UPPER = 0.95


class Tracker(Protocol):
    """Where versions live. :class:`icp_ml.MlflowTracker` is one; a test may keep them in memory."""

    def log(self, record: RunRecord, bundle: Path) -> str:
        """Keep a run and its bundle, register it as the challenger, and return the version's name."""

    def load(self, version: str) -> IcpModel:
        """Return the model of a version, with ``version`` set."""

    def champion(self) -> str | None:
        """Return the champion's version, or None when there is none yet."""

    def promote(self, version: str, reason: str, *, replaces: str | None) -> None:
        """Make a version the champion, unless the champion is no longer ``replaces``."""

    def reject(self, version: str, reason: str) -> None:
        """Mark a version as rejected; the champion stays."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a retraining came to.

    Parameters
    ----------
    promoted
        Whether the new model is now the champion.
    reason
        Why, in a sentence with figures.
    version
        The new version's name.
    model
        The new model, carrying its version.
    evaluation
        Its evaluation on the newest snapshots, which it never saw.
    """

    promoted: bool
    reason: str
    version: str
    model: IcpModel
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger against champion on the same rows.

    Parameters
    ----------
    difference
        Mean log loss of the challenger less the champion's; negative is better.
    low, high
        90 % interval from resampling accounts.
    accounts
        Accounts compared.
    targets
        Targets both models know.
    """

    difference: float
    low: float
    high: float
    accounts: int
    targets: tuple[str, ...]


def retrain(tables: Tables, config: Config, tracker: Tracker, *, draw: Draw | None = None) -> Outcome:
    """Train on what is known now, register the model, and promote it unless the champion is better.

    Parameters
    ----------
    tables
        The CRM tables as of today.
    config
        Snapshots, horizon, seed and the other settings.
    tracker
        Where versions live.
    draw
        Called with the model and its evaluation; returns files to keep beside it (name → text or bytes),
        such as figures and a report.

    Returns
    -------
    Whether the model was promoted, and why.

    Raises
    ------
    NotEnoughDataError
        No snapshot has a finished horizon, or too few accounts are known.
    LeakageError
        A feature knows the outcome.
    TrackingError
        The registry refused, the stored model scores differently, or the champion changed meanwhile.
    """
    dataset = dataset_of(tables, config)
    known, newest = split_out_of_time(dataset, test_from=_test_from(dataset, config))
    model = train(known, seed=config.seed)
    evaluation = evaluate(model, newest, seed=config.seed)
    record = run_record(
        model,
        evaluation,
        example=known.features,
        params={"test_from": _test_from(dataset, config), "test_rows": len(newest)},
        files=draw(model, evaluation) if draw is not None else {},
    )
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        save(model, bundle)
        version = tracker.log(record, bundle)
    stored = tracker.load(version)
    _probe(model, stored, newest, version, tracker)
    promoted, reason = judge(stored, newest, version, tracker, seed=config.seed)
    return Outcome(promoted, reason, version, stored, evaluation)


def dataset_of(tables: Tables, config: Config) -> Dataset:
    """Build the labelled dataset that the settings describe."""
    return build_dataset(
        tables,
        snapshot_dates=snapshot_days(tables, config),
        horizon_months=config.horizon_months,
        expansion_tolerance=config.expansion_tolerance,
        post_sale=config.post_sale,
        observed_until=config.observed_until,
        technology_grace_days=config.technology_grace_days,
    )


def compare(champion: IcpModel, challenger: IcpModel, dataset: Dataset, *, seed: int) -> Comparison:
    """Compare two models' log loss on the same accounts.

    Parameters
    ----------
    champion, challenger
        The models; they may have different columns.
    dataset
        Labelled accounts that the challenger never saw.
    seed
        Seed of the resampling of accounts.

    Returns
    -------
    The mean difference over the targets both know, with its 90 % interval.

    Raises
    ------
    NotEnoughDataError
        The models share no target with a known outcome.
    """
    shared = tuple(t for t in challenger.propensities if t in champion.propensities and t in dataset.targets)
    if not shared:
        raise NotEnoughDataError(
            "expected a target that champion, challenger and the newest snapshots share, found none: "
            "retrain with the champion's targets",
            champion=list(champion.propensities),
            challenger=list(challenger.propensities),
        )
    weights = bootstrap_weights(dataset.groups, _RESAMPLES, seed=seed)
    means, resampled = [], []
    for target in shared:
        rows, y = dataset.target(target)
        gap = _log_loss(challenger, dataset, target, rows, y) - _log_loss(champion, dataset, target, rows, y)
        drawn = weights[:, rows]
        means.append(float(gap.mean()))
        resampled.append((drawn @ gap) / np.maximum(drawn.sum(axis=1), 1.0))
    low, high = np.quantile(np.mean(resampled, axis=0), [1.0 - _UPPER, _UPPER])
    accounts = len(np.unique(dataset.groups))
    return Comparison(float(np.mean(means)), float(low), float(high), accounts, shared)


def snapshot_days(tables: Tables, config: Config) -> Sequence[date]:
    """Return the configured snapshots, else the quarter ends from first subscription to last known day.

    Raises
    ------
    NotEnoughDataError
        No quarter end lies in between.
    """
    if config.snapshot_dates:
        return config.snapshot_dates
    first = tables.required("subscriptions")["start_date"].min()
    last = config.observed_until or last_day(tables)
    days = quarter_ends(first.date(), last)
    if not days:
        raise NotEnoughDataError(
            f"expected a quarter end between {first.date()} and {last}, found none: name snapshot_dates",
            first=first.date(),
            last=last,
        )
    return days


def _test_from(dataset: Dataset, config: Config) -> date:
    """Return the first judging snapshot: as configured, else the newest with a finished horizon."""
    if config.test_from is not None:
        return config.test_from
    newest: pd.Timestamp = dataset.labels["snapshot_date"].max()
    return newest.date()


def _probe(model: IcpModel, stored: IcpModel, dataset: Dataset, version: str, tracker: Tracker) -> None:
    """Check that the stored version scores as the trained model does, before anybody can use it."""
    rows = dataset.features.head(_PROBE_ROWS)
    expected, _ = score_rows(model, rows, reasons=1)
    found, _ = score_rows(stored, rows, reasons=1)
    columns = [name for name in expected if name != "model_version"]
    if not expected[columns].equals(found[columns]):
        reason = f"the stored model doesn't score as the trained one on {len(rows)} accounts"
        tracker.reject(version, reason)
        raise TrackingError(
            f"expected version {version} to score as trained, found: {reason}", version=version
        )


def judge(
    challenger: IcpModel, dataset: Dataset, version: str, tracker: Tracker, *, seed: int
) -> tuple[bool, str]:
    """Promote a registered model unless the champion is better on the same accounts; say why.

    Parameters
    ----------
    challenger
        The model of ``version``.
    dataset
        Labelled accounts that the challenger never saw.
    version
        The challenger's version in the tracker.
    tracker
        Where versions live.
    seed
        Seed of the resampling of accounts.

    Returns
    -------
    Whether it was promoted, and the reason with its figures.
    """
    current = tracker.champion()
    if current is None:
        reason = "first model: there was no champion"
        tracker.promote(version, reason, replaces=None)
        return True, reason
    found = compare(tracker.load(current), challenger, dataset, seed=seed)
    figures = (
        f"log loss {found.difference:+.4f} against champion {current} "
        f"(90 % interval {found.low:+.4f} to {found.high:+.4f}, {found.accounts} accounts, "
        f"{' and '.join(found.targets)})"
    )
    if found.high <= MARGIN:
        reason = f"not worse than the champion: {figures}, within the margin of {MARGIN}"
        tracker.promote(version, reason, replaces=current)
        return True, reason
    reason = f"may be worse than the champion: {figures}, beyond the margin of {MARGIN}"
    tracker.reject(version, reason)
    return False, reason


def _log_loss(
    model: IcpModel, dataset: Dataset, target: str, rows: npt.NDArray[np.int64], y: Floats
) -> Floats:
    """Return each row's log loss."""
    table = conform(dataset.features.iloc[rows], model.schema)[model.schema.names]
    chance = np.clip(model.propensities[target].predict_proba(table)[:, 1], 1e-12, 1.0 - 1e-12)
    return np.asarray(-(y * np.log(chance) + (1.0 - y) * np.log(1.0 - chance)), dtype=np.float64)
