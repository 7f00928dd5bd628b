"""What can be known of a model between labels: who is scored, how good scores may be, how good they were."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from icp_ml import parameters
from icp_ml.data.conform import account_ids, conform
from icp_ml.data.ids import ids_preview
from icp_ml.errors import InputMismatchError, NotEnoughDataError
from icp_ml.insight.wording import target_noun
from icp_ml.model.columns import read_columns
from icp_ml.serve.monitor_drift import Limits, drift_rows
from icp_ml.serve.monitor_performance import LOG_LOSS, Levels, performance_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icp_ml.serve.icpmodel import IcpModel

Floats = npt.NDArray[np.float64]

LEAST_ACCOUNTS = 30
SHOWN = 5
LIMITS_TEXT = (
    "Estimates take the chances to be calibrated. They don't see when outcomes follow from the fields in "
    "another way than in training: only outcomes show that. Accounts count as independent of each other."
)


@dataclass(frozen=True, eq=False)
class Monitoring:
    """What was found about a batch.

    Parameters
    ----------
    drift
        One row per field and kind of change, alarms first: ``feature``, ``kind`` (number, level, tool, new,
        unknown; ``score`` and ``mix`` for the whole), ``what`` changed most, ``effect`` (batch minus training
        accounts, as a share of accounts with its sign), ``noise_floor`` (what luck stays below at these
        sizes, over all comparisons), ``reference`` and ``batch`` (the two shares), ``contribution_weight``
        (the field's share in the score), ``alarm``.
    performance
        One row per target and metric (auc, log_loss, churn or expansion): ``estimate`` with ``low`` and
        ``high`` (where the realised value is expected), ``realised`` with ``realised_low`` and
        ``realised_high`` (NaN before outcomes are known), ``trained`` (out of fold, in training), ``n``
        accounts, ``alarm_low`` and ``alarm_high`` (beyond is an ``alarm``; a better AUC or log loss is none).
    facts
        ``accounts``, ``training_accounts``, ``as_of`` (days, ISO), ``matured`` (target → accounts whose
        outcome is known), ``level`` of the intervals, ``false_alarms`` (chance of any), ``model_version``.
    """

    drift: pd.DataFrame
    performance: pd.DataFrame
    facts: Mapping[str, Any]

    @property
    def alarm(self) -> bool:
        """Whether anything calls for a look: a drift row or a realised measure."""
        return bool(self.drift["alarm"].any() or self.performance["alarm"].any())

    def to_text(self) -> str:
        """Return what was found in sentences; association only."""
        facts = self.facts
        days = f" of {' to '.join(facts['as_of'])}" if facts["as_of"] else ""
        head = (
            f"{facts['accounts']:,} accounts{days} against {facts['training_accounts']:,} training accounts: "
            f"{'alarm' if self.alarm else 'no alarm'}."
        )
        lines = [head, *_drift_lines(self.drift), *_performance_lines(self.performance, facts)]
        return "\n".join([*lines, LIMITS_TEXT])

    def to_state(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; NaN becomes None."""
        tables = {
            name: _records(table.astype(object).where(table.notna(), None))
            for name, table in (("drift", self.drift), ("performance", self.performance))
        }
        return {"alarm": self.alarm, "facts": dict(self.facts), **tables}


def monitor(
    model: IcpModel,
    features: pd.DataFrame,
    labels: pd.DataFrame | None = None,
    *,
    level: float = 0.95,
    false_alarms: float = 0.03,
    material: float = 0.05,
    least_weight: float = 0.01,
) -> Monitoring:
    """Say how a batch differs from the training accounts, and how good its scores may be and were.

    Parameters
    ----------
    model
        A trained model; the bundle holds all that the batch is compared with.
    features
        Features frame, or the user's own frame of a ``Dataset.from_frame`` model; one row per account, such
        as one quarter of the base.
    labels
        Outcomes that are known by now: the account column and ``retained`` and/or ``expanded`` (true/false,
        empty where not known yet), such as ``Dataset.labels`` of one snapshot. Accounts that aren't in
        ``features`` are ignored.
    level
        Coverage of the intervals, 0.5 to 0.999.
    false_alarms
        Chance of any alarm in a batch of the same population, above 0 up to 0.5; half for drift, half for
        realised measures.
    material
        Least change, as a share of accounts 0 to 1, that is an alarm.
    least_weight
        Least share of a field in the score, 0 to 1, for its change to be an alarm.

    Returns
    -------
    Monitoring
        Drift rows, performance rows and whether there is an alarm. It doesn't depend on the order of rows.

    Raises
    ------
    ConfigError
        A setting is out of range.
    NotEnoughDataError
        There are fewer than 30 accounts, or no label belongs to one of them.
    InputMismatchError
        An account occurs twice, or labels can't be read.

    Warns
    -----
    InputWarning
        Feature columns are absent; they count as unknown.

    Notes
    -----
    The estimate is blind to concept drift, and too sure where accounts share their fate (parents). Accounts
    that the model learnt from may look better than new ones will.
    """
    _check_settings(level, false_alarms, material, least_weight)
    conformed = conform(features, model.schema)
    ids = conformed["account_id"]
    _check_accounts(ids)
    table = conformed[model.schema.names]
    log_odds = {name: part.decision_function(table) for name, part in model.propensities.items()}
    outcomes = {} if labels is None else _outcomes(model, ids, labels)
    half = false_alarms / 2.0
    drift = drift_rows(
        model,
        read_columns(table, model.schema),
        _fit_score(model, log_odds),
        Limits(half, material, least_weight),
    )
    performance = performance_rows(model.propensities, log_odds, outcomes, Levels(level, half))
    days = conformed["as_of"].dropna()
    facts = {
        "accounts": len(ids),
        "training_accounts": model.reference.typicality.n_accounts,
        "as_of": sorted({str(day.date()) for day in (days.min(), days.max())}) if len(days) else [],
        "matured": {name: int(np.isfinite(y).sum()) for name, y in outcomes.items()},
        "level": level,
        "false_alarms": false_alarms,
        "model_version": model.version,
    }
    return Monitoring(drift, performance, facts)


def _check_settings(level: float, false_alarms: float, material: float, least_weight: float) -> None:
    for name, value, low, high in (
        ("level", level, 0.5, 0.999),
        ("false_alarms", false_alarms, 1e-9, 0.5),
        ("material", material, 0.0, 1.0),
        ("least_weight", least_weight, 0.0, 1.0),
    ):
        parameters.number(name, value, low, high)


def _check_accounts(ids: pd.Series[Any]) -> None:
    if len(ids) < LEAST_ACCOUNTS:
        raise NotEnoughDataError(
            f"expected at least {LEAST_ACCOUNTS} accounts, found {len(ids)}: nothing can be told from fewer",
            found=len(ids),
        )
    _refuse_twice(ids, "the features", "give one quarter, one row per account")


def _refuse_twice(ids: pd.Series[Any], where: str, cure: str) -> None:
    twice = ids[ids.duplicated()]
    if len(twice):
        raise InputMismatchError(
            f"expected each account once in {where}, found {twice.nunique()} more often: "
            f"{ids_preview(twice)}; {cure}",
            count=int(twice.nunique()),
        )


def _fit_score(model: IcpModel, log_odds: Mapping[str, Floats]) -> Floats:
    chances = {name: np.asarray(expit(values)) for name, values in log_odds.items()}
    basis = model.reference.basis
    if basis != "expected_nrr":
        return chances[basis.removeprefix("p_")]
    ratio = model.reference.ratios.expected(chances.get("retained"), chances.get("expanded"))
    return np.full(len(next(iter(chances.values()))), np.nan) if ratio is None else ratio


def _outcomes(model: IcpModel, ids: pd.Series[Any], labels: pd.DataFrame) -> dict[str, Floats]:
    targets = [name for name in model.propensities if name in labels.columns]
    if not targets:
        raise InputMismatchError(
            f"expected labels named {list(model.propensities)}, found "
            f"{[str(name) for name in labels.columns][:5]}: rename the columns; true is the good outcome",
            expected=list(model.propensities),
        )
    theirs = account_ids(labels, model.schema)
    _refuse_twice(theirs, "the labels", "give the outcomes of one quarter")
    place = pd.Index(theirs).get_indexer(pd.Index(ids))
    found = {name: np.where(place >= 0, _read_outcome(labels[name])[place], np.nan) for name in targets}
    if not any(np.isfinite(y).any() for y in found.values()):
        raise NotEnoughDataError(
            f"expected a known outcome for some of {len(ids):,} accounts, found none in {len(labels):,} "
            "labels: give those of the same accounts, or none",
            n_labels=len(labels),
        )
    return found


def _read_outcome(column: pd.Series[Any]) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        values = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(
            dtype=np.float64, na_value=np.nan
        )
    bad = (np.isnan(values) & column.notna().to_numpy()) | ~(np.isnan(values) | np.isin(values, (0.0, 1.0)))
    if bad.any():
        raise InputMismatchError(
            f"expected true, false or nothing in {column.name!r}, found {int(bad.sum())} other cells: "
            f"{ids_preview([repr(value) for value in column[bad].tolist()])}",
            column=str(column.name),
            count=int(bad.sum()),
        )
    return values


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _drift_lines(drift: pd.DataFrame) -> list[str]:
    alarms = drift[drift["alarm"]]
    rest = drift[~drift["alarm"] & (drift["effect"].abs() > drift["noise_floor"])]
    if alarms.empty:
        lines = ["Fields and score: no change that is both beyond luck and large enough to matter."]
    else:
        lines = ["Fields and score that changed:"]
        lines += [f"- {_drift_sentence(row)}" for row in _records(alarms.head(SHOWN))]
        if len(alarms) > SHOWN:
            lines.append(f"- and {len(alarms) - SHOWN} more.")
    if len(rest):
        names = ", ".join(rest["feature"].drop_duplicates().head(SHOWN))
        lines.append(f"Beyond luck, though small or in fields that weigh little: {names}.")
    return lines


def _drift_sentence(row: Mapping[str, Any]) -> str:
    luck = f"luck stays below {100 * row['noise_floor']:.1f} points"
    if row["kind"] == "score":
        direction = "higher" if row["effect"] > 0 else "lower"
        return (
            f"scores are {direction}: an account is above a training account with chance "
            f"{row['batch']:.2f} ({luck} from 0.50)."
        )
    if row["kind"] == "mix":
        return (
            f"accounts are more unlike the training accounts than these are among themselves: chance "
            f"{row['batch']:.2f} ({luck} from 0.50)."
        )
    direction = "rose" if row["effect"] > 0 else "fell"
    return (
        f"{row['feature']} {row['what']}: {direction} from {100 * row['reference']:.1f} to "
        f"{100 * row['batch']:.1f} % of accounts ({luck}); the field makes "
        f"{100 * row['contribution_weight']:.0f} % of the score."
    )


def _performance_lines(performance: pd.DataFrame, facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for target, rows in performance.groupby("target", sort=False):
        known = facts["matured"].get(target, 0)
        parts = [_measure(row, matured=known > 0) for row in _records(rows)]
        start = f"{target_noun(str(target)).capitalize()}, "
        if known:
            start += f"{known:,} of {facts['accounts']:,} outcomes known: "
        else:
            start += f"expected before outcomes are known ({100 * facts['level']:.0f} % intervals): "
        lines.append(start + "; ".join(parts) + ".")
    return lines


def _measure(row: Mapping[str, Any], *, matured: bool) -> str:
    def shown(name: str) -> str:
        if row["metric"] in ("churn", "expansion"):
            return f"{100 * row[name]:.1f} %"
        return f"{row[name]:.3f}" if row["metric"] == LOG_LOSS else f"{row[name]:.2f}"

    name = {"auc": "AUC", LOG_LOSS: "log loss"}.get(row["metric"], row["metric"])
    span = f"{shown('estimate')} ({shown('low')} to {shown('high')})"
    if not matured:
        return f"{name} {span}, {shown('trained')} in training"
    if not np.isfinite(row["realised"]):
        return f"{name} has no value with one outcome only"
    if row["alarm"]:
        verdict = "alarm: beyond"
    elif row["low"] <= row["realised"] <= row["high"]:
        verdict = "in keeping with"
    elif (row["realised"] > row["high"]) == (row["metric"] == "auc"):
        verdict = "no alarm, better than"
    else:
        verdict = "no alarm, worse than"
    return f"{name} {shown('realised')}, {verdict} what was expected, {span}"
