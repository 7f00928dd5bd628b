"""The promise: base value + sum of contributions = calibrated log-odds, on every row of every model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit

from icp_ml.data.dataset import Dataset
from icp_ml.model.propensity import PropensityClassifier
from icp_ml.simulation import make_frame

LABELS = {"retained": "retained", "expanded": "expanded"}
KEYS = ("account_id", "retained", "expanded", "churned_first_year")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Accounts with categories, lists of tools and missing values of every kind."""
    frame = make_frame(400, seed=1, signal="strong").frame
    return Dataset.from_frame(
        frame,
        account_id="account_id",
        labels=LABELS,
        technologies=["technologies"],
        drop=["churned_first_year"],
    )


@pytest.fixture(scope="module", params=["retained", "expanded"])
def target(request) -> str:
    return request.param


@pytest.fixture(
    scope="module",
    params=[("additive",), ("shallow",), ("logistic",), ("additive", "shallow", "logistic")],
    ids="+".join,
)
def model(request, dataset, target) -> PropensityClassifier:
    rows, y = dataset.target(target)
    classifier = PropensityClassifier(candidates=request.param, n_bags=2, n_folds=3)
    return classifier.fit_features(dataset.features.iloc[rows], dataset.schema, y, dataset.groups[rows])


def test_rows_hold_what_the_promise_is_about(dataset):
    kinds = {feature.kind for feature in dataset.schema.features}
    assert {"numeric", "category", "technologies"} <= kinds
    assert dataset.features[dataset.schema.names].isna().any().sum() > 10


def test_contributions_add_up_to_the_calibrated_log_odds(model, dataset):
    parts = model.contributions(dataset.features)
    assert list(parts.columns) == dataset.schema.names
    assert len(parts) == len(dataset)
    log_odds = model.base_value_ + parts.sum(axis=1).to_numpy()
    np.testing.assert_allclose(log_odds, model.decision_function(dataset.features), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        log_odds, logit(model.predict_proba(dataset.features)[:, 1]), rtol=0, atol=1e-9
    )


def test_a_forced_stack_adds_up_too(dataset, target):
    """Whatever was chosen above, a mixture of all three families is checked."""
    rows, y = dataset.target(target)
    classifier = PropensityClassifier(n_bags=2, n_folds=3)
    classifier.fit_features(dataset.features.iloc[rows], dataset.schema, y, dataset.groups[rows])
    state, texts = classifier.to_state()
    weights: dict[str, float] = {}
    members: dict[str, dict] = {}
    for name, weight in (("additive", 0.5), ("shallow", 0.3), ("logistic", 0.2)):
        alone = PropensityClassifier(candidates=(name,), n_bags=2, n_folds=3)
        alone.fit_features(dataset.features.iloc[rows], dataset.schema, y, dataset.groups[rows])
        own, own_texts = alone.to_state()
        members.update(own["ensemble"]["members"])
        texts.update(own_texts)
        weights[name] = weight
    state["ensemble"]["members"], state["ensemble"]["weights"] = members, weights
    state["ensemble"]["calibration"]["slope"] = 0.7
    stack = PropensityClassifier.from_state(state, texts)
    assert stack.chosen_ == "stack"
    total = stack.base_value_ + stack.contributions(dataset.features).sum(axis=1).to_numpy()
    np.testing.assert_allclose(total, stack.decision_function(dataset.features), rtol=0, atol=1e-12)
