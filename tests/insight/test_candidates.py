from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from icp_ml.data.schema import Feature, Schema
from icp_ml.insight.candidates import build_design, cut_points


def frame_of(n: int = 400) -> tuple[pd.DataFrame, Schema]:
    rng = np.random.default_rng(0)
    stack = [["CRM", "Rare"] if i < 3 else ["crm"] if i % 2 else [] for i in range(n)]
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.2, np.nan, np.exp(rng.normal(4, 1, n))),
            "industry": rng.choice(["A", "B", "C"], n),
            "flag": (rng.random(n) < 0.3).astype(float),
            "technologies": pd.Series(stack, dtype=object),
        }
    )
    frame.loc[:4, "industry"] = "tiny"
    kinds = {"size": "numeric", "industry": "category", "flag": "boolean", "technologies": "technologies"}
    return frame, Schema(tuple(Feature(name, kind) for name, kind in kinds.items()))  # type: ignore[arg-type]


def test_one_candidate_per_feature_tool_and_gap() -> None:
    frame, schema = frame_of()
    design = build_design(frame, schema, np.arange(len(frame)))
    assert [c.key for c in design.candidates] == [
        "size",
        "size is missing",
        "industry",
        "flag",
        "technologies: crm",
    ]
    assert design.candidates[2].labels == ("A", "B", "C", None)


def test_every_known_row_falls_into_exactly_one_bin_and_predicates_agree_with_bins() -> None:
    frame, schema = frame_of()
    account = np.arange(len(frame))
    design = build_design(frame, schema, account)
    counts = design.per_account(account, len(frame), np.ones(len(frame)))
    for j in (0, 2):
        bins = counts[:, design.bins_of(j)]
        known = design.known_per_account(account, len(frame), np.ones(len(frame)))[:, j]
        assert np.array_equal(bins.sum(axis=1), known)
        chosen = np.zeros(bins.shape[1], dtype=bool)
        chosen[1:2] = True
        mask = design.candidates[j].predicate(chosen).mask(frame)
        assert np.array_equal(np.nan_to_num(mask), bins[:, 1])


@settings(max_examples=60)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=200),
    st.integers(2, 12),
)
def test_cut_points_are_few_ascending_and_leave_no_bin_empty(values: list[float], bins: int) -> None:
    edges = cut_points(np.array(values), bins)
    assert len(edges) < bins
    assert all(a < b for a, b in zip(edges, edges[1:], strict=False))
    if edges:
        filled = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        assert (filled > 0).all()


def test_edges_are_human_numbers_when_that_moves_hardly_anybody() -> None:
    values = np.exp(np.random.default_rng(1).normal(5, 1.2, 5000))
    edges = cut_points(values, 4)
    assert all(len(f"{edge:g}".rstrip("0")) <= 3 for edge in edges)
    for edge, share in zip(edges, (0.25, 0.5, 0.75), strict=True):
        assert abs((values < edge).mean() - share) < 0.011


def test_cutting_ignores_how_often_an_account_is_repeated() -> None:
    values = np.random.default_rng(2).normal(size=333)
    assert cut_points(values, 10) == cut_points(np.repeat(values, 8), 10)
