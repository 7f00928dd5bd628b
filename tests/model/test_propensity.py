from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.schema import Feature, Schema
from icp_ml.errors import BundleError, InputMismatchError
from icp_ml.model.propensity import PropensityClassifier

from .bases import make_base

ALL = ("additive", "shallow", "logistic")


def fitted(data, candidates=ALL, **params) -> PropensityClassifier:
    model = PropensityClassifier(candidates=candidates, n_bags=3, n_folds=3, **params)
    return model.fit_features(data.features, data.schema, data.y, data.groups)


@pytest.fixture(scope="module", params=[*[(name,) for name in ALL], ALL], ids=lambda names: "+".join(names))
def model(request, base) -> PropensityClassifier:
    return fitted(base, request.param)


def test_same_seed_same_model_whatever_the_threads(base):
    one, two = fitted(base, n_jobs=1).to_state(), fitted(base, n_jobs=4).to_state()
    assert one[1] == two[1]
    assert json.dumps(one[0]) == json.dumps(two[0])
    assert fitted(base, random_state=1).to_state() != one


def test_a_score_depends_on_its_own_row_only(model, base):
    whole = model.decision_function(base.features)
    order = np.random.default_rng(0).permutation(len(base.features))
    np.testing.assert_array_equal(model.decision_function(base.features.iloc[order]), whole[order])
    low, high = model.interval(base.features)
    parts = model.contributions(base.features).to_numpy()
    for row in (0, 17, 299):
        alone = base.features.iloc[[row]]
        assert model.decision_function(alone)[0] == whole[row]
        assert (model.interval(alone)[0][0], model.interval(alone)[1][0]) == (low[row], high[row])
        np.testing.assert_array_equal(model.contributions(alone).to_numpy()[0], parts[row])


def test_columns_are_found_by_name(model, base):
    shuffled = base.features[list(base.features.columns[::-1])].assign(note="ignored")
    np.testing.assert_array_equal(model.decision_function(shuffled), model.decision_function(base.features))
    with pytest.raises(InputMismatchError, match="employees"):
        model.decision_function(base.features.drop(columns="employees"))


def test_state_keeps_every_bit(model, base):
    state, texts = model.to_state()
    again = PropensityClassifier.from_state(json.loads(json.dumps(state, allow_nan=False)), dict(texts))
    np.testing.assert_array_equal(again.predict_proba(base.features), model.predict_proba(base.features))
    np.testing.assert_array_equal(again.interval(base.features), model.interval(base.features))
    pd.testing.assert_frame_equal(again.contributions(base.features), model.contributions(base.features))
    pd.testing.assert_frame_equal(again.cv_results_, model.cv_results_)
    assert again.base_value_ == model.base_value_
    assert again.to_state() == (state, texts)


def test_interval_holds_the_probability(model, base):
    low, high = model.interval(base.features)
    p = model.predict_proba(base.features)[:, 1]
    assert ((low <= p) & (p <= high)).all()
    assert (high > low).all()
    assert low.min() >= 0
    assert high.max() <= 1


def test_encoded_contributions_add_up_to_those_of_the_sources(model, base):
    encoded, encoder = model.encoded_contributions(base.features)
    summed = pd.DataFrame(encoded.T).groupby(encoder.source_of).sum().T
    np.testing.assert_allclose(
        summed, model.contributions(base.features)[[base.schema.names[j] for j in summed.columns]], atol=1e-12
    )


def test_planted_effects_show_in_the_contributions(base):
    parts = fitted(make_base(1500, seed=4)).contributions(base.features)
    large, small = base.features["employees"] > 60, base.features["employees"] < 40
    assert parts.loc[large, "employees"].mean() > parts.loc[small, "employees"].mean() + 0.5
    retail = base.features["industry"] == "Retail"
    assert parts.loc[retail, "industry"].mean() < -0.3


def test_noise_collapses_to_the_base_rate():
    spreads = []
    for seed in range(4):
        noise = make_base(300, seed=seed, signal=0.0)
        p = fitted(noise).predict_proba(noise.features)[:, 1]
        assert p.mean() == pytest.approx(noise.y.mean(), abs=0.02)
        spreads.append(p.std())
    assert np.median(spreads) < 0.03
    assert max(spreads) < 0.1


def test_signal_beats_the_base_rate_on_other_accounts():
    train, test = make_base(800, seed=1), make_base(2000, seed=2)
    p = fitted(train).predict_proba(test.features)[:, 1]
    loss = -(test.y * np.log(p) + (1 - test.y) * np.log(1 - p)).mean()
    base_rate = train.y.mean()
    constant = -(test.y * np.log(base_rate) + (1 - test.y) * np.log(1 - base_rate)).mean()
    assert loss < constant - 0.03


def test_results_name_every_candidate_and_the_choice(base):
    model = fitted(base)
    results = model.cv_results_.set_index("candidate")
    assert list(results.index) == [*ALL, "base rate", "chosen"]
    assert results.at["chosen", "log_loss"] < results.at["base rate", "log_loss"]
    assert results.at["additive", "log_loss"] < results.at["base rate", "log_loss"]
    assert results.at["base rate", "auc"] == 0.5
    assert sum(model.weights_.values()) == pytest.approx(1.0)
    assert model.chosen_ in {*ALL, "stack"}
    assert len(model.oof_log_odds_) == len(base.y)


@pytest.mark.parametrize(("n", "tried"), [(300, {"random", "pruned"}), (3_001, set()), (5_001, {"large"})])
def test_some_candidates_are_only_tried_where_they_are_worth_their_time(n, tried):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    y = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0]))).astype(int)
    model = PropensityClassifier(n_bags=1, n_folds=2, n_jobs=1).fit(X, y)
    named = set(model.cv_results_["candidate"])
    assert named & {"random", "pruned", "large"} == tried
    assert {"logistic", "bounded"} <= named
    alone = PropensityClassifier(candidates=("random",), n_bags=1, n_folds=2, n_jobs=1).fit(X, y)
    assert alone.weights_ == {"random": 1.0}


def test_two_rows_of_an_account_don_t_vouch_for_each_other():
    """An identifier-like column looks perfect unless accounts stay together in folds."""
    rng = np.random.default_rng(0)
    account = np.repeat(np.arange(150), 4)
    frame = pd.DataFrame({"id_like": rng.normal(size=150)[account]})
    y = (rng.random(150) < 0.5).astype(int)[account]
    model = PropensityClassifier(candidates=("additive",), n_bags=1)
    honest = model.fit(frame, y, groups=account).cv_results_.set_index("candidate")
    assert honest.at["additive", "auc"] < 0.65


def test_the_baseline_is_the_logistic_alone(base):
    alone = fitted(base, ("logistic",))
    np.testing.assert_allclose(
        alone.baseline_proba(base.features), alone.predict_proba(base.features)[:, 1], atol=1e-12
    )
    assert fitted(base, ("additive",)).baseline_proba(base.features) is None


def test_too_few_accounts_to_validate_say_the_base_rate():
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4, 5]})
    model = PropensityClassifier(n_bags=2).fit(frame, [0, 0, 0, 0, 1])
    np.testing.assert_allclose(model.predict_proba(frame)[:, 1], 0.2, atol=1e-9)


def test_text_classes_and_unseen_values(base):
    y = np.where(base.y == 1, "renewed", "left")
    features = base.features.drop(columns="as_of")
    model = PropensityClassifier(candidates=("logistic",), n_bags=1).fit(features, y)
    assert model.classes_.tolist() == ["left", "renewed"]
    assert set(model.predict(features)) <= {"left", "renewed"}
    assert "account_id" not in model.schema_.names
    new = features.head(3).assign(industry="Mining")
    assert model.unseen(new)["industry"]["n_rows"] == 3
    assert np.isfinite(model.decision_function(new)).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"candidates": ("forest",)}, "forest"),
        ({"candidates": ()}, "at least one"),
        ({"n_bags": 0}, "n_bags"),
        ({"n_folds": 1}, "n_folds"),
    ],
)
def test_bad_settings_are_named(base, params, message):
    with pytest.raises(ValueError, match=message):
        PropensityClassifier(**params).fit_features(base.features, base.schema, base.y)


def test_bad_outcomes_are_named(base):
    model = PropensityClassifier(candidates=("logistic",), n_bags=1)
    with pytest.raises(ValueError, match="1 class"):
        model.fit_features(base.features, base.schema, np.ones(len(base.y)))
    with pytest.raises(ValueError, match="NaN"):
        model.fit_features(base.features, base.schema, np.where(base.y == 1, np.nan, 0.0))
    with pytest.raises(ValueError, match="missing"):
        model.fit_features(
            base.features, base.schema, np.array([None, True] * (len(base.y) // 2), dtype=object)
        )
    with pytest.raises(ValueError, match="at least one feature"):
        model.fit_features(base.features, Schema(()), base.y)
    with pytest.raises(ValueError, match="dates"):
        model.fit(pd.DataFrame({"since": pd.to_datetime(["2024-01-01"] * 4)}), [0, 1, 0, 1])


def test_only_frames_are_scored_by_name(base):
    schema = Schema((Feature("employees", "numeric"),))
    model = PropensityClassifier(candidates=("logistic",), n_bags=1)
    model.fit_features(base.features, schema, base.y)
    with pytest.raises(InputMismatchError, match="ndarray"):
        model.predict_proba(base.features[["employees"]].to_numpy())


def test_lost_or_damaged_trees_are_a_bundle_error(base):
    state, texts = fitted(base, ("additive",)).to_state()
    with pytest.raises(BundleError, match="missing"):
        PropensityClassifier.from_state(state, {})
    with pytest.raises(BundleError, match="LightGBM"):
        PropensityClassifier.from_state(state, dict.fromkeys(texts, "nothing"))
