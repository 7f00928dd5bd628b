from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from icp_ml.data.dataset import Dataset
from icp_ml.errors import NotEnoughDataError
from icp_ml.insight.building import build_profile
from icp_ml.insight.examine import search_target
from icp_ml.insight.profile import SEGMENT_COLUMNS, TRAIT_COLUMNS, Profile, profile_json
from icp_ml.simulation import SimulatedFrame, make_frame
from icp_ml.statistics import jaccard
from tests.insight.conftest import as_dataset


def claim(row: pd.Series[Any]) -> dict[str, Any]:
    return {"feature": row["feature"], "operator": row["operator"], "value": json.loads(row["value"])}


def test_planted_traits_are_found_with_sign_and_membership(
    profile: Profile, base: SimulatedFrame, population: pd.DataFrame
) -> None:
    compared = profile.compare(base.truth.of("retained"))
    assert (compared["verdict"] == "found").sum() >= 5
    assert all(compared.loc[compared["verdict"] == "found", "direction_agrees"])
    rows = profile.traits[profile.traits["target"] == "retained"].set_index("feature")
    overlaps = []
    for planted in base.truth.of("retained"):
        if planted["feature"] != "technologies":
            row = rows.loc[planted["feature"]]
            row = row[row["operator"] != "is missing"].iloc[0] if isinstance(row, pd.DataFrame) else row
            row = pd.concat([row, pd.Series({"feature": planted["feature"]})])
            mine, true = base.truth.mask(claim(row), population), base.truth.mask(planted, population)
            overlaps.append(jaccard(mine, true))
    assert np.mean(overlaps) > 0.8


def test_the_table_holds_every_candidate_and_every_column(profile: Profile) -> None:
    traits = profile.traits
    assert tuple(traits.columns) == TRAIT_COLUMNS
    assert tuple(profile.segments.columns) == SEGMENT_COLUMNS
    for target, number in profile.facts["candidates"].items():
        assert (traits["target"] == target).sum() == number
    assert set(traits["kind"]) > {"not_enough_evidence"}
    assert set(traits["role"]) <= {"must_have", "nice_to_have", "hard_no", "caution", "unknown"}
    assert set(traits["direction"]) <= {-1, 1}
    assert traits["p_value"].between(0, 1).all()
    assert (traits["q_value"] >= traits["p_value"] - 1e-12).any()


def test_the_numbers_of_a_row_fit_together(profile: Profile) -> None:
    t = profile.traits
    assert np.allclose(t["lift"], t["rate"] - t["base_rate"])
    assert (t["lift_low"] <= t["lift_high"]).all()
    held = t[t["kind"].isin(["icp", "anti_icp"])]
    assert (held["q_value"] <= 0.10).all()
    assert (np.sign(held["lift"]) == held["direction"]).all()
    assert (held["accounts_needed"] == 0).all()
    assert (t.loc[t["kind"] == "not_enough_evidence", "accounts_needed"] > 0).all()
    assert t["support"].between(0, 1).all()
    proxies = held[held["proxy_of"] != ""]
    assert len(proxies) > 0
    assert not proxies["role"].isin(["must_have", "hard_no"]).any()


def test_first_year_churn_turns_helpful_and_harmful_round(profile: Profile) -> None:
    churned = profile.traits[profile.traits["target"] == "churned_first_year"]
    held = churned[churned["kind"].isin(["icp", "anti_icp"])]
    assert len(held) > 0
    assert ((held["direction"] > 0) == (held["kind"] == "anti_icp")).all()


def test_lifts_are_near_the_truth(profile: Profile, base: SimulatedFrame, population: pd.DataFrame) -> None:
    rows = profile.traits[(profile.traits["kind"] == "icp") & (profile.traits["target"] == "retained")]
    true = [
        base.truth.lift(claim(row), population)
        for _, row in rows.iterrows()
        if row["operator"] != "is missing"
    ]
    rows = rows[rows["operator"] != "is missing"]
    assert abs(np.mean(rows["lift"].to_numpy() - true)) < 0.025
    assert ((rows["lift_low"] <= true) & (true <= rows["lift_high"])).mean() > 0.6


def test_json_round_trip_keeps_every_value_and_dtype(profile: Profile) -> None:
    text = profile_json(profile)
    again = Profile.from_state(json.loads(text))
    pd.testing.assert_frame_equal(again.traits, profile.traits, check_dtype=False)
    pd.testing.assert_frame_equal(again.segments, profile.segments, check_dtype=False)
    assert profile_json(again) == text
    assert again.to_text() == profile.to_text()


def test_linear_algebra_is_held_to_one_thread(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls: on threads of its own it spins at barriers, 12 times the CPU beside a busy neighbour."""
    found: list[int] = []

    def watched(*args: Any, **more: Any) -> Any:
        found.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return search_target(*args, **more)

    monkeypatch.setattr("icp_ml.insight.building.search_target", watched)
    with threadpool_limits(2, user_api="blas"):
        build_profile(dataset, {}, n_permutations=1)
    assert set(found) == {1}


def test_same_input_same_profile_whatever_the_threads(dataset: Dataset, profile: Profile) -> None:
    again = build_profile(dataset, {}, seed=3, n_permutations=1000, n_jobs=1)
    assert profile_json(again) == profile_json(profile)


def test_one_screen_of_text_says_first_what_could_be_seen(profile: Profile) -> None:
    lines = profile.to_text().splitlines()
    assert lines[0].startswith("retention: with your 900 accounts")
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 45


def test_compare_names_found_missed_and_false(profile: Profile) -> None:
    traits = profile.icp
    traits = traits[traits["operator"] == "between"].iloc[0]
    expected = [
        {**claim(traits), "target": traits["target"], "direction": int(traits["direction"])},
        {"target": "retained", "feature": "nobody", "operator": "has", "value": True, "direction": 1},
        {"target": "expanded", "feature": "nobody", "operator": "has", "value": True, "direction": 1},
    ]
    compared = profile.compare(expected)
    assert compared["verdict"].tolist()[:2] == ["found", "missed"]
    assert compared["direction_agrees"].iloc[0]
    said = profile.traits["kind"].isin(["icp", "anti_icp"]).sum()
    assert (compared["verdict"] == "false").sum() == said - 1


def test_too_few_events_claim_nothing_but_what_was_named_before() -> None:
    rng = np.random.default_rng(0)
    n = 200
    good = np.ones(n)
    good[:20] = 0
    frame = pd.DataFrame(
        {"id": range(n), "tool": (np.arange(n) < 24).astype(int), "x": rng.normal(size=n), "ok": good}
    )
    data = Dataset.from_frame(frame, account_id="id", labels={"retained": "ok"}, boolean=["tool"])
    plain = build_profile(data, {})
    assert set(plain.traits["kind"]) == {"not_enough_evidence"}
    assert plain.traits["p_value"].isna().all()
    assert "too few" in plain.to_text()
    named = {"target": "retained", "feature": "tool", "operator": "has", "value": True}
    asked = build_profile(data, {}, preregistered=[named])
    assert asked.traits.iloc[0][["feature", "kind"]].tolist() == ["tool", "anti_icp"]
    assert len(asked.traits) == len(plain.traits) + 1
    with pytest.raises(ValueError, match="at most 8"):
        build_profile(data, {}, preregistered=[named] * 9)
    assert Profile.from_state(json.loads(profile_json(plain))).traits["p_value"].isna().all()


def test_nothing_that_holds_gives_empty_tables_with_columns() -> None:
    base = make_frame(300, seed=30_100, signal="null", n_tools=40, n_nulls=4)
    empty = build_profile(as_dataset(base), {}, seed=1, n_permutations=400)
    assert len(empty.icp) == len(empty.anti_icp) == len(empty.segments) == 0
    assert tuple(empty.segments.columns) == SEGMENT_COLUMNS
    assert "none that holds" in empty.to_text()
    assert len(Profile.from_state(empty.to_state()).segments) == 0


def test_no_outcome_with_two_values_is_an_error() -> None:
    frame = pd.DataFrame({"id": range(4), "x": range(4), "ok": [1, 0, 1, 0]})
    data = Dataset.from_frame(frame, account_id="id", labels={"retained": "ok"})
    with pytest.raises(NotEnoughDataError, match="both outcomes"):
        build_profile(data.take(np.array([0, 2])), {})


def test_mean_contribution_comes_from_the_model(dataset: Dataset, profile: Profile) -> None:
    class Part:
        def __init__(self, feature: str, role: str, value: str = "") -> None:
            self.feature, self.role, self.value = feature, role, value

    class Model:
        def encoded_contributions(self, X: pd.DataFrame) -> tuple[np.ndarray, Any]:
            encoder = type(
                "Encoder",
                (),
                {"parts": [Part("employees", "value"), Part("technologies", "tool", "salesforce")]},
            )
            uses = X["technologies"].map(lambda tools: hasattr(tools, "__iter__") and "Salesforce" in tools)
            return np.column_stack([np.zeros(len(X)), 0.5 * uses.to_numpy(dtype=float)]), encoder

    filled = build_profile(dataset, {"retained": Model()}, seed=3, n_permutations=200).traits
    rows = filled[filled["target"] == "retained"].set_index("trait")["mean_contribution"]
    assert rows["uses Salesforce"] == pytest.approx(0.5)
    assert rows[[text.startswith("employees") and "unknown" not in text for text in rows.index]].item() == 0.0
    about_tools = ["uses Salesforce", "technologies is unknown"]
    assert rows.drop(about_tools).dropna().eq(0).all()
    assert rows["technologies is unknown"] < 0  # an unknown stack gets nothing of what the tool adds
    assert profile.traits["mean_contribution"].isna().all()
