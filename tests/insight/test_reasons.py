from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from icp_ml.data.schema import Feature, Schema
from icp_ml.insight.reasons import explain_rows

SCHEMA = Schema(
    (
        Feature("employees", "numeric"),
        Feature("industry", "category"),
        Feature("public", "boolean"),
        Feature("technologies", "technologies"),
    )
)
FRAME = pd.DataFrame(
    {
        "employees": [1200.0, np.nan],
        "industry": ["Fintech", None],
        "public": [1.0, np.nan],
        "technologies": pd.Series([["Salesforce", "dbt"], None], dtype=object, index=[7, 9]),
    },
    index=[7, 9],
)
PARTS = pd.DataFrame(
    {
        "employees": [0.3, -0.2],
        "industry": [-0.4, 0.1],
        "public": [0.001, 0.2],
        "technologies": [0.25, -0.3],
    },
    index=[7, 9],
)


def test_reasons_and_risks_in_order_of_size() -> None:
    texts = explain_rows(PARTS, FRAME, SCHEMA, count=2)
    assert texts.columns.tolist() == ["reason_1", "reason_2", "risk_1", "risk_2"]
    assert texts.loc[7].tolist() == [
        "employees is 1,200 (+0.30)",
        "technologies: 2 in use (+0.25)",
        "industry is Fintech (-0.40)",
        None,
    ]
    assert texts.loc[9].tolist() == [
        "public is unknown (+0.20)",
        "industry is unknown (+0.10)",
        "technologies is unknown (-0.30)",
        "employees is unknown (-0.20)",
    ]


def test_a_stack_is_explained_by_its_most_telling_tool() -> None:
    parts = [
        SimpleNamespace(feature="technologies", role="tool", value="salesforce"),
        SimpleNamespace(feature="technologies", role="tool", value="sap"),
    ]
    matrix = np.array([[0.2, 0.05], [0.0, 0.0]])
    told = explain_rows(PARTS, FRAME, SCHEMA, count=2, encoded=(matrix, SimpleNamespace(parts=parts)))
    assert told.loc[7, "reason_2"] == "uses Salesforce (+0.25)"
    absent = np.array([[0.01, 0.3], [0.0, 0.0]])
    told = explain_rows(PARTS, FRAME, SCHEMA, count=2, encoded=(absent, SimpleNamespace(parts=parts)))
    assert told.loc[7, "reason_2"] == "does not use sap (+0.25)"


def test_texts_do_not_depend_on_neighbours() -> None:
    whole = explain_rows(PARTS, FRAME, SCHEMA, count=3)
    for row in (0, 1):
        alone = explain_rows(PARTS.iloc[[row]], FRAME.iloc[[row]], SCHEMA, count=3)
        pd.testing.assert_frame_equal(alone, whole.iloc[[row]])


def test_more_asked_for_than_there_are_features() -> None:
    texts = explain_rows(PARTS, FRAME, SCHEMA, count=6)
    assert texts.shape == (2, 12)
    assert texts["reason_6"].isna().all()
