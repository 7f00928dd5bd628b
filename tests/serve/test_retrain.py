"""Retraining: the first model, a fair comparison, a refusal with its reason."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from icp_ml.config import Config, DataConfig, ModelConfig
from icp_ml.data.dataset import Dataset
from icp_ml.data.tables import Tables
from icp_ml.errors import NotEnoughDataError, TrackingError
from icp_ml.serve.retrain import compare, judge, retrain, snapshot_days
from icp_ml.serve.training import IcpModel, train


@pytest.fixture(scope="session")
def unseen(labelled: Any) -> Dataset:
    return labelled(400, 5)


@pytest.fixture(scope="session")
def misled(labelled: Any, dataset: Dataset) -> IcpModel:
    """A model that learnt the opposite."""
    labels = dataset.labels.assign(retained=~dataset.labels["retained"], expanded=~dataset.labels["expanded"])
    return train(dataclasses.replace(dataset, labels=labels), profile=False)


def test_a_model_is_not_worse_than_itself(model: IcpModel, unseen: Dataset) -> None:
    found = compare(model, model, unseen, seed=0)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.accounts == 400
    assert found.targets == ("retained", "expanded")


def test_a_worse_model_is_seen_from_both_sides(model: IcpModel, misled: IcpModel, unseen: Dataset) -> None:
    worse, better = compare(model, misled, unseen, seed=0), compare(misled, model, unseen, seed=0)
    assert worse.low > 0
    assert better.high < 0
    assert worse.difference == pytest.approx(-better.difference)


def test_accounts_are_resampled_whole(model: IcpModel, misled: IcpModel, unseen: Dataset) -> None:
    once = compare(model, misled, unseen, seed=0)
    twice = compare(model, misled, unseen.take(np.repeat(np.arange(400), 4)), seed=0)
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.15)
    assert twice.accounts == 400


def test_models_without_a_common_target_cannot_be_compared(model: IcpModel, unseen: Dataset) -> None:
    one = dataclasses.replace(model, propensities={"retained": model.propensities["retained"]})
    other = dataclasses.replace(model, propensities={"expanded": model.propensities["expanded"]})
    with pytest.raises(NotEnoughDataError, match="share"):
        compare(one, other, unseen, seed=0)


def test_first_model_becomes_champion(tracker: Any, model: IcpModel, unseen: Dataset) -> None:
    promoted, reason = judge(model, unseen, "memory/1", tracker, seed=0)
    assert promoted
    assert "first model" in reason
    assert tracker.champion() == "memory/1"


def test_a_worse_challenger_is_rejected_with_figures(
    tracker: Any, model: IcpModel, misled: IcpModel, unseen: Dataset
) -> None:
    tracker.models |= {"memory/1": model, "memory/2": misled}
    tracker.current = "memory/1"
    promoted, reason = judge(misled, unseen, "memory/2", tracker, seed=0)
    assert not promoted
    assert tracker.champion() == "memory/1"
    assert tracker.status["memory/2"] == ("rejected", reason)
    assert "champion memory/1" in reason
    assert "400 accounts" in reason


def test_a_better_challenger_is_promoted(
    tracker: Any, model: IcpModel, misled: IcpModel, unseen: Dataset
) -> None:
    tracker.models |= {"memory/1": misled, "memory/2": model}
    tracker.current = "memory/1"
    assert judge(model, unseen, "memory/2", tracker, seed=0)[0]
    assert tracker.champion() == "memory/2"


def test_the_whole_line_twice(tracker: Any, crm: Tables, crm_config: Config) -> None:
    drawn = []
    first = retrain(
        crm, crm_config, tracker, draw=lambda model, evaluation: drawn.append(evaluation) or {"a.html": "<p>"}
    )
    second = retrain(crm, crm_config, tracker)
    assert (first.promoted, second.promoted) == (True, True)
    assert (first.version, second.version) == ("memory/1", "memory/2")
    assert first.model.version == "memory/1"
    assert drawn == [first.evaluation]
    assert tracker.records["memory/1"].files == {"a.html": "<p>"}
    assert "+0.0000" in second.reason
    assert pd.Timestamp(first.model.facts["last_snapshot"]) < pd.Timestamp(
        tracker.records["memory/1"].params["test_from"]
    )


def test_a_store_that_changes_the_model_is_caught(tracker: Any, crm: Tables, crm_config: Config) -> None:
    log, load = tracker.log, tracker.load

    def load_other(version: str) -> IcpModel:
        stored = load(version)
        return dataclasses.replace(
            stored,
            reference=dataclasses.replace(stored.reference, quantiles=tuple(np.linspace(0.0, 0.1, 101))),
        )

    tracker.log, tracker.load = log, load_other
    with pytest.raises(TrackingError, match="score as trained"):
        retrain(crm, crm_config, tracker)
    assert tracker.champion() is None
    assert tracker.status["memory/1"][0] == "rejected"


def test_snapshots_default_to_the_quarter_ends_of_the_data(crm: Tables) -> None:
    days = snapshot_days(crm, Config(data=DataConfig(observed_until=date(2025, 3, 31)), model=ModelConfig()))
    assert days[-1] == date(2025, 3, 31)
    first = crm.subscriptions["start_date"].min().date()
    assert (days[0] - first).days < 93
    assert all((day.month, day.day) in {(3, 31), (6, 30), (9, 30), (12, 31)} for day in days)
