"""The whole line once more: dataset, model, evaluation, registry, and challenger against champion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from icp_ml.data.censoring import last_day
from icp_ml.data.dataset import Dataset, build_dataset
from icp_ml.data.splits import split_out_of_time
from icp_ml.data.windows import quarter_ends
from icp_ml.errors import NotEnoughDataError, TrackingError
from icp_ml.model.evaluation import Evaluation, evaluate
from icp_ml.scratch import scratch_folder
from icp_ml.serve.bundle import save
from icp_ml.serve.configured import train_configured
from icp_ml.serve.gate import Decision, Rules
from icp_ml.serve.icpmodel import IcpModel, plain
from icp_ml.serve.judging import judge
from icp_ml.serve.record import RunRecord, run_record
from icp_ml.serve.score import score_rows

if TYPE_CHECKING:
    from icp_ml.config import Config
    from icp_ml.data.tables import Tables

Draw = Callable[[IcpModel, Evaluation], Mapping[str, str | bytes]]
Probe = Callable[[IcpModel], None]

_PROBE_ROWS = 50
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier retraining on the same data came to.

    Parameters
    ----------
    version
        Its version.
    promoted
        Whether it was promoted and not rolled back since.
    reason
        Why, as noted then.
    """

    version: str
    promoted: bool
    reason: str


class Tracker(Protocol):
    """Where versions live. :class:`icp_ml.MlflowTracker` is one; a test may keep them in memory."""

    def tidy(self) -> None:
        """Finish or mark what killed jobs left behind."""

    def earlier(self, identity: str) -> Earlier | None:
        """Return what came of the same data and plan, or None."""

    def log(self, record: RunRecord, bundle: Path, *, probe: Probe | None = None) -> str:
        """Keep a run and its bundle, show the reloaded model to ``probe``, register it as the challenger."""

    def load(self, version: str) -> IcpModel:
        """Return the model of a version, with ``version`` set."""

    def champion(self) -> str | None:
        """Return the champion's version, or None when there is none yet."""

    def promote(
        self, version: str, reason: str, *, replaces: str | None, evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Make a version the champion, or raise TrackingError if the champion is no longer ``replaces``."""

    def reject(self, version: str, reason: str, *, evidence: Mapping[str, Any] | None = None) -> None:
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
    decision
        Everything the gate asked; None for a repeat.
    repeated
        The same data were trained on before with the same settings: this is what came of it then.
    """

    promoted: bool
    reason: str
    version: str
    model: IcpModel
    evaluation: Evaluation
    decision: Decision | None = None
    repeated: bool = False


def retrain(
    tables: Tables,
    config: Config,
    tracker: Tracker,
    *,
    draw: Draw | None = None,
    rules: Rules | None = None,
    force: bool = False,
) -> Outcome:
    """Train on what is known now, register the model, and promote it unless it may be worse.

    A model is registered only after it was read back and scored as trained. Then champion and challenger are
    judged on the newest accounts that neither saw, see :func:`icp_ml.serve.gate.decide`. Killed at any
    moment, it leaves the champion in place, and a repeat completes.

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
    rules
        Margins and levels of the gate.
    force
        Train also when the same data with the same settings were trained on before.

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
        The registry refused, or the stored model scores differently.
    """
    rules = rules or Rules()
    tracker.tidy()
    dataset = dataset_of(tables, config)
    test_from = _test_from(dataset, config)
    known, newest = split_out_of_time(dataset, test_from=test_from)
    plan = plan_of(config, rules)
    identity = identity_of(dataset, plan)
    earlier = None if force else tracker.earlier(identity)
    if earlier is not None:
        return _repeat(earlier, tracker, newest, config)
    days = snapshot_days(tables, config)
    model = train_configured(tables, known, test_from, config, snapshot_dates=days)
    evaluation = evaluate(model, newest, seed=config.seed)
    record = run_record(
        model,
        evaluation,
        params={"test_from": test_from, "test_rows": len(newest)},
        files=draw(model, evaluation) if draw is not None else {},
        plan=plan,
        identity=identity,
    )
    with scratch_folder() as folder:
        bundle = folder / "bundle"
        save(model, bundle)
        version = tracker.log(record, bundle, probe=lambda stored: _probe(model, stored, newest))
    stored = tracker.load(version)
    decision = settle(stored, newest, version, tracker, rules=rules, seed=config.seed)
    return Outcome(decision.promoted, decision.reason, version, stored, evaluation, decision)


def settle(
    challenger: IcpModel, dataset: Dataset, version: str, tracker: Tracker, *, rules: Rules, seed: int
) -> Decision:
    """Judge a registered model against the champion and tell the tracker; again if the champion changed.

    Parameters
    ----------
    challenger
        The model of ``version``.
    dataset
        Labelled accounts; those that either model saw are left out.
    version
        The challenger's version in the tracker.
    tracker
        Where versions live.
    rules
        Margins and levels of the gate.
    seed
        Seed of the resampling of accounts.

    Raises
    ------
    TrackingError
        The registry refused, or the champion kept changing.
    """
    for attempt in range(_ATTEMPTS):
        current = tracker.champion()
        champion = None if current is None else tracker.load(current)
        decision = judge(challenger, champion, dataset, rules=rules, seed=seed)
        if not decision.promoted:
            tracker.reject(version, decision.reason, evidence=decision.to_state())
            return decision
        try:
            tracker.promote(version, decision.reason, replaces=current, evidence=decision.to_state())
        except TrackingError:
            if attempt == _ATTEMPTS - 1 or not _has_changed(tracker, current):
                raise
            continue
        return decision
    raise AssertionError


def _has_changed(tracker: Tracker, champion: str | None) -> bool:
    """Say whether there's another champion now; no when the tracker doesn't answer any more."""
    try:
        return tracker.champion() != champion
    except TrackingError:
        return False


def plan_of(config: Config, rules: Rules) -> dict[str, Any]:
    """Return the settings that decide what comes of given data, as plain data."""
    from icp_ml import __version__

    data = {name: value for name, value in asdict(config.data).items() if name != "source"}
    apart = ("seed", "reasons")
    training = {name: value for name, value in asdict(config.model).items() if name not in apart}
    plan: dict[str, Any] = plain(
        {
            "data": data,
            "training": training,
            "seed": config.seed,
            "gate": asdict(rules),
            "icp_ml": __version__,
        }
    )
    return plan


def identity_of(dataset: Dataset, plan: Mapping[str, Any]) -> str:
    """Return a SHA-256 of the whole dataset and the plan: the same for the same work."""
    text = json.dumps({"data": dataset.fingerprint(), "plan": plan}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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


def _repeat(earlier: Earlier, tracker: Tracker, newest: Dataset, config: Config) -> Outcome:
    """Return what came of the same data then; its model is measured again, which gives the same figures."""
    model = tracker.load(earlier.version)
    reason = f"nothing new: the same data and settings gave {earlier.version} before; {earlier.reason}"
    evaluation = evaluate(model, newest, seed=config.seed)
    return Outcome(earlier.promoted, reason, earlier.version, model, evaluation, repeated=True)


def _probe(model: IcpModel, stored: IcpModel, dataset: Dataset) -> None:
    """Check that the stored model scores as the trained one does, before anybody can use it."""
    rows = dataset.features.head(_PROBE_ROWS)
    expected, _ = score_rows(model, rows, reasons=1)
    found, _ = score_rows(stored, rows, reasons=1)
    columns = [name for name in expected if name != "model_version"]
    if not expected[columns].equals(found[columns]):
        raise TrackingError(
            f"expected the stored model to score as trained on {len(rows)} accounts, found other scores: "
            "nothing was registered; check the artifact store",
            accounts=len(rows),
        )
