from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.schema import Feature, Schema
from icp_ml.insight import reasons
from icp_ml.insight.predicates import number_text
from icp_ml.insight.reasons import LEAST, explain_rows
from icp_ml.model import contributions

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


def test_numbers_and_amounts_are_rounded_as_python_rounds_them() -> None:
    rng = np.random.default_rng(0)
    sizes = np.round(rng.normal(size=400) * 10.0 ** rng.integers(-6, 9, 400), rng.integers(0, 6))
    edges = [999.5, 999.95, 999.949, 1000.5, 1001.5, 0.12345, 2.5, 0.00125, 1e6, 999_999.6, 12.0001, -3.25]
    values = np.array([*sizes, *rng.integers(0, 10**6, 200) / 1000, *edges]) + 0.0
    amounts = np.array([*rng.normal(0, 0.5, len(values) - 4), 0.125, 0.005, 1.005, 2.675])
    told = explain_rows(
        pd.DataFrame({"size": amounts}), pd.DataFrame({"size": values}), Schema((Feature("size", "numeric"),))
    )
    for value, amount, text, risk in zip(values, amounts, told["reason_1"], told["risk_1"], strict=True):
        said = f"size is {number_text(value)} ({amount:+.2f})" if abs(amount) >= 0.005 else None
        assert (text if amount > 0 else risk) == said
    zero = explain_rows(
        pd.DataFrame({"size": [0.1, 0.1]}),
        pd.DataFrame({"size": [-0.0, 0.0]}),
        Schema((Feature("size", "numeric"),)),
    )
    assert zero["reason_1"].tolist() == ["size is 0 (+0.10)"] * 2


def test_a_tool_is_written_as_the_account_writes_it_in_reasons_and_in_risks() -> None:
    names = ("dbt", "sales force")
    parts = [SimpleNamespace(feature="technologies", role="tool", value=name) for name in names]
    stacks = [["DBT", "Sales  Force"], ["sales force", "Dbt"], [], ["Sales Force"]]
    frame = pd.DataFrame({"technologies": pd.Series(stacks, dtype=object)})
    matrix = np.array([[0.3, -0.2], [-0.3, 0.2], [0.3, -0.2], [-0.1, 0.1]])
    schema = Schema((Feature("technologies", "technologies"), Feature("x", "numeric")))
    told = explain_rows(
        pd.DataFrame({"technologies": [0.1, -0.1, 0.1, 0.1]}),
        frame,
        schema,
        count=1,
        encoded=(matrix, SimpleNamespace(parts=parts)),
    )
    assert told["reason_1"].tolist() == ["uses DBT (+0.10)", None, "does not use dbt (+0.10)"] + [
        "uses Sales Force (+0.10)"
    ]
    assert told["risk_1"].tolist() == [None, "uses Dbt (-0.10)", None, None]


def test_kernel_and_numpy_choose_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    # Steps of a half in the ninth digit, so that there are ties, some of them by rounding, also at the bar.
    values = LEAST * rng.integers(-3, 4, size=(400, 7)) + 5e-10 * rng.integers(-3, 4, size=(400, 7))
    rows = rng.integers(0, 400, size=600)
    signs, columns = rng.choice([-1, 1], size=600), np.array([1, 3, 4, 6])

    def found() -> list[np.ndarray]:
        return [
            *(reasons._chosen(values, count) for count in (1, 3, 9)),
            *reasons._strongest(values, columns, rows, signs),
        ]

    by_numpy = found()
    monkeypatch.setattr(contributions, "KERNEL_ROWS", 1)
    for kernel, wanted in zip(found(), by_numpy, strict=True):
        np.testing.assert_array_equal(kernel, wanted)
    assert {-1, 0, 6} <= set(by_numpy[1].ravel().tolist())
