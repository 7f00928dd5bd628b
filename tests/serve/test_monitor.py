"""What can be known between labels: drift beyond luck, expected quality, and outcomes held against it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

import icp_ml as icp
from icp_ml.insight.wording import forbidden_words
from icp_ml.model.calibration import Calibration
from icp_ml.serve.monitor_drift import (
    DRIFT_COLUMNS,
    Limits,
    field_weights,
    mix_floor,
    share_floor,
    shared_chances,
)
from icp_ml.serve.monitor_performance import (
    PERFORMANCE_COLUMNS,
    Levels,
    draw_measures,
    expected_measures,
    performance_rows,
)
from tests.serve.conftest import labelled_frame


@pytest.fixture(scope="module")
def quarter() -> pd.DataFrame:
    return labelled_frame(800, seed=5)


@pytest.fixture(scope="module")
def labels(quarter):
    return quarter.rename(columns={"renewed": "retained", "grown": "expanded"})[
        ["customer", "retained", "expanded"]
    ]


def adding(frame: pd.DataFrame, tool: str, share: float) -> pd.DataFrame:
    takes = np.random.default_rng(0).random(len(frame)) < share
    stack = [
        cell if cell is None or not take else [*cell, tool]
        for cell, take in zip(frame["stack"], takes, strict=True)
    ]
    return frame.assign(stack=stack)


def row(table: pd.DataFrame, **wanted: str) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_a_batch_of_the_same_population_is_quiet(model, quarter, labels):
    found = icp.monitor(model, quarter, labels)

    assert not found.alarm
    assert tuple(found.drift.columns) == DRIFT_COLUMNS
    assert tuple(found.performance.columns) == PERFORMANCE_COLUMNS
    assert set(found.drift["feature"]) == {"industry", "seats", "remote", "stack", "fit score", "all fields"}
    assert set(found.drift["kind"]) == {"number", "level", "tool", "new", "unknown", "score", "mix"}
    assert (found.drift["noise_floor"] > 0).all()
    assert "no alarm" in found.to_text()


def test_a_tool_that_rises_is_named_with_its_shares(model, quarter):
    found = icp.monitor(model, adding(quarter, "NovaCRM", 0.2))
    tool = row(found.drift, what="holds novacrm")

    assert found.alarm
    assert tool["alarm"]
    assert tool["reference"] == 0.0
    assert tool["effect"] == tool["batch"] == pytest.approx(0.2, abs=0.04)
    assert found.drift["alarm"].iloc[0]
    assert row(found.drift, feature="stack", kind="new")["alarm"]
    assert "stack holds novacrm: rose from 0.0 to" in found.to_text()


def test_a_tool_that_vanishes_has_a_negative_effect(model, quarter):
    gone = quarter.assign(stack=[cell and [t for t in cell if t != "Jira"] for cell in quarter["stack"]])
    tool = row(icp.monitor(model, gone).drift, what="holds jira")

    assert tool["alarm"]
    assert tool["effect"] == pytest.approx(-tool["reference"])


@pytest.mark.parametrize(("factor", "sign"), [(2.0, 1), (0.5, -1)])
def test_a_number_that_moves_has_the_sign_of_the_move(model, quarter, factor, sign):
    seats = row(
        icp.monitor(model, quarter.assign(seats=quarter["seats"] * factor)).drift,
        feature="seats",
        kind="number",
    )

    assert seats["alarm"]
    assert np.sign(seats["effect"]) == sign
    assert seats["what"].startswith("above ")


def test_a_level_and_the_score_that_follows_it(model, quarter):
    found = icp.monitor(model, quarter.assign(industry="Fintech"))

    assert row(found.drift, what="is Fintech")["effect"] == pytest.approx(0.75, abs=0.06)
    assert row(found.drift, kind="score")["alarm"]
    assert row(found.drift, kind="score")["effect"] > 0
    assert "scores are higher" in found.to_text()


def test_a_column_that_broke_is_an_alarm(model, quarter):
    with pytest.warns(icp.InputWarning, match="seats"):
        found = icp.monitor(model, quarter.drop(columns="seats"))
    unknown = row(found.drift, feature="seats", kind="unknown")

    assert unknown["alarm"]
    assert unknown["batch"] == 1.0
    assert not row(found.drift, feature="seats", kind="number")["alarm"]


def test_companies_unlike_in_many_fields_are_an_alarm_of_the_whole(model, quarter):
    odd = quarter.assign(seats=quarter["seats"] * 1e4, stack=[["a", "b", "c"]] * len(quarter))

    assert row(icp.monitor(model, odd).drift, kind="mix")["alarm"]


def test_small_changes_and_light_fields_are_listed_and_no_alarm(model, quarter):
    changed = adding(quarter, "NovaCRM", 0.2)
    small = icp.monitor(model, changed, material=0.5)
    light = icp.monitor(model, changed, least_weight=1.0)

    for found in (small, light):
        tool = row(found.drift, what="holds novacrm")
        assert tool["effect"] > tool["noise_floor"]
        assert not tool["alarm"]
        assert "weigh little: stack" in found.to_text()
    assert not small.alarm
    assert set(light.drift.loc[light.drift["alarm"], "kind"]) <= {"mix"}


def test_weights_add_up_and_follow_what_the_score_uses(model):
    weights = field_weights(model)

    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["industry"] > 3 * weights["remote"]


def test_a_rare_share_stays_below_its_floor():
    rng = np.random.default_rng(1)
    for share in (0.002, 0.05, 0.5):
        seen, later = rng.binomial(800, share, 4000) / 800, rng.binomial(400, share, 4000) / 400
        floors = [share_floor(s, 400, 800, 0.05, rise=b >= s) for s, b in zip(seen, later, strict=True)]
        assert (np.abs(later - seen) > floors).mean() < 0.06
    assert share_floor(0.5, 400, 800, 0.05, rise=True) < 0.07


def test_the_order_of_rows_does_not_matter(model, quarter, labels):
    shuffled = quarter.sample(frac=1.0, random_state=1)
    one = icp.monitor(model, quarter, labels)
    other = icp.monitor(model, shuffled, labels.sample(frac=1.0, random_state=2))

    pd.testing.assert_frame_equal(one.performance, other.performance, rtol=1e-9)
    pd.testing.assert_frame_equal(one.drift, other.drift, rtol=1e-9)


def test_a_loaded_bundle_says_the_same(model, quarter, labels, tmp_path):
    icp.save(model, tmp_path / "bundle")
    again = icp.monitor(icp.load(tmp_path / "bundle"), quarter, labels)

    assert json.dumps(again.to_state()) == json.dumps(icp.monitor(model, quarter, labels).to_state())


def test_expected_measures_are_the_mean_of_what_chances_give():
    rng = np.random.default_rng(0)
    f = np.round(rng.normal(1.0, 1.0, 400), 1)
    found = expected_measures(f)
    drawn = [rng.random(400) < expit(f) for _ in range(300)]

    assert found["auc"] == pytest.approx(np.mean([roc_auc_score(y, f) for y in drawn]), abs=0.005)
    assert found["log_loss"] == pytest.approx(np.mean([log_loss(y, expit(f)) for y in drawn]), abs=0.005)
    assert found["rate"] == pytest.approx(np.mean(drawn), abs=0.005)


def test_uncertain_calibration_widens_what_is_expected():
    f = np.sort(np.random.default_rng(0).normal(1.0, 1.0, 2000))
    sure = draw_measures(f, Calibration(1.0, 0.0))
    unsure = draw_measures(f, Calibration(1.0, 0.0, (0.04, 0.0, 0.0, 0.04)))

    for measure, values in sure.items():
        assert np.nanstd(unsure[measure]) > 1.5 * np.nanstd(values)


def test_intervals_hold_what_is_realised(model):
    rng = np.random.default_rng(3)
    f = rng.normal(1.0, 1.2, 500)
    retained = model.propensities["retained"]
    inside = []
    for _ in range(40):
        y = (rng.random(500) < expit(f)).astype(float)
        rows = performance_rows({"retained": retained}, {"retained": f}, {"retained": y}, Levels())
        inside.append(((rows["low"] <= rows["realised"]) & (rows["realised"] <= rows["high"])).tolist())
        assert not rows["alarm"].any()
    assert np.mean(inside) > 0.93


def test_realised_values_are_the_usual_ones(model, quarter, labels):
    table = icp.monitor(model, quarter, labels).performance
    p = model.score(quarter, reasons=0)["p_retained"]
    y = labels["retained"]

    assert row(table, target="retained", metric="auc")["realised"] == pytest.approx(roc_auc_score(y, p))
    assert row(table, target="retained", metric="log_loss")["realised"] == pytest.approx(log_loss(y, p))
    assert row(table, target="retained", metric="churn")["realised"] == pytest.approx(1 - y.mean())
    assert row(table, target="retained", metric="churn")["estimate"] == pytest.approx(1 - p.mean())
    assert row(table, target="expanded", metric="expansion")["realised"] == labels["expanded"].mean()
    assert (table["realised_low"] < table["realised"]).all()
    assert (table["realised"] < table["realised_high"]).all()
    assert row(table, target="retained", metric="churn")["realised_low"] > 0.1


def test_outcomes_unlike_the_estimate_are_an_alarm_that_only_labels_show(model, quarter, labels):
    turned = labels.assign(retained=~labels["retained"])
    before, after = icp.monitor(model, quarter), icp.monitor(model, quarter, turned)

    assert not before.alarm
    assert before.performance["realised"].isna().all()
    assert row(after.performance, target="retained", metric="auc")["alarm"]
    assert row(after.performance, target="retained", metric="log_loss")["alarm"]
    assert not after.performance.loc[after.performance["target"] == "expanded", "alarm"].any()
    assert "alarm: beyond what was expected" in after.to_text()


def test_more_churn_than_expected_is_an_alarm_and_a_better_ranking_is_none(model, quarter, labels):
    leaving = labels["retained"] & (np.arange(len(labels)) % 3 > 0)
    churn = icp.monitor(model, quarter, labels.assign(retained=leaving)).performance
    p = model.score(quarter, reasons=0)["p_retained"]
    sharp = icp.monitor(model, quarter, labels.assign(retained=p > p.quantile(1 - p.mean()))).performance

    assert row(churn, metric="churn")["alarm"]
    assert row(sharp, target="retained", metric="auc")["realised"] == 1.0
    assert not sharp["alarm"].any()


def test_a_cohort_that_matures_in_part_is_held_against_its_own_estimate(model, quarter, labels):
    best = model.score(quarter, reasons=0)["p_retained"].rank(method="first").to_numpy() > 600
    part = labels.assign(
        retained=labels["retained"].astype(object).where(best), expanded=pd.Series(pd.NA, dtype="boolean")
    )
    found = icp.monitor(model, quarter, part)
    churn = row(found.performance, metric="churn")

    assert churn["n"] == 200
    assert churn["estimate"] < row(icp.monitor(model, quarter).performance, metric="churn")["low"]
    assert found.facts["matured"] == {"retained": 200, "expanded": 0}
    assert row(found.performance, metric="expansion")["n"] == 800
    assert "200 of 800 outcomes known" in found.to_text()
    assert "Expansion, expected before outcomes are known" in found.to_text()


def test_one_outcome_only_has_no_auc_and_no_alarm_for_it(model, quarter, labels):
    few = labels.head(40).assign(retained=True)
    auc = row(icp.monitor(model, quarter, few).performance, target="retained", metric="auc")

    assert np.isnan(auc["realised"])
    assert not auc["alarm"]
    assert "no value with one outcome only" in icp.monitor(model, quarter, few).to_text()


def test_the_words_claim_no_more_than_association(model, quarter, labels):
    changed = adding(quarter, "NovaCRM", 0.3).assign(industry="Fintech", seats=1.0)
    text = icp.monitor(model, changed, labels).to_text()

    assert not forbidden_words(text)
    assert "only outcomes show that" in text
    assert "and " in text


def test_a_model_without_skill_still_sees_change(model, quarter):
    flat = {name: _flattened(classifier) for name, classifier in model.propensities.items()}
    found = icp.monitor(dataclasses.replace(model, propensities=flat), adding(quarter, "NovaCRM", 0.2))

    assert row(found.drift, what="holds novacrm")["contribution_weight"] == 0.25
    assert found.alarm
    assert row(found.performance, target="retained", metric="auc")["estimate"] == pytest.approx(0.5)


def _flattened(classifier):
    state, texts = classifier.to_state()
    state["ensemble"]["calibration"] = {**state["ensemble"]["calibration"], "slope": 0.0}
    return icp.PropensityClassifier.from_state(state, texts)


def test_input_that_can_not_be_read_is_named(model, quarter, labels):
    with pytest.raises(icp.NotEnoughDataError, match="at least 30 accounts, found 29"):
        icp.monitor(model, quarter.head(29))
    with pytest.raises(icp.InputMismatchError, match="once in the features, found 2 more often"):
        icp.monitor(model, pd.concat([quarter, quarter.head(2)]))
    with pytest.raises(icp.InputMismatchError, match="once in the labels"):
        icp.monitor(model, quarter, pd.concat([labels, labels.head(1)]))
    with pytest.raises(icp.InputMismatchError, match="labels named"):
        icp.monitor(model, quarter, quarter)
    with pytest.raises(icp.InputMismatchError, match="true, false or nothing in 'retained', found 800"):
        icp.monitor(model, quarter, labels.assign(retained="yes"))
    with pytest.raises(icp.NotEnoughDataError, match="found none in 800 labels"):
        icp.monitor(model, quarter, labels.assign(customer=[f"other {i}" for i in range(800)]))


@pytest.mark.parametrize(
    "setting", [{"level": 0.3}, {"false_alarms": 0.0}, {"material": 2.0}, {"least_weight": -1.0}]
)
def test_settings_out_of_range_are_refused(model, quarter, setting):
    with pytest.raises(icp.ConfigError, match=next(iter(setting))):
        icp.monitor(model, quarter, **setting)


def test_more_accounts_lower_the_floor(model, quarter):
    few = icp.monitor(model, quarter.head(100)).drift
    many = icp.monitor(model, quarter).drift

    for kind in ("score", "mix"):
        assert row(many, kind=kind)["noise_floor"] < row(few, kind=kind)["noise_floor"]


def test_heavy_fields_have_lower_floors_and_light_ones_take_no_chance():
    chances = shared_chances({"heavy": 0.8, "other": 0.195, "light": 0.005}, Limits(chance=0.02))

    assert chances["heavy"] + chances["other"] == pytest.approx(0.015)
    assert chances["heavy"] > 1.5 * chances["other"] > chances["light"]


def test_the_whole_is_judged_by_what_fitting_it_on_few_accounts_costs():
    assert mix_floor(0.0025, 1000, 100) > 2 * mix_floor(0.0025, 1000, 1000) > 0.1
    assert mix_floor(0.0025, 10**6, 1000) > 0.05
