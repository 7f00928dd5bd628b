"""A real MLflow store in SQLite, made once; a small model; raw tables from the simulation."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401

from icp_ml.data.dataset import Dataset
from icp_ml.model.evaluation import Evaluation, evaluate
from icp_ml.serve.bundle import save
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.record import RunRecord, run_record
from icp_ml.serve.training import train


def raw_frame(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    industry = rng.choice(["Fintech", "Retail", "Health"], rows)
    seats = rng.integers(5, 500, rows).astype(float)
    stack = [
        sorted(rng.choice(["Jira", "Slack", "SAP"], rng.integers(0, 3), replace=False)) for _ in range(rows)
    ]
    logit = 1.5 * (industry == "Fintech") + 0.004 * (seats - 250)
    return pd.DataFrame(
        {
            "account_id": [f"c{i:04d}" for i in range(rows)],
            "industry": industry,
            "seats": seats,
            "stack": [[str(tool) for tool in tools] for tools in stack],
            "renewed": rng.random(rows) < 1 / (1 + np.exp(-logit)),
        }
    )


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return raw_frame(300, 1)


@pytest.fixture(scope="session")
def fresh() -> pd.DataFrame:
    return raw_frame(40, 2).drop(columns="renewed")


@pytest.fixture(scope="session")
def dataset(frame: pd.DataFrame) -> Dataset:
    return Dataset.from_frame(
        frame, account_id="account_id", labels={"retained": "renewed"}, technologies=["stack"]
    )


@pytest.fixture(scope="session")
def model(dataset: Dataset) -> IcpModel:
    return train(dataset, profile=False)


@pytest.fixture(scope="session")
def evaluation(model: IcpModel, dataset: Dataset) -> Evaluation:
    return evaluate(model, dataset, n_bootstrap=20)


@pytest.fixture(scope="session")
def record(model: IcpModel, evaluation: Evaluation, dataset: Dataset) -> RunRecord:
    return run_record(
        model,
        evaluation,
        files={"report.html": "<html></html>", "figures/lift.png": b"png"},
    )


@pytest.fixture(scope="session")
def bundle(model: IcpModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    save(model, path)
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of an empty SQLite store; MLflow's first use of it makes the tables."""
    folder = tmp_path_factory.mktemp("mlflow")
    return f"sqlite:///{folder / 'mlflow.db'}"
