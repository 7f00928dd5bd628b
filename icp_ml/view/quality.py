"""Rows and pictures of a model's quality on accounts it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icp_ml.view import wording
from icp_ml.view.drawings import calibration_plot, decile_plot

if TYPE_CHECKING:
    import pandas as pd

    from icp_ml.model.evaluation import Evaluation

METRICS = {
    "auc": ("AUC", "chance that a good account is ranked above a bad one; 0.5 is a coin"),
    "log_loss": ("Log loss", "lower is better"),
    "brier": ("Brier score", "lower is better"),
    "calibration_intercept": ("Calibration intercept", "0 is right on average"),
    "calibration_slope": ("Calibration slope", "1 is neither over- nor underconfident"),
    "top_decile_lift": ("Top tenth", "its rate as a multiple of the base rate"),
    "expected_nrr": ("Expected NRR", "ending over starting ARR, as predicted"),
    "realised_nrr": ("Realised NRR", "ending over starting ARR, as it came"),
    "expected_minus_realised_nrr": ("Expected less realised", "0 is right on average"),
}
WITHIN_LUCK = (
    "AUC, log loss and calibration slope differ from what the folds of the training promised by no more "
    "than luck."
)


def quality_rows(evaluation: Evaluation | None) -> list[dict[str, str]]:
    """Return one row of texts per measure and target; the single deciles are left to the picture.

    Parameters
    ----------
    evaluation
        Result of :func:`icp_ml.evaluate`, or None.
    """
    if evaluation is None:
        return []
    rows = []
    for row in evaluation.metrics.to_dict("records"):
        if row["name"] not in METRICS:
            continue
        name, meaning = METRICS[row["name"]]
        low, high = wording.number(row["low"]), wording.number(row["high"])
        rows.append(
            {
                "target": wording.target_name(row["target"]),
                "name": name,
                "meaning": meaning,
                "estimate": wording.number(row["estimate"]),
                "interval": f"{low} to {high}" if wording.known(row["low"]) else wording.NOTHING,
                "logistic": wording.number(row.get("logistic")),
                "base": wording.number(row.get("base_rate")),
                "n": wording.count(row["n"]),
            }
        )
    return rows


def gap_lines(evaluation: Evaluation | None) -> list[str]:
    """Say what differs by more than luck from what the folds of the training promised.

    Parameters
    ----------
    evaluation
        Result of :func:`icp_ml.evaluate`, or None.
    """
    if evaluation is None:
        return []
    known = evaluation.gaps.dropna()
    if known.empty:
        return []
    return [_gap_line(row) for row in known[known["beyond_luck"]].to_dict("records")] or [WITHIN_LUCK]


def _gap_line(row: Mapping[Any, Any]) -> str:
    value, folds, low, high = (wording.number(row[key]) for key in ("estimate", "folds", "low", "high"))
    above = row["gap"] > 0
    said = {
        "auc": "better" if above else "worse",
        "log_loss": "worse" if above else "better",
        "calibration_slope": "chances are not sure enough" if above else "chances are too sure",
    }[row["name"]]
    target, name = wording.target_name(row["target"]), METRICS[row["name"]][0]
    return (
        f"{target}: {name} {value}, promised by the folds of the training {folds} (90 % interval of the gap "
        f"{low} to {high}): {said}, by more than luck. These accounts are of another kind than those that "
        "taught."
    )


def quality_figures(evaluation: Evaluation | None) -> list[dict[str, Any]]:
    """Return calibration and decile pictures per target, each with a caption."""
    if evaluation is None:
        return []
    figures = []
    for target, deciles in evaluation.deciles.groupby("target", sort=False):
        name = wording.target_name(target).capitalize()
        figures += _target_figures(name, wording.TARGET_VERBS.get(str(target), str(target)), deciles)
    return [figure for figure in figures if figure["svg"]]


def _target_figures(name: str, verb: str, deciles: pd.DataFrame) -> list[dict[str, Any]]:
    ordered = deciles.sort_values("decile")
    dots = [
        (row["predicted"], row["observed"], row["observed_low"], row["observed_high"])
        for row in ordered.to_dict("records")
    ]
    base_rate = float((ordered["observed"] * ordered["n_rows"]).sum() / ordered["n_rows"].sum())
    return [
        {
            "title": f"{name}: are the probabilities right?",
            "note": "One dot per tenth of the accounts with its interval; on the dashed line they are.",
            "svg": calibration_plot(dots),
        },
        {
            "title": f"{name}: do high scores do better?",
            "note": f"Dashed: {wording.share(base_rate)}, the rate over all accounts.",
            "svg": decile_plot(ordered["observed"].tolist(), base_rate, outcome=verb),
        },
    ]
