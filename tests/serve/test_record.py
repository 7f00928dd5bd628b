"""A run described as plain data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.dataset import Dataset
from icp_ml.errors import InputWarning
from icp_ml.model.evaluation import Evaluation, evaluate
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.record import flat_metrics, placeholder_rows, run_record


def test_record_holds_settings_metrics_tables_and_lineage(profiled: IcpModel, dataset: Dataset) -> None:
    evaluation = evaluate(profiled, dataset, n_bootstrap=20)
    record = run_record(
        profiled,
        evaluation,
        params={"test_from": "2025-03-31"},
        files={"report.html": "<html>"},
    )
    assert record.fingerprint == dataset.fingerprint()
    assert record.params["seed"] == "3"
    assert record.params["test_from"] == "2025-03-31"
    assert {"retained/auc", "retained/auc_low", "retained/auc_high", "retained/auc_logistic"} <= set(
        record.metrics
    )
    assert record.metrics["retained/auc_gap"] == pytest.approx(
        record.metrics["retained/auc"] - record.metrics["retained/auc_folds"]
    )
    assert set(record.tables) == {"metrics", "deciles", "gaps", "traits", "segments"}
    assert len(record.example) == 2
    assert record.tags["dataset_fingerprint"] == record.fingerprint
    assert record.files == {"report.html": "<html>"}


def test_card_says_data_quality_and_limits(profiled: IcpModel, dataset: Dataset) -> None:
    card = run_record(profiled, evaluate(profiled, dataset, n_bootstrap=20)).card
    assert "500 accounts" in card
    assert dataset.fingerprint() in card
    assert "| retained | auc |" in card
    assert "associations" in card


def test_unknown_metrics_are_left_out() -> None:
    row = {
        "target": "retained",
        "name": "auc",
        "estimate": 0.7,
        "low": np.nan,
        "high": np.inf,
        "logistic": None,
    }
    assert flat_metrics(pd.DataFrame([row])) == {"retained/auc": 0.7}


def test_a_model_without_profile_has_no_trait_tables(model: IcpModel) -> None:
    metrics = pd.DataFrame(columns=["name", "target", "estimate", "low", "high", "n"])
    evaluation = Evaluation(metrics, pd.DataFrame(), {})
    record = run_record(model, evaluation)
    assert set(record.tables) == {"metrics", "deciles", "gaps"}
    assert "## Profile" not in record.card


def test_the_example_holds_nothing_of_any_customer(profiled: IcpModel, dataset: Dataset) -> None:
    example = placeholder_rows(profiled.schema)
    assert list(example.columns) == [profiled.schema.account_id, *profiled.schema.names]
    shown = {str(value) for name in example.columns for value in example[name]}
    assert shown == {"example-1", "example-2", "0.0", "example", "['example']"}
    with pytest.warns(InputWarning, match="never seen"):
        assert profiled.score(example)["p_retained"].between(0, 1).all()
