from __future__ import annotations

import pandas as pd
import pytest

from icp_ml.data.dataset import Dataset
from icp_ml.insight.building import build_profile
from icp_ml.insight.profile import Profile
from icp_ml.simulation import SimulatedFrame, make_frame


def as_dataset(base: SimulatedFrame, targets: tuple[str, ...] = ("retained",)) -> Dataset:
    keep = [name for name in base.frame.columns if name not in {"retained", "expanded", "churned_first_year"}]
    return Dataset.from_frame(
        base.frame[[*keep, *targets]],
        account_id="account_id",
        labels={target: target for target in targets},
        snapshot_date="snapshot_date" if "snapshot_date" in base.frame else None,
        technologies=["technologies"],
    )


@pytest.fixture(scope="session")
def base() -> SimulatedFrame:
    return make_frame(900, seed=30_001, signal="strong", n_tools=40, n_nulls=12)


@pytest.fixture(scope="session")
def dataset(base: SimulatedFrame) -> Dataset:
    return as_dataset(base, ("retained", "churned_first_year"))


@pytest.fixture(scope="session")
def profile(dataset: Dataset) -> Profile:
    return build_profile(dataset, {}, seed=3, n_permutations=1000)


@pytest.fixture(scope="session")
def population(base: SimulatedFrame) -> pd.DataFrame:
    return base.truth.population(10_000, seed=41)
