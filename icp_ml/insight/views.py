"""The same accounts, another question: who expands among those that stay, who shrinks or leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.errors import ConfigError, NotEnoughDataError

View = Literal["all", "among_retained", "contraction"]
VIEWS: tuple[View, ...] = ("all", "among_retained", "contraction")
SHRUNK_BY = 0.05


def view_of(dataset: Dataset, view: View) -> Dataset:
    """Return a dataset whose outcomes answer another question.

    Parameters
    ----------
    dataset
        Accounts with features and outcomes.
    view
        ``all``: as it is. ``among_retained``: only rows that were retained, with ``expanded`` as the only
        target. ``contraction``: ``retained`` means at least 95 % of the starting ARR is left (1 minus the
        dataset's ``expansion_tolerance``), the only target.

    Raises
    ------
    ConfigError
        There is no such view, or the ARR it needs isn't known.
    NotEnoughDataError
        No row is left.
    """
    if view not in VIEWS:
        raise ConfigError(f"expected a view of {list(VIEWS)}, found {view!r}", found=view)
    if view == "all":
        return dataset
    if view == "among_retained":
        stayed = dataset.labels["retained"].fillna(False).to_numpy(dtype=bool)
        if not stayed.any() or "expanded" not in dataset.targets:
            raise NotEnoughDataError(
                f"expected retained accounts with a known expansion, found {int(stayed.sum())} retained rows "
                f"and targets {list(dataset.targets)}: add the labels retained and expanded",
                targets=list(dataset.targets),
            )
        kept = dataset.take(stayed)
        return _relabelled(kept, "expanded", kept.labels["expanded"], view)
    ratio = dataset.labels["arr_ratio"].to_numpy(dtype=np.float64)
    if np.isnan(ratio).all():
        raise ConfigError(
            "expected the ARR before and after of at least one row, found none: build the dataset from "
            "tables with subscriptions",
            found=0,
        )
    least = 1.0 - float(dataset.facts.get("expansion_tolerance", SHRUNK_BY))
    whole = pd.Series(pd.array(ratio >= least - 1e-9, dtype="boolean")).mask(np.isnan(ratio))
    return _relabelled(dataset, "retained", whole, view)


def _relabelled(dataset: Dataset, target: str, values: pd.Series[bool], view: View) -> Dataset:
    labels = dataset.labels.copy()
    for name in ("retained", "expanded", "churned_first_year"):
        labels[name] = (
            values.astype("boolean") if name == target else pd.array([pd.NA] * len(labels), "boolean")
        )
    return replace(dataset, labels=labels, facts={**dataset.facts, "view": view})
