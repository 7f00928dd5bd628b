from __future__ import annotations

import json

import numpy as np

from icp_ml.data.dataset import Dataset
from icp_ml.insight.examine import examine
from icp_ml.insight.predicates import Predicate
from icp_ml.insight.profile import Profile
from icp_ml.insight.segments import segments_table
from icp_ml.insight.standing import settle
from icp_ml.simulation import SimulatedFrame


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
    table = segments_table(evidence, stand, max_conditions=1)
    assert all(len(json.loads(text)) == 1 for text in table["conditions"])
