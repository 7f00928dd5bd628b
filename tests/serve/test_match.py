"""Fit, not fit, unknown: the profile's rules in three-valued logic."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from icp_ml.serve.match import icp_match

MUST = {"feature": "size", "operator": "between", "value": "[10, null]", "role": "must_have"}
HARD_NO = {"feature": "industry", "operator": "in", "value": '["Public"]', "role": "hard_no"}
NICE = {"feature": "stack", "operator": "has", "value": '"Jira"', "role": "nice_to_have"}
SEGMENT = [
    {"feature": "industry", "operator": "in", "value": ["Fintech"]},
    {"feature": "stack", "operator": "has", "value": "Segment"},
]


@dataclass(frozen=True, eq=False)
class Found:
    """The part of a profile that rules are read from."""

    traits: pd.DataFrame
    segments: pd.DataFrame


def profile(*traits: dict, segments: tuple = (), lift: float = 0.1, target: str = "retained") -> Found:
    return Found(
        traits=pd.DataFrame(list(traits), columns=["feature", "operator", "value", "role"]),
        segments=pd.DataFrame(
            {"conditions": [json.dumps(s) for s in segments], "lift": lift, "target": target}
        ),
    )


def answer(found: Found | None, **row: object) -> str:
    values: dict[str, object] = {"size": 20.0, "industry": "Retail", "stack": []}
    values |= row
    features = pd.DataFrame({name: [value] for name, value in values.items()})
    return str(icp_match(found, features)[0][0])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, "fit"),
        ({"size": 5.0}, "not_fit"),
        ({"size": np.nan}, "unknown"),
        ({"industry": "Public"}, "not_fit"),
        ({"size": 5.0, "industry": "Fintech", "stack": ["segment"]}, "fit"),
        ({"size": np.nan, "industry": "Fintech", "stack": ["Segment"]}, "fit"),
        ({"size": 20.0, "industry": None, "stack": None}, "fit"),
    ],
)
def test_must_haves_segments_and_hard_nos(row: dict[str, object], expected: str) -> None:
    assert answer(profile(MUST, HARD_NO, NICE, segments=(SEGMENT,)), **row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"industry": "Fintech", "stack": ["Segment"]}, "fit"),
        ({"industry": "Fintech"}, "not_fit"),
        ({"industry": "Fintech", "stack": None}, "unknown"),
        ({"industry": "Retail", "stack": None}, "not_fit"),
    ],
)
def test_segments_alone(row: dict[str, object], expected: str) -> None:
    assert answer(profile(segments=(SEGMENT,)), **row) == expected


def test_nothing_found_is_unknown_not_fit() -> None:
    assert answer(profile(NICE)) == "unknown"
    assert answer(None) == "unknown"


@pytest.mark.parametrize(("target", "lift"), [("retained", -0.1), ("churned_first_year", 0.1)])
def test_a_segment_that_does_worse_is_no_fit(target: str, lift: float) -> None:
    found = profile(segments=(SEGMENT,), lift=lift, target=target)
    assert answer(found, industry="Fintech", stack=["Segment"]) == "unknown"


def test_a_segment_that_churns_less_is_a_fit() -> None:
    found = profile(segments=(SEGMENT,), lift=-0.1, target="churned_first_year")
    assert answer(found, industry="Fintech", stack=["Segment"]) == "fit"


def test_hard_no_rows_are_reported_for_the_tier() -> None:
    features = pd.DataFrame({"industry": ["Public", "Retail", None], "size": [20.0] * 3})
    assert icp_match(profile(HARD_NO), features)[1].tolist() == [True, False, False]


def test_each_profile_has_rules_of_its_own():
    one, other = profile(MUST), profile({**MUST, "value": "[30, null]"})
    assert [answer(found) for found in (one, other, one)] == ["fit", "not_fit", "fit"]
