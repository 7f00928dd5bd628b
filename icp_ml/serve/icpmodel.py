"""The trained model: schema, classifiers, profile, reference and facts, frozen.

It is what every nightly scoring run loads, so nothing here imports what only training needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icp_ml.data.conform import conform
from icp_ml.data.schema import Schema
from icp_ml.model.ensemble import Ensemble
from icp_ml.model.stored import StoredPropensities
from icp_ml.serve.reference import Reference
from icp_ml.serve.score import score_frame

if TYPE_CHECKING:
    from icp_ml.insight.profile import Profile
    from icp_ml.model.propensity import PropensityClassifier

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IcpModel:
    """Everything learnt from one dataset, frozen: what :func:`icp_ml.save` writes and a version names.

    Parameters
    ----------
    schema
        The feature columns it was trained on.
    propensities
        Target → calibrated classifier, for ``retained`` and ``expanded``; at least one of them.
    profile
        Who is ideal and who isn't, with evidence; None when trained with ``profile=False``.
    reference
        What scores are measured against.
    facts
        Plain facts of the training: rows, accounts, events, dates, dataset fingerprint, package versions,
        targets skipped and why.
    version
        Name and version in the registry such as ``icp/3``; empty until registered.
    """

    schema: Schema
    propensities: Mapping[str, PropensityClassifier]
    profile: Profile | None
    reference: Reference
    facts: Mapping[str, Any]
    version: str = ""

    @property
    def ensembles(self) -> Mapping[str, Ensemble]:
        """What scores, by target: the classifiers without scikit-learn around them."""
        if isinstance(self.propensities, StoredPropensities):
            return self.propensities.ensembles
        return {name: classifier.ensemble for name, classifier in self.propensities.items()}

    def score(self, features: pd.DataFrame, *, reasons: int = 3) -> pd.DataFrame:
        """Score accounts; see :func:`icp_ml.serve.score.score_frame`."""
        return score_frame(self, features, reasons=reasons)

    def expected_ratio(self, features: pd.DataFrame) -> Floats:
        """Return the expected ending/starting ARR per row.

        Parameters
        ----------
        features
            Features frame, or the user's own frame of a ``Dataset.from_frame`` model.

        Returns
        -------
        Ratios, shape (n_rows,); NaN when the model has no retention target or knew no ARR.
        """
        table = conform(features, self.schema)[self.schema.names]
        chances = {
            name: classifier.predict_proba(table)[:, 1] for name, classifier in self.propensities.items()
        }
        ratio = self.reference.ratios.expected(chances.get("retained"), chances.get("expanded"))
        return np.full(len(table), np.nan) if ratio is None else ratio


def plain(value: object) -> Any:
    """Return a value as JSON knows it: dates as text, tuples as lists, NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)
