"""Each trap does what it says, and is gone when it is switched off."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from icp_ml.errors import ConfigError
from icp_ml.simulation import Traps, make_frame, make_tables

N = 20_000


def off_and_on(trap, value, **settings):
    plain = {"missing": 0.0, "proxies": False, "confounder": False}
    return (
        make_frame(N, seed=9, traps={**plain, trap: 0.0 if isinstance(value, float) else False}, **settings),
        make_frame(N, seed=9, traps={**plain, trap: value}, **settings),
    )


@pytest.mark.parametrize(
    ("proxy", "of", "correlation"),
    [
        ("revenue_musd", "employees", 0.85),
        ("it_spend_kusd", "employees", 0.85),
        ("hiring_rate", "revenue_growth", 0.85),
        ("web_rank", "employees", -0.6),
        ("founded_year", "employees", -0.45),
    ],
)
def test_proxies_follow_the_planted_feature(proxy, of, correlation):
    without, with_them = off_and_on("proxies", True)
    for base, expected in ((without, 0.0), (with_them, correlation)):
        ranks = base.complete[[proxy, of]].rank()
        found = np.corrcoef(ranks.T)[0, 1]
        # ranks of a Gaussian pair correlate a little less than the pair
        assert found == pytest.approx(expected, abs=0.035)
    assert with_them.truth.proxies[proxy] == of
    assert proxy in without.truth.nulls


def test_switching_a_trap_moves_no_other_column():
    without, with_it = off_and_on("confounder", True)
    same = [name for name in without.features if name != "region"]
    pd.testing.assert_frame_equal(without.complete[same], with_it.complete[same])


def test_region_is_confounded_by_size_and_funding_alone():
    without, with_it = off_and_on("confounder", True)
    for base, raw in ((without, 0.0), (with_it, 0.05)):
        population = base.truth.population(60_000, seed=5)
        home = (population["region"] == "North America").to_numpy()
        lift = base.truth.lift(home, population)
        assert lift == pytest.approx(raw, abs=0.012)
        chance = pd.Series(base.truth.probability(population))
        sized = population["employees"].between(50, 499)
        funded = population["funding_stage"].isin(["Series A", "Series B", "Series C"])
        within = chance.groupby([sized, funded, pd.Series(home)]).mean().unstack()
        assert (within[True] - within[False]).abs().max() < 0.012
    assert with_it.truth.confounded == ["region"]
    assert without.truth.confounded == []


def test_missing_at_random_is_unrelated_to_anything():
    _, base = off_and_on("missing", 0.2)
    gone = base.frame["employees"].isna()
    assert gone.mean() == pytest.approx(0.2, abs=0.012)
    assert base.frame["technologies"].isna().mean() == pytest.approx(0.2 / 3, abs=0.01)
    assert base.frame["retained"][gone].mean() == pytest.approx(base.frame["retained"].mean(), abs=0.02)
    assert np.log(base.complete["employees"])[gone].mean() == pytest.approx(
        np.log(base.complete["employees"]).mean(), abs=0.1
    )


def test_missing_by_size_hits_small_companies():
    without, base = off_and_on("missing_by_size", 0.2)
    assert without.frame["employees"].notna().all()
    gone = base.frame["employees"].isna()
    assert gone.mean() == pytest.approx(0.2, abs=0.02)
    known = base.complete["employees"]
    assert known[gone].median() < 0.5 * known[~gone].median()
    assert base.frame["hq_state"].notna().all()


def test_label_noise_weakens_the_signal_and_keeps_the_base_rate():
    without, base = off_and_on("label_noise", 0.2)
    assert base.frame["retained"].mean() == pytest.approx(0.85, abs=0.012)
    spread = [np.std(b.truth.probability(b.complete)) for b in (without, base)]
    assert spread[1] == pytest.approx(0.8 * spread[0], rel=1e-6)
    chance = base.truth.probability(base.complete, "expanded")
    assert base.frame["expanded"].mean() == pytest.approx(chance.mean(), abs=0.012)


def test_the_collider_leaks_and_is_off_by_default():
    without, base = off_and_on("collider", True)
    assert "health_score" not in without.frame
    assert roc_auc_score(base.frame["retained"], base.frame["health_score"]) > 0.85
    assert Traps().collider is False


def test_survivorship_falsifies_accounts_that_left():
    without, base = off_and_on("survivorship", True)
    pd.testing.assert_series_equal(without.frame["employees"], without.complete["employees"])
    left = ~base.frame["retained"]
    ratio = base.frame["employees"] / base.complete["employees"]
    assert ratio[left & (base.complete["employees"] > 50)].median() == pytest.approx(0.8, abs=0.01)
    assert ratio[~left].eq(1).all()
    assert base.frame["employees"].isna()[left].mean() == pytest.approx(0.15, abs=0.02)


def test_duplicates_are_the_same_company_under_another_id():
    without, base = off_and_on("duplicates", 0.1)
    assert len(without.frame) == N
    extra = base.frame[base.frame["account_id"].str.startswith("D")]
    assert len(extra) == pytest.approx(0.1 * N, rel=0.1)
    twins = base.frame.set_index("account_id").loc["A" + extra["account_id"].str[1:]]
    assert (twins["retained"].to_numpy() == extra["retained"].to_numpy()).all()
    assert (twins["employees"].to_numpy() == extra["employees"].to_numpy()).all()
    assert base.frame["account_id"].is_unique


def test_groups_share_parent_industry_and_fate():
    without, base = off_and_on("parents", 0.6)
    assert "parent_id" not in without.frame
    frame = base.frame.dropna(subset="parent_id")
    assert len(frame) == pytest.approx(0.6 * N, rel=0.01)
    assert frame.groupby("parent_id")["industry"].nunique().max() == 1
    gap = (
        frame["retained"]
        - pd.Series(base.truth.probability(base.complete), index=base.frame.index)[frame.index]
    )
    siblings = gap.groupby(frame["parent_id"]).sum()
    # four independent labels would have four times the variance of one
    assert siblings.var() > 1.2 * 4 * gap.var()


def test_drift_halves_a_tool_and_brings_a_new_one():
    plain = {"missing": 0.0}
    base = make_frame(4000, seed=2, snapshots=8, traps={**plain, "drift": True})
    still = make_frame(4000, seed=2, snapshots=8, traps=plain)
    truth, frame = base.truth, base.complete
    late = frame["snapshot_date"] >= pd.Timestamp(truth.world.drift_from)
    assert late.mean() == pytest.approx(0.25)
    held = truth.mask({"feature": "technologies", "operator": "has", "value": "Salesforce"}, frame)
    chance = truth.probability(frame)
    logit = np.log(chance / (1 - chance))
    same = still.truth.probability(frame)
    change = logit - np.log(same / (1 - same))
    weight = np.log(truth.of("retained")[4]["odds_ratio"])
    np.testing.assert_allclose(change[held & late], -0.5 * weight, atol=1e-9)
    np.testing.assert_allclose(change[~(held & late)], 0.0, atol=1e-9)
    new = np.array(["NovaCRM" in tools for tools in frame["technologies"]])
    assert new[late].mean() == pytest.approx(0.2, abs=0.02)
    assert not new[~late].any()
    assert not any("NovaCRM" in tools for tools in still.complete["technologies"])


def test_traps_of_frames_are_refused_for_tables():
    with pytest.raises(ConfigError, match="label_noise"):
        make_tables(60, traps={"label_noise": 0.1})
