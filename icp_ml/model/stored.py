"""Classifiers as a bundle holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from icp_ml.foreign import LARGEST, MOST, Given
from icp_ml.model.ensemble import MOST_MEMBERS, Ensemble
from icp_ml.model.members import MOST_MODELS

if TYPE_CHECKING:
    from icp_ml.model.propensity import PropensityClassifier


class StoredPropensities(Mapping[str, "PropensityClassifier"]):
    """Target → classifier, each made when it is first asked for.

    Scoring needs the ensembles only; a classifier needs scikit-learn, whose import takes longer than to load
    the rest of a model.

    Parameters
    ----------
    parts
        Target → what ``PropensityClassifier.to_state`` gave.

    Raises
    ------
    BundleError
        If a field is missing, of another type or out of range, or a model text is missing or unreadable.
    """

    def __init__(self, parts: Mapping[str, tuple[Mapping[str, Any] | Given, Mapping[str, str]]]) -> None:
        read = {name: (classifier_state(state), texts) for name, (state, texts) in parts.items()}
        self._states = {name: given.value for name, (given, _) in read.items()}
        self._made: dict[str, PropensityClassifier] = {}
        self.ensembles = {
            name: Ensemble.from_state(given["ensemble"], texts, name) for name, (given, texts) in read.items()
        }

    def __getitem__(self, name: str) -> PropensityClassifier:
        if name not in self._made:
            from icp_ml.model.propensity import PropensityClassifier

            own = PropensityClassifier.around(self.ensembles[name], self._states[name])
            self._made.setdefault(name, own)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)


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
