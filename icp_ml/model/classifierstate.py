"""What a bundle holds of a classifier around its ensemble, checked without scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icp_ml.foreign import LARGEST, MOST, Given
from icp_ml.model.ensemble import MOST_MEMBERS
from icp_ml.model.members import MOST_MODELS


def classifier_state(state: Mapping[str, Any] | Given) -> Given:
    """Check what stands around the ensemble of a classifier, without scikit-learn, and return it.

    Raises
    ------
    BundleError
        A field is missing, of another type or out of range.
    """
    given = Given.of(state, "state").record(
        "params",
        "classes",
        "by_name",
        "n_features_in",
        "feature_names_in",
        "base_rate",
        "cv_results",
        "ensemble",
    )
    params = given["params"].record("candidates", "n_bags", "n_folds", "random_state")
    params["candidates"].texts(least=1, most=MOST_MEMBERS, distinct=True)
    params["n_bags"].whole(low=1, high=MOST_MODELS)
    params["n_folds"].whole(low=2, high=MOST_MODELS)
    if params["random_state"].known:
        params["random_state"].whole(high=2**32 - 1)
    _check_classes(given["classes"])
    given["by_name"].flag()
    n_features = given["n_features_in"].whole(low=1, high=MOST)
    names = given["feature_names_in"].texts()
    if len(names) not in (0, n_features):
        given["feature_names_in"].refuse(f"no names or {n_features}", f"{len(names)}")
    given["base_rate"].number(low=0.0, high=1.0)
    _check_results(given["cv_results"])
    return given


def _check_classes(given: Given) -> None:
    one, other = given.each(least=2, most=2)
    for label in (one, other):
        if isinstance(label.value, str):
            label.text()
        elif not isinstance(label.value, bool):
            label.number(low=-LARGEST, high=LARGEST)
    if isinstance(one.value, str) != isinstance(other.value, str) or one.value == other.value:
        given.refuse("two different classes of one kind")


def _check_results(given: Given) -> None:
    """Check the table of candidates: a name and numbers of each, null where there is none."""
    given.record("candidate", optional=given.entries(most=MOST_MEMBERS))
    names = given["candidate"].texts(least=1, most=MOST_MODELS)
    for column, values in given.entries().items():
        if column != "candidate":
            values.numbers(length=len(names), gaps=True)
