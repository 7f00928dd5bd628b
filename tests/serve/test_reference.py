"""Percentiles, tiers, ARR ratios and applicability."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from icp_ml.data.schema import Feature, Schema
from icp_ml.errors import BundleError
from icp_ml.model.columns import read_columns
from icp_ml.serve.reference import Ratios, Reference, arr_ratios, seen_values, tiers
from icp_ml.serve.typicality import Typicality, fit_typicality

SCHEMA = Schema(
    (
        Feature("size", "numeric"),
        Feature("industry", "category"),
        Feature("remote", "boolean"),
        Feature("stack", "technologies"),
    )
)


def training_features() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "size": np.linspace(0.0, 100.0, 101),
            "industry": ["a", "b", None] * 33 + ["a", "b"],
            "remote": [1.0, 0.0, np.nan] * 33 + [1.0, 0.0],
            "stack": [["Jira"], [], None] * 33 + [["jira", "Slack"], []],
        }
    )


def typicality() -> Typicality:
    columns = read_columns(training_features(), SCHEMA)
    return fit_typicality(columns, np.arange(columns.n_rows))


TYPICALITY = typicality()


def reference(quantiles: np.ndarray) -> Reference:
    seen = seen_values(training_features(), SCHEMA)
    return Reference(tuple(quantiles.tolist()), "p_retained", Ratios(), seen, TYPICALITY)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=50), st.lists(st.floats(-1, 2), min_size=2, max_size=50)
)
@example([0.0, 2.2250738585072014e-308], [0.0, 2.225073858507e-311])
@example([0.0, 1.0, 2.2250738585072014e-308], [0.5, 2.225073858507e-311])
def test_percentile_is_monotone_and_within_0_100(training: list[float], scored: list[float]) -> None:
    quantiles = np.percentile(training, np.linspace(0, 100, 101))
    percentile = reference(quantiles).percentile(np.sort(np.array(scored)))
    assert ((percentile >= 0) & (percentile <= 100)).all()
    assert (np.diff(percentile) >= 0).all()


def test_percentile_of_the_median_and_beyond_the_ends() -> None:
    found = reference(np.linspace(0, 1, 101)).percentile(np.array([0.5, -1.0, 2.0, np.nan]))
    assert found[:3].tolist() == [50.0, 0.0, 100.0]
    assert np.isnan(found[3])


def test_tied_scores_share_the_middle() -> None:
    assert reference(np.full(101, 0.3)).percentile(np.array([0.3])).tolist() == [50.0]


@pytest.mark.parametrize(
    ("fit", "tier"), [(100, "A"), (80, "A"), (79.999, "B"), (50, "B"), (20, "C"), (19.999, "D")]
)
def test_tier_boundaries(fit: float, tier: str) -> None:
    assert tiers(np.array([fit]), np.array([False])).tolist() == [tier]


def test_a_row_without_a_fit_score_is_in_the_lowest_tier() -> None:
    assert tiers(np.array([np.nan]), np.array([False])).tolist() == ["D"]


def test_arr_ratios_are_weighted_by_arr() -> None:
    labels = pd.DataFrame(
        {
            "retained": pd.array([True, True, True, False, pd.NA], dtype="boolean"),
            "expanded": pd.array([True, True, False, False, pd.NA], dtype="boolean"),
            "starting_arr": [100.0, 300.0, 100.0, 100.0, 100.0],
            "arr_ratio": [2.0, 1.2, 0.9, 0.0, np.nan],
        }
    )
    ratios = arr_ratios(labels)
    cut = min(2.0, ratios.cap)
    assert ratios.expanded == pytest.approx((100 * cut + 300 * 1.2) / 400)
    assert ratios.flat == pytest.approx(0.9)
    assert ratios.cap <= 2.0


def test_expected_nrr_falls_back_and_never_counts_an_account_twice() -> None:
    ratios = Ratios(expanded=1.5, flat=1.0, retained=1.2, cap=3.0)
    retained, expanded = np.array([0.8, 0.3]), np.array([0.2, 0.5])
    assert ratios.expected(retained, expanded).tolist() == pytest.approx([0.2 * 1.5 + 0.6, 0.5 * 1.5])
    assert ratios.expected(retained, None).tolist() == pytest.approx([0.96, 0.36])
    assert ratios.expected(None, expanded) is None


def test_no_arr_no_expected_nrr() -> None:
    labels = pd.DataFrame(
        {"retained": pd.array([True], dtype="boolean"), "starting_arr": [np.nan], "arr_ratio": [np.nan]}
    )
    assert np.isnan(arr_ratios(labels).expected(np.array([0.5]), None)).all()


def row(**changes: object) -> pd.DataFrame:
    values: dict[str, object] = {"size": 50.0, "industry": "a", "remote": 1.0, "stack": ["JIRA"]}
    values |= changes
    return pd.DataFrame({name: [value] for name, value in values.items()})


def test_unseen_levels_and_tools_are_counted() -> None:
    rows = pd.concat([row(industry="never"), row(stack=["Jira", "New"]), row()], ignore_index=True)
    unseen = reference(np.linspace(0, 1, 101)).unseen(read_columns(rows, SCHEMA))
    assert unseen == {"industry": 1, "stack": 1}


def test_state_round_trip() -> None:
    before = Reference(
        tuple(np.linspace(0, 1, 101).tolist()),
        "expected_nrr",
        Ratios(1.5, 1.0, 1.2, float("nan")),
        seen_values(training_features(), SCHEMA),
        TYPICALITY,
    )
    after = Reference.from_state(json.loads(json.dumps(before.to_state(), allow_nan=False)))
    assert after.seen == before.seen
    assert after.quantiles == before.quantiles
    assert np.isnan(after.ratios.cap)
    assert after.ratios.expanded == 1.5
    columns = read_columns(pd.concat([row(), row(size=1e6)]), SCHEMA)
    assert after.typicality.percentile(columns).tolist() == TYPICALITY.percentile(columns).tolist()


def test_a_reference_of_an_older_version_is_refused() -> None:
    state = reference(np.linspace(0, 1, 101)).to_state()
    del state["typicality"]
    with pytest.raises(BundleError, match="train the model anew"):
        Reference.from_state(state)
