from __future__ import annotations

import json

import numpy as np
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.insight.building import build_profile
from icp_ml.insight.examine import examine
from icp_ml.insight.predicates import Predicate
from icp_ml.insight.profile import Profile
from icp_ml.insight.render import profile_text
from icp_ml.insight.segments import find_segments
from icp_ml.insight.standing import settle
from icp_ml.simulation import SimulatedFrame
from icp_ml.view.traits import segment_rows


def test_segments_are_short_held_out_and_decidable(profile: Profile, dataset: Dataset) -> None:
    segments = profile.segments
    assert len(segments) > 0
    assert (segments["jaccard_stability"].between(0, 1)).all()
    confirmed = set(profile.traits.loc[profile.traits["kind"].isin(["icp", "anti_icp"]), "feature"])
    for row in segments.to_dict("records"):
        conditions = json.loads(row["conditions"])
        assert 1 <= len(conditions) <= 3
        assert {part["feature"] for part in conditions} <= confirmed
        assert row["lift_low"] <= row["lift"] <= row["lift_high"]
        assert row["lift_low"] > 0 or row["lift_high"] < 0
        assert row["n_accounts"] >= 30
        masks = np.array([Predicate.from_dict(part).mask(dataset.features) for part in conditions])
        known = ~np.isnan(masks).any(axis=0) | (masks == 0).any(axis=0)
        assert row["decidable"] == known.mean()
        assert row["n_accounts"] == (masks == 1).all(axis=0).sum()


def test_the_good_segment_is_truly_better(profile: Profile, base: SimulatedFrame) -> None:
    good = profile.segments[(profile.segments["target"] == "retained") & (profile.segments["lift"] > 0)].iloc[
        0
    ]
    people = base.truth.population(10_000, seed=43)
    true = base.truth.lift({"conditions": json.loads(good["conditions"])}, people)
    assert true > 0.05
    assert abs(good["lift"] - true) < 0.05


def test_at_most_as_many_conditions_as_asked(dataset: Dataset) -> None:
    evidence, stand = settle(examine(dataset, "retained", seed=3, n_permutations=400), 0.1)
    table = find_segments(evidence, stand, max_conditions=1).table
    assert all(len(json.loads(text)) == 1 for text in table["conditions"])


def two_traits(second: float) -> Profile:
    """Return the profile of accounts with two traits; one is enough, the second is as strong as asked."""
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 1500)) < 0.4
    frame = pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(1500)],
            "x": x,
            "y": y,
            "retained": (rng.random(1500) < 0.5 + np.maximum(0.3 * x, second * y)).astype(float),
        }
    )
    dataset = Dataset.from_frame(frame, account_id="account_id", labels={"retained": "retained"})
    return build_profile(dataset, {}, seed=0)


def test_a_segment_that_does_as_well_is_named_beside_the_reported_one() -> None:
    profile = two_traits(0.3)
    good = profile.segments.query("lift > 0").iloc[0]
    (equal,) = [one for one in profile.facts["runners_up"] if one["segment"] == good["name"]]
    assert {good["name"], equal["name"]} == {"x is true", "y is true"}
    assert equal["lift"] > 0
    assert f"as well: {equal['name']}" in profile_text(profile)
    (row,) = [row for row in segment_rows(profile.segments, profile.facts["runners_up"]) if row["as_well"]]
    assert row["as_well"] == equal["name"]


def test_a_weaker_segment_is_no_equal() -> None:
    assert not two_traits(0.15).facts["runners_up"]
