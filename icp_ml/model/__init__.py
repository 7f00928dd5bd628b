"""A probability: own encoding, candidates chosen out of fold, sigmoid calibration, exact contributions."""

from __future__ import annotations

from icp_ml.model.evaluation import Evaluation, evaluate
from icp_ml.model.propensity import PropensityClassifier

__all__ = ["Evaluation", "PropensityClassifier", "evaluate"]
