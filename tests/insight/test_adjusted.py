from __future__ import annotations

import numpy as np
import pandas as pd

from icp_ml.data.dataset import Dataset
from icp_ml.insight.building import build_profile
from icp_ml.insight.roles import Rows, Standing, role_of


def confounded(n: int = 1500, seed: int = 5) -> Dataset:
    rng = np.random.default_rng(seed)
    size = rng.random(n) < 0.4
    region = np.where(rng.random(n) < np.where(size, 0.85, 0.2), "US", "EU")
    frame = pd.DataFrame(
        {
            "id": range(n),
            "large": size.astype(int),
            "region": region,
            "other": rng.normal(size=n),
            "ok": (rng.random(n) < np.where(size, 0.92, 0.72)).astype(int),
        }
    )
    return Dataset.from_frame(frame, account_id="id", labels={"retained": "ok"}, boolean=["large"])


def test_a_confounded_column_vanishes_and_names_what_it_stands_for() -> None:
    traits = build_profile(confounded(), {}, n_permutations=600).traits.set_index("feature")
    assert traits.loc[["large", "region"], "kind"].tolist() == ["icp", "icp"]
    assert traits.loc["large", "adjusted_low"] > 0
    assert abs(traits.loc["large", "adjusted_effect"] - 0.2) < 0.08
    assert traits.loc["region", "adjusted_low"] < 0 < traits.loc["region", "adjusted_high"]
    assert traits.loc["region", "proxy_of"] == "large"
    assert traits.loc["region", "role"] == "unknown"
    assert np.isnan(traits.loc["other", "adjusted_effect"])


def standing(sign: int, low: float, high: float, proxy: bool = False) -> Standing:
    return Standing(sign, low, high, low, high, proxy)


def rows(good: np.ndarray) -> Rows:
    return Rows(np.arange(len(good)), good)


def test_roles_follow_the_numbers() -> None:
    rng = np.random.default_rng(0)
    held = (np.arange(400) < 200).astype(float)
    good = np.where(held > 0, 0.95, 0.7)
    other = (rng.random(400) < 0.5).astype(float)
    assert role_of(standing(1, 0.1, 0.3), held, rows(good), [other], 0.05) == "must_have"
    assert role_of(standing(1, 0.01, 0.3), held, rows(good), [other], 0.05) == "nice_to_have"
    assert role_of(standing(1, 0.1, 0.3, proxy=True), held, rows(good), [other], 0.05) == "unknown"
    # those who lack it do well enough when they have the other: it can be made up for
    rescued = np.where((held == 0) & (other == 1), 1.0, good)
    assert role_of(standing(1, 0.1, 0.3), held, rows(rescued), [other], 0.05) == "nice_to_have"


def test_a_hard_no_needs_much_more_than_a_caution() -> None:
    held = (np.arange(600) < 60).astype(float)
    awful = np.where(
        held > 0, (np.arange(600) % 10 < 3).astype(float), (np.arange(600) % 10 < 9).astype(float)
    )
    assert role_of(standing(-1, -0.7, -0.4), held, rows(awful), [], 0.05) == "hard_no"
    assert role_of(standing(-1, -0.7, -0.4, proxy=True), held, rows(awful), [], 0.05) == "caution"
    # where every second account leaves, nothing leaves twice as often: half as many that stay is enough
    even = np.where(held > 0, (np.arange(600) % 20 < 1).astype(float), (np.arange(600) % 2).astype(float))
    assert role_of(standing(-1, -0.7, -0.4), held, rows(even), [], 0.05) == "hard_no"
    assert role_of(standing(-1, -0.7, -0.01), held, rows(awful), [], 0.05) == "caution"
    few = (np.arange(600) < 20).astype(float)
    assert role_of(standing(-1, -0.7, -0.4), few, rows(awful), [], 0.05) == "caution"
    # many rows of few accounts are few
    assert role_of(standing(-1, -0.7, -0.4), held, Rows(np.arange(600) // 3, awful), [], 0.05) == "caution"
