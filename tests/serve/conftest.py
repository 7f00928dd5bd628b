"""A small labelled base with every kind of column, and models trained on it once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from icp_ml.config import Config, DataConfig
from icp_ml.data.dataset import Dataset
from icp_ml.data.tables import Tables, read_tables
from icp_ml.data.windows import quarter_ends
from icp_ml.errors import TrackingError
from icp_ml.serve.bundle import load
from icp_ml.serve.icpmodel import IcpModel
from icp_ml.serve.record import RunRecord
from icp_ml.serve.retrain import Earlier, Probe
from icp_ml.serve.training import train

TOOLS = ("Salesforce", "HubSpot", "Segment", "Snowflake", "Jira")


def labelled_frame(rows: int, seed: int) -> pd.DataFrame:
    """Accounts in which Fintech, seats and Salesforce go with renewal."""
    rng = np.random.default_rng(seed)
    industry = rng.choice(["Fintech", "Retail", "Health", "Public"], rows)
    seats = np.round(np.exp(rng.normal(4.0, 1.0, rows)))
    stacks = [sorted(rng.choice(TOOLS, rng.integers(0, 4), replace=False).tolist()) for _ in range(rows)]
    remote = rng.random(rows) < 0.4
    signal = 1.2 * (industry == "Fintech") + 0.5 * (np.log(seats) - 4.0)
    signal = signal + 1.0 * np.array(["Salesforce" in stack for stack in stacks]) - 0.4
    renewed = rng.random(rows) < 1 / (1 + np.exp(-signal))
    grown = renewed & (rng.random(rows) < 1 / (1 + np.exp(-(signal - 0.5))))
    frame = pd.DataFrame(
        {
            "customer": [f"c{i:05d}" for i in range(rows)],
            "industry": industry,
            "seats": seats,
            "remote": remote.astype(float),
            "stack": stacks,
            "renewed": renewed,
            "grown": grown,
        }
    )
    frame.loc[::17, "seats"] = np.nan
    frame.loc[::19, "industry"] = None
    frame["stack"] = [None if i % 23 == 0 else stack for i, stack in enumerate(frame["stack"])]
    return frame


def as_dataset(frame: pd.DataFrame) -> Dataset:
    return Dataset.from_frame(
        frame,
        account_id="customer",
        labels={"retained": "renewed", "expanded": "grown"},
        technologies=["stack"],
    )


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return labelled_frame(500, seed=1)


@pytest.fixture(scope="session")
def fresh() -> pd.DataFrame:
    return labelled_frame(200, seed=2).drop(columns=["renewed", "grown"])


@pytest.fixture(scope="session")
def dataset(frame: pd.DataFrame) -> Dataset:
    return as_dataset(frame)


@pytest.fixture(scope="session")
def model(dataset: Dataset) -> IcpModel:
    return train(dataset, seed=3, profile=False)


@pytest.fixture(scope="session")
def profiled(dataset: Dataset) -> IcpModel:
    return train(dataset, seed=3)


class MemoryTracker:
    """Versions in memory; what a registry does, without one."""

    def __init__(self) -> None:
        self.records: dict[str, RunRecord] = {}
        self.models: dict[str, IcpModel] = {}
        self.status: dict[str, tuple[str, str]] = {}
        self.evidence: dict[str, Any] = {}
        self.current: str | None = None
        self.tidied = 0

    def tidy(self) -> None:
        self.tidied += 1

    def earlier(self, identity: str) -> Earlier | None:
        for version, record in reversed(self.records.items()):
            status, reason = self.status[version]
            if record.identity == identity and status != "pending":
                return Earlier(version, status == "approved", reason)
        return None

    def log(self, record: RunRecord, bundle: Path, *, probe: Probe | None = None) -> str:
        version = f"memory/{len(self.models) + 1}"
        model = load(bundle)
        if probe is not None:
            probe(model)
        self.records[version] = record
        self.models[version] = dataclasses.replace(model, version=version)
        self.status[version] = ("pending", "")
        return version

    def load(self, version: str) -> IcpModel:
        return self.models[version]

    def champion(self) -> str | None:
        return self.current

    def promote(self, version: str, reason: str, *, replaces: str | None, evidence: Any = None) -> None:
        if self.current != replaces:
            raise TrackingError("expected another champion")
        self.current = version
        self.status[version] = ("approved", reason)
        self.evidence[version] = evidence

    def reject(self, version: str, reason: str, *, evidence: Any = None) -> None:
        self.status[version] = ("rejected", reason)
        self.evidence[version] = evidence


@pytest.fixture(scope="session")
def labelled() -> Callable[[int, int], Dataset]:
    return lambda rows, seed: as_dataset(labelled_frame(rows, seed))


@pytest.fixture(scope="session")
def crm() -> Tables:
    """Raw tables of 250 accounts with yearly terms; Fintech accounts renew more often."""
    rng = np.random.default_rng(11)
    accounts, subscriptions, technologies = [], [], []
    for number in range(250):
        account = f"a{number:04d}"
        industry = str(rng.choice(["Fintech", "Retail", "Health"]))
        accounts.append(
            {"account_id": account, "industry": industry, "employees": int(rng.integers(10, 1000))}
        )
        for tool in rng.choice(TOOLS, rng.integers(1, 4), replace=False):
            technologies.append({"account_id": account, "technology": tool})
        start, arr = pd.Timestamp("2021-01-01") + pd.Timedelta(days=int(rng.integers(0, 700))), 1000.0
        while start < pd.Timestamp("2025-09-30"):
            end = start + pd.Timedelta(days=365)
            subscriptions.append({"account_id": account, "start_date": start, "end_date": end, "arr": arr})
            if rng.random() > (0.9 if industry == "Fintech" else 0.6):
                break
            start, arr = end, round(arr * float(rng.choice([1.0, 1.3])), 2)
    tables, _ = read_tables(
        {
            "accounts": pd.DataFrame(accounts),
            "subscriptions": pd.DataFrame(subscriptions),
            "technologies": pd.DataFrame(technologies),
        }
    )
    return tables


@pytest.fixture(scope="session")
def crm_config() -> Config:
    days = tuple(quarter_ends("2022-03-31", "2024-09-30"))
    return Config(data=DataConfig(snapshot_dates=days, observed_until=date(2025, 9, 30)))


@pytest.fixture
def tracker() -> MemoryTracker:
    return MemoryTracker()
