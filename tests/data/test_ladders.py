"""Known orders of category levels, and traits that are runs of steps."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import icp_ml as icp
from icp_ml.data.ladders import steps
from icp_ml.insight.candidates import build_design


@pytest.mark.parametrize(
    "ladder",
    [
        ["Bootstrapped", "Pre-Seed", "Seed", "Series A", "series_b", "SERIES C", "Series D+", "IPO"],
        ["1-10", "11-50", "51-200", "201-500", "501-1,000", "1,001-5,000", "5,001-10,000", "10,001+"],
        ["<$1M", "$1M - $5M", "$5M - $50M", "$50M - $1B", "> $1B"],
        ["under 50", "50 to 249", "250 or more"],
        ["<10 employees", "10-49 employees", "50+ employees"],
        ["1-5M", "5-50M", "50M+"],
        ["Low", "Medium", "High"],
        ["SMB", "Mid-Market", "Enterprise"],
    ],
)
def test_the_order_of_the_levels_given_does_not_matter(ladder: list[str]) -> None:
    mixed = np.random.default_rng(len(ladder)).permutation(len(ladder))
    assert steps([ladder[i] for i in mixed]) == tuple(mixed.tolist())


@pytest.mark.parametrize(
    "levels",
    [
        ["Software", "Retail", "Banking"],
        ["Seed", "Series A", "Private equity"],
        ["Seed", "Series A"],  # two levels need no order
        ["1-10", "5-20", "21+"],  # bands that overlap
        ["10-1", "11-50", "51+"],
        ["Low", "Large", "Enterprise"],
        [],
    ],
)
def test_levels_that_are_not_one_ladder_are_left_alone(levels: list[str]) -> None:
    assert steps(levels) is None


@given(st.lists(st.integers(1, 10**6), min_size=3, max_size=9, unique=True))
def test_bands_are_ordered_by_their_ends(cuts: list[int]) -> None:
    ends = sorted(cuts)
    bands = [f"<{ends[0]}"] + [f"{a}-{b}" for a, b in zip(ends, ends[1:], strict=False)] + [f"{ends[-1]:,}+"]
    assert steps(bands) == tuple(range(len(bands)))


def dataset(levels: list[str], step: np.ndarray, retained: np.ndarray) -> icp.Dataset:
    frame = pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(len(step))],
            "band": np.array(levels, dtype=object)[step],
            "retained": retained.astype(float),
        }
    )
    return icp.Dataset.from_frame(frame, account_id="account_id", labels={"retained": "retained"})


def test_a_trait_on_a_ladder_is_a_run_of_steps_and_rare_steps_join_their_neighbour() -> None:
    rng = np.random.default_rng(3)
    levels = ["1-10", "11-50", "51-200", "201-500", "501-1000", "1001+"]
    step = rng.choice(6, size=900, p=[0.2, 0.25, 0.25, 0.2, 0.097, 0.003])
    retained = rng.random(900) < np.where((step >= 1) & (step <= 2), 0.93, 0.65)
    data = dataset(levels, step, retained)
    design = build_design(data.features, data.schema, np.arange(900))
    (ladder,) = design.candidates
    assert ladder.search == "ladder"
    assert ladder.labels[-1] == ("1001+", "501-1000")
    profile = icp.build_profile(data, {}, seed=0)
    (trait,) = profile.traits.to_dict("records")
    assert (trait["kind"], trait["operator"]) == ("icp", "in")
    assert trait["value"] == '["11-50", "51-200"]'
