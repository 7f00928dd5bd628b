"""The whole line into a real store: raw tables, retraining twice, the champion's scores."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest

from icp_ml.adapters.mlflow import MlflowTracker, load
from icp_ml.config import Config, DataConfig
from icp_ml.data.features import build_features
from icp_ml.data.tables import Tables, read_tables
from icp_ml.data.windows import quarter_ends
from icp_ml.errors import IcpWarning
from icp_ml.serve.retrain import retrain
from icp_ml.serve.stream import score_parquet
from icp_ml.simulation import make_tables

pytestmark = pytest.mark.mlflow


@pytest.fixture(scope="module")
def tables() -> Tables:
    base = dict(make_tables(250, seed=3, n_nulls=4, n_tools=40, prospects=0.0).tables)
    kept = ["account_id", "valid_from", "industry", "employees", "has_data_team"]
    base["accounts"] = base["accounts"][[name for name in kept if name in base["accounts"]]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IcpWarning)
        return read_tables(base)[0]


def test_retrain_twice_then_score_with_the_champion(tables: Tables, store: str, tmp_path: Path) -> None:
    days = tuple(quarter_ends("2022-12-31", "2024-09-30"))
    config = Config(data=DataConfig(snapshot_dates=days))
    tracker = MlflowTracker(experiment="line", model_name="line", tracking_uri=store)
    first = retrain(tables, config, tracker, draw=lambda model, evaluation: {"report.html": "<p>hello</p>"})
    again = retrain(tables, config, tracker)
    assert (again.version, again.promoted, again.repeated) == (first.version, True, True)
    second = retrain(tables, config, tracker, force=True)
    assert (first.promoted, second.promoted) == (True, True)
    assert tracker.history()["version"].tolist() == ["line/1", "line/2"]
    assert tracker.champion() == second.version == "line/2"

    model = load("models:/line@champion", tracking_uri=store)
    features = build_features(tables, as_of="2025-09-30", schema=model.schema)
    features.to_parquet(tmp_path / "features.parquet", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IcpWarning)
        run = score_parquet(model, tmp_path / "features.parquet", tmp_path / "scores", batch_rows=100)
        scores = model.score(features)
    written = pd.read_parquet(run.path / "part-00000.parquet")
    assert len(written) == len(features) == len(scores)
    assert set(written["model_version"]) == {"line/2"}
    assert written["expected_nrr"].tolist() == scores["expected_nrr"].tolist()
    assert scores["expected_nrr"].between(0, 3).all()
    assert (scores["as_of"] == pd.Timestamp("2025-09-30")).all()
