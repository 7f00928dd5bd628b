from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from icp_ml.model.propensity import PropensityClassifier


@parametrize_with_checks([PropensityClassifier(n_bags=2, n_folds=3, n_jobs=1)])
def test_scikit_learn_accepts_the_classifier(estimator, check):
    check(estimator)


def test_cross_val_score_hands_groups_to_the_fit(base):
    model = PropensityClassifier(candidates=("logistic",), n_bags=1)
    features = base.features.drop(columns=["as_of"])
    scores = cross_val_score(
        model,
        features,
        base.y,
        groups=base.groups,
        cv=GroupKFold(3),
        params={"groups": base.groups},
        scoring="roc_auc",
    )
    assert scores.mean() > 0.6


def test_pipeline_and_clone(base):
    model = make_pipeline(
        FunctionTransformer(lambda frame: frame[base.schema.names]),
        PropensityClassifier(candidates=("logistic",), n_bags=2),
    )
    first = model.fit(base.features, base.y).predict_proba(base.features)
    second = clone(model).fit(base.features, base.y).predict_proba(base.features)
    np.testing.assert_array_equal(first, second)
