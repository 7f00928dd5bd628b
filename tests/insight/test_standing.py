"""Traits that stand for themselves, stand-ins, and traits that only stand-ins carried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from icp_ml.data.dataset import Dataset
from icp_ml.insight.building import build_profile
from icp_ml.insight.examine import Evidence, examine
from icp_ml.insight.profile import Profile
from icp_ml.insight.standing import settle
from icp_ml.insight.wording import sentence


def world(n: int = 1500, seed: int = 3) -> Dataset:
    """A cause with holes, a noisy copy of it, and an effect of its own."""
    rng = np.random.default_rng(seed)
    size, own = rng.normal(size=n), rng.random(n) < 0.4
    chance = 0.7 + 0.2 * (size > 0) + 0.1 * own
    frame = pd.DataFrame(
        {
            "id": range(n),
            "size": np.where(rng.random(n) < 0.15, np.nan, size),
            "copy": size + 0.7 * rng.normal(size=n),
            "own": own,
            "noise": rng.normal(size=n),
            "ok": rng.random(n) < chance,
        }
    )
    return Dataset.from_frame(frame, account_id="id", labels={"retained": "ok"})


@pytest.fixture(scope="module")
def found() -> Evidence:
    return examine(world(), "retained", seed=0, n_permutations=600)


def name(evidence: Evidence, feature: str) -> int:
    return [candidate.key for candidate in evidence.design.candidates].index(feature)


def test_a_copy_is_named_after_the_cause_though_the_cause_has_holes(found: Evidence) -> None:
    settled, stand = settle(found, 0.1)
    assert stand.name(settled, name(settled, "copy")) == "size"
    assert stand.name(settled, name(settled, "size")) == ""
    assert stand.name(settled, name(settled, "own")) == ""


def test_stand_ins_do_not_carry_a_doubtful_trait(found: Evidence) -> None:
    copy, own = name(found, "copy"), name(found, "own")
    assert {copy, own} <= set(found.confirmed.tolist())
    q_values = found.q_values.copy()
    q_values[own] = 0.09
    doubtful = replace(found, q_values=q_values)
    order = doubtful.confirmed[np.argsort(q_values[doubtful.confirmed])]
    assert order[-1] == own
    settled, _ = settle(doubtful, 0.1)
    assert own not in settled.confirmed
    assert settled.q_values[own] > 0.1
    assert copy in settled.confirmed
    held, _ = settle(doubtful, 0.2)
    assert own in held.confirmed


def test_no_trait_settles_to_no_trait(found: Evidence) -> None:
    nothing = replace(found, confirmed=np.zeros(0, dtype=np.int64))
    settled, stand = settle(nothing, 0.1)
    assert len(settled.confirmed) == 0
    assert not stand.vanishes.any()
    assert (stand.explained_by == -1).all()


def test_no_row_beyond_q_is_called_a_trait() -> None:
    traits = build_profile(world(), {}, n_permutations=600).traits
    said = traits["kind"].isin(["icp", "anti_icp"])
    assert (traits.loc[said & traits["proxy_of"].eq(""), "q_value"] <= 0.1).all()


def test_the_words_say_stand_in_even_where_the_joint_comparison_is_blurred() -> None:
    row = {
        "target": "retained",
        "trait": "copy at least 0",
        "kind": "icp",
        "direction": 1,
        "proxy_of": "size",
        "adjusted_low": 0.01,
        "adjusted_high": 0.2,
        "accounts_needed": 0,
    }
    assert "stand-in" in sentence(row)
    assert "size" in sentence(row)
    assert "stand-in" not in sentence({**row, "proxy_of": ""})


def test_certified_profiles_say_less_and_pay_for_all_targets_together() -> None:
    usual = build_profile(world(700), {}, n_permutations=600)
    certified = build_profile(world(700), {}, mode="certified")

    def said(profile: Profile) -> set[str]:
        rows = profile.traits
        return set(rows.loc[rows["kind"].isin(["icp", "anti_icp"]), "feature"])

    assert certified.facts["mode"] == "certified"
    assert {"size"} <= said(certified) <= said(usual)
    rows = certified.traits
    held = rows["kind"].isin(["icp", "anti_icp"])
    assert (rows.loc[held, "q_value"] <= 0.1).all()
    least = rows["p_value"].min()
    # Holm asks at least the number of hypotheses times the smallest p-value of the strongest one
    assert rows["q_value"].min() >= least * 0.99
    assert (rows["q_value"] >= rows["p_value"] - 1e-12).all()
