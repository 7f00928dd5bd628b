"""Retraining: the first model, a fair comparison, a refusal with its reason, a repeat."""

from __future__ import annotations

import dataclasses
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from icp_ml.config import Config, DataConfig, ModelConfig
from icp_ml.data.dataset import Dataset
from icp_ml.data.splits import split_out_of_time
from icp_ml.data.tables import Tables
from icp_ml.errors import LeakageError, TrackingError
from icp_ml.serve.gate import Check, Decision, Rules
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.judging import judge, unseen_rows
from icp_ml.serve.retrain import (
    Outcome,
    dataset_of,
    identity_of,
    plan_of,
    retrain,
    settle,
    snapshot_days,
)
from icp_ml.serve.training import train


@pytest.fixture(scope="module")
def base(crm: Tables, crm_config: Config) -> Dataset:
    return dataset_of(crm, crm_config)


@pytest.fixture(scope="module")
def halves(base: Dataset) -> tuple[Dataset, Dataset]:
    return split_out_of_time(base, test_from="2024-03-31")


@pytest.fixture(scope="module")
def sound(halves: tuple[Dataset, Dataset]) -> IcpModel:
    return train(halves[0])


@pytest.fixture(scope="module")
def misled(halves: tuple[Dataset, Dataset]) -> IcpModel:
    """A model that learnt the opposite."""
    known = halves[0]
    labels = known.labels.assign(retained=~known.labels["retained"], expanded=~known.labels["expanded"])
    return train(dataclasses.replace(known, labels=labels), profile=False)


@pytest.fixture(scope="module")
def first(crm: Tables, crm_config: Config) -> tuple[Any, Outcome, list[Any]]:
    from tests.serve.conftest import MemoryTracker

    tracker, drawn = MemoryTracker(), []
    outcome = retrain(
        crm, crm_config, tracker, draw=lambda model, evaluation: drawn.append(evaluation) or {"a.html": "<p>"}
    )
    return tracker, outcome, drawn


def test_the_first_model_is_held_against_the_base_rate(first: tuple[Any, Outcome, list[Any]]) -> None:
    tracker, outcome, drawn = first
    assert outcome.promoted
    assert outcome.reason.startswith("first model, not worse than the base rate")
    assert (outcome.version, tracker.champion()) == ("memory/1", "memory/1")
    assert outcome.model.version == "memory/1"
    assert drawn == [outcome.evaluation]
    record = tracker.records["memory/1"]
    assert record.files == {"a.html": "<p>"}
    assert pd.Timestamp(outcome.model.facts["last_snapshot"]) < pd.Timestamp(record.params["test_from"])
    assert tracker.evidence["memory/1"] == outcome.decision.to_state()
    assert tracker.tidied == 1


def test_a_repeat_says_so_and_trains_nothing(
    first: tuple[Any, Outcome, list[Any]], crm: Tables, crm_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, outcome, _ = first
    monkeypatch.setattr("icp_ml.serve.retrain.train_configured", None)
    again = retrain(crm, crm_config, tracker)
    assert again.repeated
    assert again.promoted
    assert again.version == "memory/1"
    assert "nothing new" in again.reason
    assert outcome.reason in again.reason
    pd.testing.assert_frame_equal(again.evaluation.metrics, outcome.evaluation.metrics)


def test_force_repeats_and_an_equal_model_is_not_worse(
    first: tuple[Any, Outcome, list[Any]], crm: Tables, crm_config: Config
) -> None:
    tracker, _, _ = first
    second = retrain(crm, crm_config, tracker, force=True)
    assert (second.promoted, second.version, second.repeated) == (True, "memory/2", False)
    assert "+0.0000 against champion memory/1" in second.reason
    assert second.decision.notes["profile lines kept (Jaccard)"] == 1.0


def test_other_data_or_settings_are_other_work(base: Dataset, crm_config: Config) -> None:
    plan = plan_of(crm_config, Rules())
    found = identity_of(base, plan)
    assert found == identity_of(base, plan_of(crm_config, Rules()))
    others = [
        plan_of(dataclasses.replace(crm_config, model=ModelConfig(seed=1)), Rules()),
        plan_of(crm_config, Rules(superiority=True)),
        plan_of(dataclasses.replace(crm_config, model=ModelConfig(objective="hazard")), Rules()),
        plan_of(dataclasses.replace(crm_config, model=ModelConfig(allow_leaks=("industry",))), Rules()),
    ]
    assert all(identity_of(base, other) != found for other in others)
    assert identity_of(base.take(np.arange(len(base) - 1)), plan) != found
    moved = dataclasses.replace(crm_config, data=dataclasses.replace(crm_config.data, source="elsewhere"))
    assert plan_of(moved, Rules()) == plan


def test_a_retraining_learns_what_the_settings_ask_for(
    first: tuple[Any, Outcome, list[Any]], crm: Tables, crm_config: Config
) -> None:
    from tests.serve.conftest import MemoryTracker

    settings = dataclasses.replace(crm_config.model, objective="hazard", allow_leaks=("industry",))
    outcome = retrain(crm, dataclasses.replace(crm_config, model=settings), MemoryTracker())
    assert (first[1].model.facts["objective"], outcome.model.facts["objective"]) == ("probability", "hazard")
    assert not outcome.repeated


def test_a_column_that_knows_the_outcome_is_let_in_only_by_the_settings(
    crm: Tables, crm_config: Config, tracker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icp_ml.serve.configured.train", partial(train, profile=False))
    last = crm.subscriptions.groupby("account_id")["end_date"].max()
    stays = crm.accounts["account_id"].map(last) > pd.Timestamp("2024-03-31")
    told = dataclasses.replace(crm, accounts=crm.accounts.assign(told=np.where(stays, "yes", "no")))
    days = (date(2023, 3, 31), date(2024, 6, 30))
    config = dataclasses.replace(crm_config, data=dataclasses.replace(crm_config.data, snapshot_dates=days))
    with pytest.raises(LeakageError, match="told"):
        retrain(told, config, tracker)

    allowed = dataclasses.replace(config, model=ModelConfig(allow_leaks=("told",)))
    assert "told" in retrain(told, allowed, tracker).model.schema.names


def test_a_worse_challenger_is_rejected_with_figures(
    tracker: Any, sound: IcpModel, misled: IcpModel, halves: tuple[Dataset, Dataset]
) -> None:
    tracker.models |= {"memory/1": dataclasses.replace(sound, version="memory/1"), "memory/2": misled}
    tracker.current = "memory/1"
    decision = settle(misled, halves[1], "memory/2", tracker, rules=Rules(), seed=0)
    assert not decision.promoted
    assert tracker.champion() == "memory/1"
    assert tracker.status["memory/2"] == ("rejected", decision.reason)
    assert "against champion memory/1" in decision.reason
    assert "accounts" in decision.reason


def test_a_better_challenger_is_promoted(
    tracker: Any, sound: IcpModel, misled: IcpModel, halves: tuple[Dataset, Dataset]
) -> None:
    tracker.models |= {"memory/1": misled, "memory/2": sound}
    tracker.current = "memory/1"
    assert settle(sound, halves[1], "memory/2", tracker, rules=Rules(superiority=True), seed=0).promoted
    assert tracker.champion() == "memory/2"


def test_a_first_model_that_ranks_backwards_is_refused(
    tracker: Any, misled: IcpModel, halves: tuple[Dataset, Dataset]
) -> None:
    tracker.models["memory/1"] = misled
    decision = settle(misled, halves[1], "memory/1", tracker, rules=Rules(), seed=0)
    assert not decision.promoted
    assert decision.reason.startswith("worse than the base rate")
    assert tracker.champion() is None


def test_a_first_model_whose_promise_no_longer_holds_is_refused(
    tracker: Any, sound: IcpModel, halves: tuple[Dataset, Dataset]
) -> None:
    """In the newest period outcomes have nothing to do with the fields any more."""
    newest = halves[1]
    assert judge(sound, None, newest).promoted
    mixed = np.random.default_rng(0).permutation(len(newest))
    labels = newest.labels.assign(
        **{name: newest.labels[name].to_numpy()[mixed] for name in ("retained", "expanded")}
    )
    tracker.models["memory/1"] = sound
    changed = dataclasses.replace(newest, labels=labels)
    decision = settle(sound, changed, "memory/1", tracker, rules=Rules(), seed=0)
    assert not decision.promoted
    assert tracker.champion() is None
    assert tracker.status["memory/1"] == ("rejected", decision.reason)
    assert any(check.name.startswith(("calibration slope", "auc")) for check in failed(decision))


def failed(decision: Decision) -> list[Check]:
    return [check for check in decision.checks if not check.passed]


def test_judged_again_when_another_job_was_faster(
    tracker: Any, sound: IcpModel, halves: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.models |= {f"memory/{n}": dataclasses.replace(sound, version=f"memory/{n}") for n in (1, 2, 3)}
    tracker.current = "memory/1"
    promote = tracker.promote

    def late(version: str, reason: str, **more: Any) -> None:
        if tracker.current == "memory/1":
            tracker.current = "memory/2"
        promote(version, reason, **more)

    tracker.promote = late
    decision = settle(sound, halves[1], "memory/3", tracker, rules=Rules(), seed=0)
    assert decision.promoted
    assert "against champion memory/2" in decision.reason
    assert tracker.champion() == "memory/3"


def test_a_registry_that_refuses_is_not_asked_again(
    tracker: Any, sound: IcpModel, halves: tuple[Dataset, Dataset]
) -> None:
    asked = []

    def refuse(version: str, reason: str, **_: Any) -> None:
        asked.append(version)
        raise TrackingError("no")

    tracker.promote = refuse
    with pytest.raises(TrackingError, match="no"):
        settle(sound, halves[1], "memory/1", tracker, rules=Rules(), seed=0)
    assert asked == ["memory/1"]


def rows_of(dataset: Dataset) -> set[tuple[str, pd.Timestamp]]:
    return set(zip(dataset.labels["account_id"], dataset.labels["snapshot_date"], strict=True))


def test_the_judgement_never_sees_a_row_that_either_model_was_trained_on(
    base: Dataset, crm_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion may have been trained with a later border: its rows are left out too."""
    known = {day: split_out_of_time(base, test_from=day)[0] for day in ("2023-09-30", "2024-06-30")}
    early, late = (train(known[day], profile=False) for day in known)

    taken: list[Dataset] = []
    take = Dataset.take
    monkeypatch.setattr(Dataset, "take", lambda self, rows: taken.append(take(self, rows)) or taken[-1])
    for challenger, champion in ((early, late), (late, early)):
        taken.clear()
        judge(challenger, champion, base, seed=0)
        cohort = rows_of(taken[0])
        assert cohort
        for trained in known.values():
            assert not cohort & rows_of(trained)
        assert min(day for _, day in cohort) >= pd.Timestamp("2024-06-30")


def test_without_unseen_rows_or_dates_nothing_is_promoted(sound: IcpModel, base: Dataset) -> None:
    late = dataclasses.replace(
        sound, facts={**sound.facts, "last_snapshot": "2024-09-30"}, version="memory/9"
    )
    dateless = dataclasses.replace(sound, facts={**sound.facts, "last_snapshot": None})
    for champion in (late, dateless):
        decision = judge(sound, champion, base)
        assert not decision.promoted
        assert "neither model saw" in decision.reason
        assert not unseen_rows(base, [sound, champion]).any()


def test_models_without_a_common_target_are_not_compared(sound: IcpModel, base: Dataset) -> None:
    one = dataclasses.replace(sound, propensities={"retained": sound.propensities["retained"]})
    other = dataclasses.replace(sound, propensities={"expanded": sound.propensities["expanded"]})
    decision = judge(one, other, base)
    assert not decision.promoted
    assert "both models know" in decision.reason


def test_parts_are_numbered_so_that_no_value_of_a_customer_is_named(sound: IcpModel, base: Dataset) -> None:
    decision = judge(sound, sound, base)
    names = {check.name for check in decision.checks}
    assert any(name.startswith("tier ") for name in names)
    industries = set(base.features["industry"].dropna())
    assert not [said for check in decision.checks for said in [check.said] if industries & set(said.split())]


def test_a_store_that_changes_the_model_is_caught_before_it_is_registered(
    tracker: Any, crm: Tables, crm_config: Config
) -> None:
    log = tracker.log

    def damaged(record: Any, bundle: Any, *, probe: Any) -> str:
        def shown(stored: IcpModel) -> None:
            quantiles = tuple(np.linspace(0.0, 0.1, 101))
            probe(
                dataclasses.replace(
                    stored, reference=dataclasses.replace(stored.reference, quantiles=quantiles)
                )
            )

        return log(record, bundle, probe=shown)

    tracker.log = damaged
    with pytest.raises(TrackingError, match="score as trained"):
        retrain(crm, crm_config, tracker)
    assert tracker.champion() is None
    assert not tracker.models


def test_snapshots_default_to_the_quarter_ends_of_the_data(crm: Tables) -> None:
    days = snapshot_days(crm, Config(data=DataConfig(observed_until=date(2025, 3, 31)), model=ModelConfig()))
    assert days[-1] == date(2025, 3, 31)
    first = crm.subscriptions["start_date"].min().date()
    assert (days[0] - first).days < 93
    assert all((day.month, day.day) in {(3, 31), (6, 30), (9, 30), (12, 31)} for day in days)
