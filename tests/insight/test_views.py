"""Who expands among those that stay, and who keeps the full ARR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import icp_ml as icp
from icp_ml.insight.views import view_of
from icp_ml.simulation import make_tables


def world(n: int = 900, seed: int = 0) -> icp.Dataset:
    """``big`` stays more often; of those that stay, ``data_team`` expands more often."""
    rng = np.random.default_rng(seed)
    big, team = rng.random(n) < 0.5, rng.random(n) < 0.5
    stays = rng.random(n) < 0.55 + 0.4 * big
    grows = stays & (rng.random(n) < 0.2 + 0.3 * team)
    frame = pd.DataFrame(
        {
            "id": range(n),
            "big": big,
            "data_team": team,
            "x": rng.normal(size=n),
            "stays": stays,
            "grows": grows,
        }
    )
    return icp.Dataset.from_frame(frame, account_id="id", labels={"retained": "stays", "expanded": "grows"})


def said(profile: icp.Profile) -> set[str]:
    rows = profile.traits[profile.traits["kind"].isin(["icp", "anti_icp"])]
    return set(rows.loc[rows["target"] == "expanded", "feature"])


def test_expansion_among_retained_accounts_forgets_what_only_keeps_them() -> None:
    unconditional = icp.build_profile(world(), {}, n_permutations=1000)
    given = icp.build_profile(world(), {}, n_permutations=1000, view="among_retained")
    assert said(unconditional) == {"big", "data_team"}
    assert said(given) == {"data_team"}
    assert set(given.traits["target"]) == {"expanded"}
    assert given.facts["base_rates"]["expanded"] > unconditional.facts["base_rates"]["expanded"]
    assert given.to_text().startswith("Among retained accounts only")
    assert not unconditional.to_text().startswith("Among")


def test_contraction_counts_shrunken_accounts_as_lost(tmp_path: Path) -> None:
    make_tables(300, seed=20_001).write(tmp_path)
    tables, _ = icp.read_tables(tmp_path)
    dataset = icp.build_dataset(tables, snapshot_dates=["2023-06-30"], horizon_months=12)
    whole = view_of(dataset, "contraction")
    ratio, stayed = whole.labels["arr_ratio"], dataset.labels["retained"]
    shrunk = (ratio > 0) & (ratio < 0.95 - 1e-9)
    assert shrunk.sum() > 0
    assert not whole.labels.loc[shrunk, "retained"].any()
    assert stayed[shrunk].all()
    assert whole.labels.loc[ratio >= 0.95, "retained"].all()
    assert whole.targets == ("retained",)


def test_a_view_that_cannot_be_had_says_what_is_missing() -> None:
    with pytest.raises(icp.ConfigError, match="expected the ARR"):
        view_of(world(), "contraction")
    with pytest.raises(icp.ConfigError, match="expected a view of"):
        view_of(world(), "sideways")  # type: ignore[arg-type]
