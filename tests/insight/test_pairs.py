"""A lift that exists only where two conditions meet."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.dataset import Dataset
from icp_ml.insight.building import build_profile
from icp_ml.insight.examine import Evidence, examine
from icp_ml.insight.pairs import search_pair
from icp_ml.insight.predicates import Predicate


def world(effect: float, *, alone: float = 0.0, n: int = 900, seed: int = 1) -> Dataset:
    """Retention 75 %, ``effect`` more where size is 20 to 60 and the flag is set, ``alone`` by the flag."""
    rng = np.random.default_rng(seed)
    size, flag = rng.uniform(0, 100, n), rng.random(n) < 0.5
    inside = (size >= 20) & (size < 60) & flag
    chance = 0.75 + effect * inside + alone * flag
    ids = [f"{number:04d}" for number in range(n)]
    frame = pd.DataFrame({"id": ids, "size": size, "flag": flag, "ok": rng.random(n) < chance})
    for number in range(6):
        frame[f"noise_{number}"] = rng.normal(size=n)
        frame[f"level_{number}"] = rng.choice(list("abcde"), n)
    return Dataset.from_frame(frame, account_id="id", labels={"retained": "ok"})


def evidence(dataset: Dataset) -> Evidence:
    return examine(dataset, "retained", seed=0, n_permutations=200)


@pytest.fixture(scope="module")
def found() -> Evidence:
    return evidence(world(0.22))


def test_the_pair_is_found_with_its_thresholds(found: Evidence) -> None:
    pair = search_pair(found, seed=0)
    assert pair is not None
    assert pair.side == 1
    assert pair.p_value <= 0.02
    assert pair.stable > 0.7
    by_feature = {predicate.feature: predicate for predicate in pair.predicates(found)}
    low, high = by_feature["size"].value
    assert by_feature["flag"].value is True
    assert 10 <= low <= 30
    assert 50 <= high <= 70


def test_accounts_that_judge_a_pair_did_not_find_it(found: Evidence) -> None:
    pair = search_pair(found, seed=0)
    assert pair is not None
    masks = [predicate.mask(world(0.22).features) for predicate in pair.predicates(found)]
    assert ((masks[0] == 1) & (masks[1] == 1)).tolist() == pair.final.tolist()
    assert 0 < (pair.apart != pair.final).sum() < 0.2 * len(pair.final)


def test_a_condition_that_adds_nothing_makes_no_pair() -> None:
    assert all(search_pair(evidence(world(0.0, alone=0.2, seed=seed)), seed=0) is None for seed in range(4))


def test_noise_makes_no_pair_and_few_events_none_at_all() -> None:
    assert (
        sum(search_pair(evidence(world(0.0, seed=seed)), seed=0) is not None for seed in range(10, 16)) <= 1
    )
    assert search_pair(evidence(world(0.2, n=150)), seed=0) is None


def test_the_profile_reports_the_pair_as_a_segment() -> None:
    dataset = world(0.22)
    segments = build_profile(dataset, {}, n_permutations=200).segments
    good = segments[segments["lift"] > 0].iloc[0]
    conditions = [Predicate.from_dict(part) for part in json.loads(good["conditions"])]
    assert {condition.feature for condition in conditions} == {"size", "flag"}
    assert good["lift_low"] <= 0.22 * 0.8 <= good["lift_high"] + 0.05
    assert good["decidable"] == 1.0
