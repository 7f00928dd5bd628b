from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icp_ml.insight.predicates import OPERATORS, Predicate, number_text

FRAME = pd.DataFrame(
    {
        "size": [1.0, 50.0, np.nan],
        "industry": ["Fintech", None, "Retail"],
        "public": [1.0, 0.0, np.nan],
        "technologies": [["Salesforce", "dbt"], [], None],
    }
)


@pytest.mark.parametrize(
    ("predicate", "want", "text"),
    [
        (Predicate("size", "between", [None, 50]), [1, 0, None], "size under 50"),
        (Predicate("size", "between", [50, None]), [0, 1, None], "size at least 50"),
        (Predicate("size", "between", [1, 50]), [1, 0, None], "size 1 to 50"),
        (Predicate("industry", "in", ["Fintech"]), [1, None, 0], "industry is Fintech"),
        (Predicate("industry", "in", ["A", "Retail"]), [0, None, 1], "industry is A or Retail"),
        (Predicate("technologies", "has", "SALESFORCE"), [1, 0, None], "uses SALESFORCE"),
        (Predicate("technologies", "lacks", "dbt"), [0, 1, None], "does not use dbt"),
        (Predicate("public", "has", True), [1, 0, None], "public is true"),
        (Predicate("public", "has", False), [0, 1, None], "public is false"),
        (Predicate("size", "is missing"), [0, 0, 1], "size is unknown"),
        (Predicate("technologies", "is missing"), [0, 0, 1], "technologies is unknown"),
        (Predicate("absent", "has", "x"), [None, None, None], "uses x"),
    ],
)
def test_three_answers_and_a_text(predicate: Predicate, want: list[float | None], text: str) -> None:
    got = [None if math.isnan(v) else v for v in predicate.mask(FRAME)]
    assert got == want
    assert predicate.text() == text
    state = json.loads(json.dumps(predicate.to_dict()))
    assert Predicate.from_dict(state) == predicate


def test_unknown_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an operator"):
        Predicate("size", "above", 3)  # type: ignore[arg-type]


@given(st.sampled_from(OPERATORS), st.integers(0, 2))
def test_a_row_is_judged_by_itself(operator: str, row: int) -> None:
    value = {"between": [2, 60], "in": ["Retail"], "has": "dbt", "lacks": "dbt", "is missing": None}[operator]
    feature = {"between": "size", "in": "industry", "is missing": "size"}.get(operator, "technologies")
    predicate = Predicate(feature, operator, value)  # type: ignore[arg-type]
    alone = predicate.mask(FRAME.iloc[[row]])
    assert np.array_equal(alone, predicate.mask(FRAME)[[row]], equal_nan=True)


def test_numbers_read_as_people_write_them() -> None:
    assert number_text(1_500_000) == "1.5 million"
    assert number_text(2e9) == "2 billion"
    assert number_text(-0.125) == "-0.125"
