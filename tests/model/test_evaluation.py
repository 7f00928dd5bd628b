from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from icp_ml.data.dataset import Dataset
from icp_ml.errors import NotEnoughDataError
from icp_ml.model.evaluation import TRAINING_LUCK, evaluate
from icp_ml.model.metrics import METRICS, decile_parts, metric_errors, score_metrics
from icp_ml.model.propensity import PropensityClassifier
from icp_ml.statistics import bootstrap_weights

from .bases import make_base


@dataclass(frozen=True)
class Model:
    propensities: dict[str, PropensityClassifier]


def dataset(n: int = 400, seed: int = 9, known: float = 1.0) -> Dataset:
    data = make_base(n, seed=seed)
    retained = pd.array(data.y == 1, dtype="boolean")
    retained[np.random.default_rng(seed).random(n) > known] = pd.NA
    labels = pd.DataFrame(
        {
            "account_id": data.groups,
            "snapshot_date": pd.NaT,
            "retained": retained,
            "expanded": pd.array([pd.NA] * n, dtype="boolean"),
            "churned_first_year": pd.array([pd.NA] * n, dtype="boolean"),
            "starting_arr": 100.0,
            "ending_arr": 100.0 * data.y,
            "arr_ratio": data.y,
        }
    )
    return Dataset(data.features, labels, data.schema, data.groups)


@pytest.fixture(scope="module")
def model(base) -> Model:
    classifier = PropensityClassifier(candidates=("additive", "logistic"), n_bags=2, n_folds=3)
    return Model({"retained": classifier.fit_features(base.features, base.schema, base.y, base.groups)})


@pytest.fixture(scope="module")
def evaluation(model):
    return evaluate(model, dataset(), n_bootstrap=60, seed=1)


def test_metrics_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    f = np.round(rng.normal(size=500), 1)
    y = (rng.random(500) < expit(f)).astype(float)
    found = score_metrics(y, f, np.ones((1, 500)))
    assert found["auc"][0] == pytest.approx(roc_auc_score(y, f))
    assert found["log_loss"][0] == pytest.approx(log_loss(y, expit(f)))
    assert found["brier"][0] == pytest.approx(brier_score_loss(y, expit(f)))


def test_weights_are_repetitions():
    rng = np.random.default_rng(1)
    f = np.round(rng.normal(size=200), 1)
    y = (rng.random(200) < expit(f)).astype(float)
    weights = rng.integers(0, 4, 200)
    rows = np.repeat(np.arange(200), weights)
    weighted = score_metrics(y, f, weights[None, :].astype(float))
    repeated = score_metrics(y[rows], f[rows], np.ones((1, len(rows))))
    for name in METRICS:
        assert weighted[name][0] == pytest.approx(repeated[name][0], abs=1e-6), name


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, 0.0), (2.0, 1.0)])
def test_calibration_slope_and_intercept_are_recovered(slope, shift):
    rng = np.random.default_rng(2)
    truth = rng.normal(size=40_000)
    y = (rng.random(40_000) < expit(truth)).astype(float)
    found = score_metrics(y, truth / slope - shift, np.ones((1, 40_000)))
    assert found["calibration_slope"][0] == pytest.approx(slope, abs=0.06)
    if slope == 1.0:
        assert found["calibration_intercept"][0] == pytest.approx(shift, abs=0.04)


def test_lifts_of_a_perfect_and_of_a_constant_score():
    y = np.repeat([1.0, 0.0], [100, 900])
    perfect = score_metrics(y, y * 5 - 3, np.ones((1, 1000)))
    assert perfect["top_decile_lift"][0] == pytest.approx(10.0)
    assert perfect["lift_decile_10"][0] == pytest.approx(0.0)
    constant = score_metrics(y, np.full(1000, logit(0.1)), np.ones((1, 1000)))
    assert constant["auc"][0] == 0.5
    assert np.isnan(constant["calibration_slope"][0])
    assert constant["calibration_intercept"][0] == pytest.approx(0.0, abs=1e-6)
    for k in range(1, 11):
        assert constant[f"lift_decile_{k}"][0] == pytest.approx(1.0)


def test_one_outcome_has_no_auc_and_no_slope():
    found = score_metrics(np.ones(20), np.arange(20.0), np.ones((1, 20)))
    assert np.isnan(found["auc"][0])
    assert np.isnan(found["calibration_slope"][0])
    assert np.isfinite(found["log_loss"][0])


def test_deciles_share_all_rows():
    rng = np.random.default_rng(3)
    f = rng.normal(size=337)
    y = (rng.random(337) < expit(f)).astype(float)
    found = decile_parts(y, f, np.ones((1, 337)))
    assert np.mean([found[f"observed_{k}"][0] for k in range(1, 11)]) == pytest.approx(y.mean())
    assert np.mean([found[f"predicted_{k}"][0] for k in range(1, 11)]) == pytest.approx(expit(f).mean())


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_those_of_resampled_accounts(weighted):
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 250, 800)
    f = np.round(rng.normal(size=250)[codes] + rng.normal(size=800) / 2, 1)
    y = (rng.random(800) < expit(f + rng.normal(size=250)[codes])).astype(float)
    weights = rng.uniform(0.2, 2.0, 800) if weighted else None
    found = metric_errors(y, f, codes, weights)
    assert found["auc"][0] == pytest.approx(roc_auc_score(y, f, sample_weight=weights))
    assert found["log_loss"][0] == pytest.approx(log_loss(y, expit(f), sample_weight=weights))
    drawn = bootstrap_weights(codes.astype(str), 2000, seed=0) * (1.0 if weights is None else weights)
    spread = {name: values.std() for name, values in score_metrics(y, f, drawn).items()}
    assert found["auc"][1] == pytest.approx(spread["auc"], rel=0.06)
    assert found["log_loss"][1] == pytest.approx(spread["log_loss"], rel=0.06)
    once = np.ones((1, 800)) if weights is None else weights[None]
    assert found["calibration_slope"][0] == score_metrics(y, f, once)["calibration_slope"][0]
    assert found["calibration_slope"][1] == pytest.approx(spread["calibration_slope"], rel=0.06)


def test_auc_error_of_few_churners_is_delongs():
    rng = np.random.default_rng(5)
    good, bad = rng.normal(1.0, 1.0, 40), rng.normal(0.0, 1.0, 4)
    beats = (good[:, None] > bad).astype(float)
    error = np.sqrt(beats.mean(axis=1).var(ddof=1) / 40 + beats.mean(axis=0).var(ddof=1) / 4)
    y = np.repeat([1.0, 0.0], [40, 4])
    found = metric_errors(y, np.append(good, bad), np.arange(44), names=["auc"])
    assert found == {"auc": pytest.approx((beats.mean(), error))}


def test_one_outcome_has_a_loss_and_no_auc():
    found = metric_errors(np.ones(5), np.arange(5.0), np.arange(5))
    assert np.isnan(found["auc"]).all()
    assert np.isnan(found["calibration_slope"]).all()
    assert np.isfinite(found["log_loss"]).all()


def test_gaps_hold_what_came_against_the_folds(model, evaluation):
    gaps = evaluation.gaps.set_index("name")
    chosen = model.propensities["retained"].cv_results_.iloc[-1]
    assert list(gaps.index) == ["auc", "log_loss", "calibration_slope"]
    assert gaps.at["auc", "folds"] == chosen["auc"]
    assert gaps.at["auc", "estimate"] == pytest.approx(evaluation.value("auc", "retained"))
    assert gaps.at["auc", "gap"] == gaps.at["auc", "estimate"] - gaps.at["auc", "folds"]
    # The folds' error counts more than once: they don't know how lucky the teachers are.
    assert gaps.at["auc", "high"] - gaps.at["auc", "gap"] > 1.6448 * 1.5 * chosen["auc_error"]
    assert ((gaps["low"] < 0) & (gaps["high"] > 0)).all()
    slope = gaps.loc["calibration_slope"]
    assert slope["folds"] == 1
    assert slope["estimate"] == pytest.approx(evaluation.value("calibration_slope", "retained"))
    assert not gaps["beyond_luck"].any()


def test_other_accounts_show_a_gap(model):
    data = dataset()
    labels = data.labels.assign(retained=np.random.default_rng(0).permutation(data.labels["retained"]))
    labels["retained"] = labels["retained"].astype("boolean")
    gaps = evaluate(model, replace(data, labels=labels), n_bootstrap=2).gaps.set_index("name")
    assert gaps.at["auc", "high"] < 0
    assert gaps.at["log_loss", "low"] > 0
    assert gaps.at["calibration_slope", "high"] < 0
    assert gaps.loc[["auc", "log_loss"], "beyond_luck"].all()


@pytest.mark.parametrize(("n_targets", "z", "beyond"), [(1, 1.8, False), (1, 2.5, True), (2, 2.5, False)])
def test_a_gap_outside_its_interval_is_luck_once_in_a_while(model, evaluation, n_targets, z, beyond):
    measured = evaluation.gaps.set_index("name").loc["auc"]
    spread = (measured["high"] - measured["gap"]) / 1.6449
    state, texts = model.propensities["retained"].to_state()
    state["cv_results"]["auc"][-1] = measured["estimate"] + z * spread
    promised = PropensityClassifier.from_state(state, texts)
    data = dataset()
    twice = replace(data, labels=data.labels.assign(expanded=data.labels["retained"]))
    names = ["retained", "expanded"][:n_targets]
    gaps = evaluate(Model(dict.fromkeys(names, promised)), twice, n_bootstrap=2).gaps.query("name == 'auc'")
    assert len(gaps) == n_targets
    assert (gaps["high"] < 0).all()
    assert (gaps["beyond_luck"] == beyond).all()


def test_a_model_saved_without_errors_has_gaps_without_intervals(model):
    state, texts = model.propensities["retained"].to_state()
    for metric in TRAINING_LUCK:
        del state["cv_results"][f"{metric}_error"]
    older = Model({"retained": PropensityClassifier.from_state(state, texts)})
    gaps = evaluate(older, dataset(), n_bootstrap=2).gaps
    assert gaps["gap"].notna().all()
    assert gaps[["low", "high"]].isna().all(axis=None)
    assert not gaps["beyond_luck"].any()


def test_the_table_keeps_its_contract(evaluation):
    table = evaluation.metrics
    assert list(table.columns) == ["name", "target", "estimate", "low", "high", "n", "base_rate", "logistic"]
    assert list(table["name"]) == list(METRICS)
    assert set(table["target"]) == {"retained"}
    assert set(table["n"]) == {400}
    known = table.dropna(subset=["estimate"])
    assert (known["low"] <= known["high"]).all()
    assert evaluation.value("auc", "retained") > 0.6
    rows = table.set_index("name")
    assert rows.at["auc", "base_rate"] == 0.5
    assert rows.at["log_loss", "estimate"] < rows.at["log_loss", "base_rate"]
    assert 0.5 < rows.at["auc", "logistic"] < 1
    assert np.isnan(rows.at["calibration_slope", "base_rate"])
    assert list(evaluation.deciles["decile"]) == list(range(1, 11))
    assert evaluation.deciles["n_rows"].sum() == 400
    with pytest.raises(KeyError, match="gini"):
        evaluation.value("gini", "retained")


def test_same_seed_same_intervals(model, evaluation):
    pd.testing.assert_frame_equal(
        evaluate(model, dataset(), n_bootstrap=60, seed=1).metrics, evaluation.metrics
    )
    other = evaluate(model, dataset(), n_bootstrap=60, seed=2).metrics
    assert not other["low"].equals(evaluation.metrics["low"])


def test_intervals_are_over_accounts(model):
    data = dataset()
    four = Dataset(
        features=pd.concat([data.features] * 4, ignore_index=True),
        labels=pd.concat([data.labels] * 4, ignore_index=True),
        schema=data.schema,
        groups=np.tile(data.groups, 4),
    )
    once = evaluate(model, data, n_bootstrap=100).metrics.set_index("name").loc["auc"]
    often = evaluate(model, four, n_bootstrap=100).metrics.set_index("name").loc["auc"]
    assert often["n"] == once["n"]
    assert often["high"] - often["low"] == pytest.approx(once["high"] - once["low"], rel=0.3)


def test_unknown_outcomes_are_left_out(model):
    data = dataset(known=0.5)
    assert evaluate(model, data, n_bootstrap=5).metrics["n"].iloc[0] == data.labels["retained"].notna().sum()
    with pytest.raises(NotEnoughDataError, match="retained"):
        evaluate(model, dataset(known=0.0), n_bootstrap=5)


def test_a_model_without_logistic_has_no_logistic_column(base):
    classifier = PropensityClassifier(candidates=("additive",), n_bags=1, n_folds=2)
    alone = Model({"retained": classifier.fit_features(base.features, base.schema, base.y)})
    assert evaluate(alone, dataset(), n_bootstrap=5).metrics["logistic"].isna().all()


def test_expected_revenue_is_held_against_realised(model):
    class WithRatio(Model):
        def expected_ratio(self, features):
            return self.propensities["retained"].predict_proba(features)[:, 1]

    data = dataset()
    table = evaluate(WithRatio(model.propensities), data, n_bootstrap=50).metrics
    revenue = table[table["target"] == "nrr"].set_index("name")
    assert revenue.at["realised_nrr", "estimate"] == pytest.approx(data.labels["arr_ratio"].mean())
    gap = revenue.loc["expected_minus_realised_nrr"]
    assert gap["low"] < gap["estimate"] < gap["high"]
    assert abs(gap["estimate"]) < 0.15
