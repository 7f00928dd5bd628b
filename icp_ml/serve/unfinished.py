"""Accounts whose window isn't over, made fit to learn from: a hazard says how each may end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.conform import conform
from icp_ml.data.dataset import Dataset
from icp_ml.data.follow_up import FollowUp
from icp_ml.errors import ConfigError
from icp_ml.model.hazard import HazardClassifier

Floats = npt.NDArray[np.float64]
#: The hazard only fills in what isn't known yet; the model itself is chosen among all candidates.
CANDIDATES = ("logistic",)


@dataclass(frozen=True, eq=False)
class Unfinished:
    """Rows to learn retention from besides those of the dataset.

    Parameters
    ----------
    features
        The dataset's columns. An account that may still leave is there twice, once for each ending.
    outcome
        1 stayed, 0 left.
    weights
        Chance of that ending given that it was there until the last day known; 1 where it has left.
    groups
        As in the dataset.
    facts
        ``left`` and ``open``: how many accounts (and snapshots) of each kind; ``retained``: their mean.
    """

    features: pd.DataFrame
    outcome: Floats
    weights: Floats
    groups: npt.NDArray[Any]
    facts: dict[str, Any]


def fill_in(dataset: Dataset, follow_up: FollowUp, *, seed: int, n_jobs: int | None) -> Unfinished:
    """Give every followed account that the dataset doesn't know its endings and their chances.

    A discrete-time hazard learns from all followed months. Of an account that is still there after c months
    it says S(horizon) / S(c): to each row the mass that censoring took from it is given back according to its
    features (Efron 1967, "redistribute to the right", with a model in place of the plain curve).

    Raises
    ------
    ConfigError
        If horizons differ, or the dataset has no dates.
    NotEnoughDataError
        If nobody left, or a month of the horizon was observed for nobody.
    """
    if dataset.horizon_months != follow_up.horizon_months:
        raise ConfigError(
            f"expected the same horizon in dataset and follow_up, found {dataset.horizon_months} and "
            f"{follow_up.horizon_months} months: build both with the same horizon_months",
            dataset=dataset.horizon_months,
            follow_up=follow_up.horizon_months,
        )
    table = conform(follow_up.features, dataset.schema)
    hazard = HazardClassifier(
        horizon=follow_up.horizon_months, candidates=CANDIDATES, n_bags=1, random_state=seed, n_jobs=n_jobs
    ).fit(table, follow_up.months, follow_up.left, follow_up.groups, dataset.schema)
    new = np.flatnonzero(~_known(dataset, follow_up))
    left = new[follow_up.left[new]]
    still = new[~follow_up.left[new]]
    survival = hazard.survival(table.iloc[still])
    so_far = survival[np.arange(len(still)), follow_up.months[still] - 1]
    stays = survival[:, -1] / np.maximum(so_far, 1e-12)
    rows = np.concatenate([left, still, still])
    outcome = np.concatenate([np.zeros(len(left)), np.ones(len(still)), np.zeros(len(still))])
    weights = np.concatenate([np.ones(len(left)), stays, 1.0 - stays])
    facts = {
        "left": len(left),
        "open": len(still),
        "retained": float(stays.sum() / len(new)) if len(new) else None,
        "observed_until": follow_up.facts.get("observed_until"),
    }
    return Unfinished(
        table.iloc[rows].reset_index(drop=True), outcome, weights, follow_up.groups[rows], facts
    )


def _known(dataset: Dataset, follow_up: FollowUp) -> npt.NDArray[np.bool_]:
    """Whether the dataset has a row's outcome already."""
    labels = dataset.labels[["account_id", "snapshot_date"]]
    if labels["snapshot_date"].isna().any():
        raise ConfigError(
            "expected a dataset with snapshot dates, found rows without: unfinished windows need dates"
        )
    known = pd.MultiIndex.from_arrays([labels["account_id"].astype(str), labels["snapshot_date"]])
    rows = follow_up.features
    return np.asarray(pd.MultiIndex.from_arrays([rows["account_id"].astype(str), rows["as_of"]]).isin(known))
