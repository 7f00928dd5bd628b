"""Classifiers as a bundle holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from icp_ml.foreign import Given
from icp_ml.model.classifierstate import classifier_state
from icp_ml.model.ensemble import Ensemble

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
