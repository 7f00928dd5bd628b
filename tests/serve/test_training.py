"""Training: what is skipped, what is refused, what is noted."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.dataset import Dataset
from icp_ml.errors import LeakageError, NotEnoughDataError
from icp_ml.serve.icpmodel import IcpModel, plain
from icp_ml.serve.training import train


def test_both_targets_are_modelled_and_described(model: IcpModel, dataset: Dataset) -> None:
    assert set(model.propensities) == {"retained", "expanded"}
    assert model.version == ""
    facts = model.facts
    assert facts["dataset_fingerprint"] == dataset.fingerprint()
    assert facts["accounts"] == 500
    rows, y = dataset.target("retained")
    assert facts["targets"]["retained"]["events"] == int(y.sum())
    assert facts["targets"]["retained"]["rows"] == len(rows)
    assert facts["packages"]["numpy"] == np.__version__
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_a_target_with_few_events_is_skipped_and_says_why(frame: pd.DataFrame) -> None:
    rare = frame.assign(grown=[i < 12 for i in range(len(frame))])
    found = Dataset.from_frame(
        rare,
        account_id="customer",
        labels={"retained": "renewed", "expanded": "grown"},
        technologies=["stack"],
    )
    model = train(found, profile=False)
    assert set(model.propensities) == {"retained"}
    assert model.facts["skipped_targets"] == {"expanded": "12 accounts with expanded = True, fewer than 20"}


def test_events_are_accounts_not_rows(frame: pd.DataFrame) -> None:
    few = frame.head(60).assign(renewed=[i < 10 for i in range(60)])
    many_rows = pd.concat([few.assign(day=day) for day in pd.date_range("2024-01-01", periods=4)])
    dataset = Dataset.from_frame(
        many_rows.drop(columns="grown"),
        account_id="customer",
        labels={"retained": "renewed"},
        technologies=["stack"],
        snapshot_date="day",
    )
    with pytest.raises(NotEnoughDataError, match="10 accounts with retained = True"):
        train(dataset, profile=False)
    assert train(dataset, profile=False, min_events=10).facts["accounts"] == 60


def test_a_column_that_knows_the_outcome_is_refused_unless_allowed(frame: pd.DataFrame) -> None:
    leaky = frame.assign(cancel_code=1.0 - frame["renewed"]).drop(columns="grown")
    dataset = Dataset.from_frame(
        leaky, account_id="customer", labels={"retained": "renewed"}, technologies=["stack"]
    )
    with pytest.raises(LeakageError, match="cancel_code"):
        train(dataset, profile=False)
    assert "retained" in train(dataset, profile=False, allow_leaks=["cancel_code"]).propensities


def test_same_seed_same_scores(dataset: Dataset, model: IcpModel, fresh: pd.DataFrame) -> None:
    again = train(dataset, seed=3, profile=False)
    pd.testing.assert_frame_equal(again.score(fresh), model.score(fresh), check_exact=True)


def test_plain_facts_are_json() -> None:
    value = {
        "day": pd.Timestamp("2025-01-31").date(),
        3: (np.int64(1), np.nan, {"b", "a"}),
        "n": np.array([1.5]),
    }
    assert plain(value) == {"day": "2025-01-31", "3": [1, None, ["a", "b"]], "n": [1.5]}
