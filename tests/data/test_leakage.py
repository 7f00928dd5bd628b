from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.dataset import Dataset
from icp_ml.data.leakage import auc_of, check_leakage, find_leaks
from icp_ml.errors import LeakageError

RNG = np.random.default_rng(1)
N = 200
Y = RNG.random(N) < 0.3


def dataset_of(**columns: object) -> Dataset:
    frame = pd.DataFrame({"id": [f"a{k}" for k in range(N)], "noise": RNG.random(N), "kept": Y})
    for name, cells in columns.items():
        frame[name] = cells
    return Dataset.from_frame(
        frame,
        account_id="id",
        labels={"retained": "kept"},
        technologies=[name for name in columns if name == "stack"],
        category=[name for name in columns if name == "city"],
    )


@pytest.mark.parametrize(
    ("name", "cells", "what"),
    [
        ("score", Y + RNG.normal(0, 0.1, N), "its value"),
        ("score", -1.0 * Y + RNG.normal(0, 0.1, N), "its value"),
        (
            "distance",
            np.where(Y, 0.0, np.where(RNG.random(N) < 0.5, -1, 1)) + RNG.normal(0, 0.1, N),
            "its range",
        ),
        (
            "status",
            np.where(Y, "Customer", np.where(RNG.random(N) < 0.5, "Lost", "Paused")),
            "'Customer': 100% of",
        ),
        ("copy", Y, "its value"),
        ("closed_on", np.where(Y, "", "2023"), "whether it is filled"),
        ("reason", [None if kept else f"reason {k % 7}" for k, kept in enumerate(Y)], "whether it is filled"),
        ("stack", [["Slack", "Billing"] if kept else ["Slack"] for kept in Y], "the tool 'Billing'"),
        ("stack", [["Slack"] if kept else None for kept in Y], "whether it is filled"),
    ],
)
def test_a_feature_that_knows_the_outcome_is_named(name: str, cells: object, what: str) -> None:
    with pytest.raises(LeakageError, match=what) as caught:
        check_leakage(dataset_of(**{name: cells}))
    assert caught.value.columns == [name]
    assert f"drop=['{name}']" in str(caught.value)
    assert caught.value.leaks[0].auc >= 0.98
    check_leakage(dataset_of(**{name: cells}), allow=[name])


def test_strong_but_honest_features_pass() -> None:
    check_leakage(
        dataset_of(score=Y + RNG.normal(0, 0.6, N), status=np.where(Y ^ (RNG.random(N) < 0.1), "x", "y"))
    )


def test_many_levels_do_not_look_like_a_leak() -> None:
    cities = [f"city {k}" for k in range(N)]
    assert find_leaks(dataset_of(city=cities)) == []


def test_names_of_accounts_with_several_rows_do_not_look_like_a_leak() -> None:
    ids = np.arange(N) // 4
    kept = (ids % 3) == 0
    frame = pd.DataFrame({"id": ids.astype(str), "kept": kept, "city": [f"city {k}" for k in ids]})
    dataset = Dataset.from_frame(frame, account_id="id", labels={"retained": "kept"}, category=["city"])
    assert find_leaks(dataset) == []


def test_few_rows_prove_nothing() -> None:
    dataset = dataset_of(copy=Y)
    assert find_leaks(dataset.take(np.arange(49))) == []
    assert find_leaks(dataset.take(np.arange(60))) != []


def test_auc_counts_ties_half() -> None:
    assert auc_of(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])) == 0.5
    assert auc_of(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0])) == 1.0
