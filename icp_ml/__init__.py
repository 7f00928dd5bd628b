"""Learn a company's ideal customer profile from what happened after the sale: retention and expansion.

Everything public is here. Names are loaded on first use, so that ``import icp_ml`` is light.

Examples
--------
>>> import icp_ml as icp
>>> icp.quarter_ends("2025-01-01", "2025-06-30")[0].isoformat()
'2025-03-31'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icp_ml.adapters.mlflow import MlflowTracker, champion_as_of, load
    from icp_ml.config import Config, load_config
    from icp_ml.data.dataset import Dataset, build_dataset
    from icp_ml.data.features import build_features
    from icp_ml.data.follow_up import FollowUp, follow_up
    from icp_ml.data.ipcw import censoring_weights, rows_by_weight
    from icp_ml.data.rejects import Rejects
    from icp_ml.data.schema import Feature, Schema
    from icp_ml.data.splits import PurgedGroupTimeSplit, split_out_of_time
    from icp_ml.data.tables import Tables, read_tables
    from icp_ml.data.tripwires import Finding, find_tripwires
    from icp_ml.data.windows import quarter_ends
    from icp_ml.errors import (
        BundleError,
        ConfigError,
        DataWarning,
        IcpError,
        IcpWarning,
        InputMismatchError,
        InputWarning,
        LeakageError,
        LeakageWarning,
        MissingDependencyError,
        NotEnoughDataError,
        OutputError,
        RelationError,
        TableError,
        TrackingError,
    )
    from icp_ml.insight.building import build_profile
    from icp_ml.insight.controls import Controls, negative_controls
    from icp_ml.insight.profile import Profile
    from icp_ml.model.evaluation import Evaluation, evaluate
    from icp_ml.model.fasttree.public import FastTreeContributions, contributions
    from icp_ml.model.hazard import HazardClassifier
    from icp_ml.model.propensity import PropensityClassifier
    from icp_ml.serve.applicability import applicability
    from icp_ml.serve.bundle import save
    from icp_ml.serve.icpmodel import IcpModel
    from icp_ml.serve.monitor import Monitoring, monitor
    from icp_ml.serve.record import RunRecord, run_record
    from icp_ml.serve.retrain import Outcome, retrain
    from icp_ml.serve.score import score_frame
    from icp_ml.serve.shift import Shift, shift
    from icp_ml.serve.stream import ScoreRun, score_parquet
    from icp_ml.serve.training import train

__version__ = "0.1.0"

_HOME = {
    "adapters.mlflow": ("MlflowTracker", "champion_as_of", "load"),
    "config": ("Config", "load_config"),
    "data.dataset": ("Dataset", "build_dataset"),
    "data.features": ("build_features",),
    "data.follow_up": ("FollowUp", "follow_up"),
    "data.ipcw": ("censoring_weights", "rows_by_weight"),
    "data.rejects": ("Rejects",),
    "data.schema": ("Feature", "Schema"),
    "data.splits": ("PurgedGroupTimeSplit", "split_out_of_time"),
    "data.tables": ("Tables", "read_tables"),
    "data.tripwires": ("Finding", "find_tripwires"),
    "data.windows": ("quarter_ends",),
    "errors": (
        "BundleError",
        "ConfigError",
        "DataWarning",
        "IcpError",
        "IcpWarning",
        "InputMismatchError",
        "InputWarning",
        "LeakageError",
        "LeakageWarning",
        "MissingDependencyError",
        "NotEnoughDataError",
        "OutputError",
        "RelationError",
        "TableError",
        "TrackingError",
    ),
    "insight.controls": ("Controls", "negative_controls"),
    "insight.building": ("build_profile",),
    "insight.profile": ("Profile",),
    "model.evaluation": ("Evaluation", "evaluate"),
    "model.fasttree.public": ("FastTreeContributions", "contributions"),
    "model.hazard": ("HazardClassifier",),
    "model.propensity": ("PropensityClassifier",),
    "serve.applicability": ("applicability",),
    "serve.bundle": ("save",),
    "serve.monitor": ("Monitoring", "monitor"),
    "serve.record": ("RunRecord", "run_record"),
    "serve.retrain": ("Outcome", "retrain"),
    "serve.score": ("score_frame",),
    "serve.shift": ("Shift", "shift"),
    "serve.stream": ("ScoreRun", "score_parquet"),
    "serve.icpmodel": ("IcpModel",),
    "serve.training": ("train",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "BundleError",
    "Config",
    "ConfigError",
    "Controls",
    "DataWarning",
    "Dataset",
    "Evaluation",
    "FastTreeContributions",
    "Feature",
    "Finding",
    "FollowUp",
    "HazardClassifier",
    "IcpError",
    "IcpModel",
    "IcpWarning",
    "InputMismatchError",
    "InputWarning",
    "LeakageError",
    "LeakageWarning",
    "MissingDependencyError",
    "MlflowTracker",
    "Monitoring",
    "NotEnoughDataError",
    "Outcome",
    "OutputError",
    "Profile",
    "PropensityClassifier",
    "PurgedGroupTimeSplit",
    "Rejects",
    "RelationError",
    "RunRecord",
    "Schema",
    "ScoreRun",
    "Shift",
    "TableError",
    "Tables",
    "TrackingError",
    "applicability",
    "build_dataset",
    "build_features",
    "build_profile",
    "censoring_weights",
    "champion_as_of",
    "contributions",
    "evaluate",
    "find_tripwires",
    "follow_up",
    "load",
    "load_config",
    "monitor",
    "negative_controls",
    "quarter_ends",
    "read_tables",
    "retrain",
    "rows_by_weight",
    "run_record",
    "save",
    "score_frame",
    "score_parquet",
    "shift",
    "split_out_of_time",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use and keep it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'icp_ml' has no attribute {name!r}")
    value = getattr(import_module(f"icp_ml.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
