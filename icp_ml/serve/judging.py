"""What the gate is shown: champion and challenger on the newest accounts that neither learnt from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from icp_ml.data.conform import conform
from icp_ml.data.dataset import Dataset
from icp_ml.data.windows import add_months, to_day, to_days
from icp_ml.insight.predicates import Predicate
from icp_ml.serve.gate import Check, Decision, Judged, Rules, decide
from icp_ml.serve.score import score_rows
from icp_ml.statistics import jaccard

if TYPE_CHECKING:
    from icp_ml.serve.icpmodel import IcpModel

Flags = npt.NDArray[np.bool_]
Parts = dict[str, Flags]


def judge(
    challenger: IcpModel,
    champion: IcpModel | None,
    dataset: Dataset,
    *,
    rules: Rules | None = None,
    seed: int = 0,
) -> Decision:
    """Decide whether a challenger may replace a champion, on rows that neither was trained on.

    Parameters
    ----------
    challenger
        The new model.
    champion
        The model in place; None when there's none, then the base rate stands in its place.
    dataset
        Labelled accounts. Rows that either model saw, or whose outcomes overlap with those it learnt from,
        are left out.
    rules
        Margins and levels.
    seed
        Seed of the resampling of accounts.

    Returns
    -------
    The decision. Without rows or targets that can be compared the challenger isn't promoted.
    """
    models = [challenger] if champion is None else [challenger, champion]
    rows = unseen_rows(dataset, models)
    if not rows.any():
        return _refused("cohort", "no account that neither model saw in training: wait for a newer snapshot")
    cohort = dataset.take(rows)
    targets = [
        name
        for name in challenger.propensities
        if name in cohort.targets and (champion is None or name in champion.propensities)
    ]
    if not targets:
        return _refused("target", "no outcome that both models know and the newest snapshots tell")
    parts = {} if champion is None else _parts(cohort, champion, challenger)
    judged = [_judged(cohort, name, challenger, champion, parts) for name in targets]
    notes = _notes(cohort, challenger, champion)
    against = "the base rate" if champion is None else f"champion {champion.version}".rstrip()
    return decide(judged, first=champion is None, rules=rules, notes=notes, against=against, seed=seed)


def unseen_rows(dataset: Dataset, models: Sequence[IcpModel]) -> Flags:
    """Return which rows lie after the last outcome window of every model's training rows.

    A model of rows without dates leaves nothing: which rows it saw can't be told.
    """
    days = to_days(dataset.labels["snapshot_date"])
    rows = np.ones(len(dataset), dtype=bool)
    for model in models:
        last = model.facts.get("last_snapshot")
        if last is None:
            return np.zeros(len(dataset), dtype=bool)
        months = max(int(model.facts.get("horizon_months") or 0), 1)
        rows &= days >= add_months(to_day(str(last)), months)
    return np.asarray(rows, dtype=bool)


def _refused(name: str, said: str) -> Decision:
    nan = float("nan")
    return Decision(False, (Check(name, False, nan, nan, nan, 0, said),))


def _judged(
    cohort: Dataset,
    target: str,
    challenger: IcpModel,
    champion: IcpModel | None,
    parts: Mapping[str, Flags],
) -> Judged:
    rows, y = cohort.target(target)
    new = _log_odds(challenger, cohort, target, rows)
    if champion is None:
        old = np.full(len(rows), float(logit(challenger.propensities[target].base_rate_)))
    else:
        old = _log_odds(champion, cohort, target, rows)
    inside = {name: mask[rows] for name, mask in parts.items()}
    return Judged(target, y, old, new, cohort.groups[rows], inside, _promised(challenger, target))


def _promised(challenger: IcpModel, target: str) -> tuple[float, float] | None:
    """Return the AUC of the training's folds with its error, None where nothing could be validated."""
    last = challenger.propensities[target].cv_results_.iloc[-1]
    found = float(last["auc"]), float(last["auc_error"])
    return found if last["candidate"] == "chosen" and np.isfinite(found).all() else None


def _log_odds(
    model: IcpModel, cohort: Dataset, target: str, rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    table = conform(cohort.features.iloc[rows], model.schema)[model.schema.names]
    return np.asarray(model.propensities[target].decision_function(table), dtype=np.float64)


def _parts(cohort: Dataset, champion: IcpModel, challenger: IcpModel) -> Parts:
    """Return the champion's tiers and both profiles' segments; numbered, as their texts name customers."""
    scores, _ = score_rows(champion, cohort.features, reasons=0)
    tier = scores["tier"].to_numpy(dtype=object)
    parts: Parts = {f"tier {name}": tier == name for name in sorted({str(name) for name in tier if name})}
    for who, model in (("champion", champion), ("challenger", challenger)):
        if model.profile is None:
            continue
        table = conform(cohort.features, model.schema)
        for number, conditions in enumerate(model.profile.segments["conditions"], start=1):
            masks = [Predicate.from_dict(part).mask(table) == 1.0 for part in json.loads(conditions)]
            parts[f"segment {number} of the {who}"] = np.logical_and.reduce(masks)
    return parts


def _notes(cohort: Dataset, challenger: IcpModel, champion: IcpModel | None) -> dict[str, float | str]:
    days = cohort.labels["snapshot_date"]
    notes: dict[str, float | str] = {
        "first snapshot judged": str(days.min().date()),
        "last snapshot judged": str(days.max().date()),
        "accounts": float(cohort.n_accounts),
    }
    if champion is None:
        return notes
    horizons = [model.facts.get("horizon_months") for model in (champion, challenger)]
    if horizons[0] != horizons[1]:
        notes["champion's horizon in months"] = str(horizons[0])
    if champion.profile is not None and challenger.profile is not None:
        old, new = _accepted(champion), _accepted(challenger)
        every = sorted(old | new, key=str)
        kept = jaccard([line in old for line in every], [line in new for line in every])
        notes |= {"profile lines kept (Jaccard)": kept, "profile lines before": float(len(old))}
        notes["profile lines now"] = float(len(new))
    return notes


def _accepted(model: IcpModel) -> set[tuple[Any, ...]]:
    """Return the accepted lines of a profile, without what changes from one training to the next."""
    traits = model.profile.traits  # type: ignore[union-attr]
    found = traits[traits["kind"].isin(["icp", "anti_icp"])]
    return set(
        found[["target", "feature", "operator", "value", "direction"]].itertuples(index=False, name=None)
    )
