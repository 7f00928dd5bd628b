from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from icp_ml.data.schema import Feature, Schema

TOOLS = ("Salesforce", "HubSpot", "AWS", "GCP", "Slack", "Segment", "Jira")
SCHEMA = Schema(
    (
        Feature("employees", "numeric"),
        Feature("industry", "category"),
        Feature("remote", "boolean"),
        Feature("technologies", "technologies", "technographic"),
        Feature("city", "category"),
    )
)


@dataclass(frozen=True)
class Base:
    """A small account base: features, outcome, accounts."""

    features: pd.DataFrame
    y: np.ndarray
    groups: np.ndarray
    schema: Schema = SCHEMA


def make_base(n: int = 300, seed: int = 0, signal: float = 1.0) -> Base:
    rng = np.random.default_rng(seed)
    employees = np.exp(rng.normal(4, 1.5, n))
    industry = rng.choice(["Fintech", "Retail", "Health", "Energy"], n).astype(object)
    remote = (rng.random(n) < 0.3).astype(float)
    stacks = [list(rng.choice(TOOLS, rng.integers(0, 5), replace=False)) for _ in range(n)]
    city = np.array([f"city {k}" for k in rng.zipf(1.5, n) % 40], dtype=object)
    has_aws = np.array(["AWS" in stack for stack in stacks])
    score = -0.5 + signal * (1.5 * (employees > 50) - 1.2 * (industry == "Retail") + 1.0 * has_aws)
    y = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(float)
    employees[rng.random(n) < 0.1] = np.nan
    industry[rng.random(n) < 0.1] = None
    remote[rng.random(n) < 0.1] = np.nan
    unknown = rng.random(n) < 0.1
    technologies = [None if gone else stack for gone, stack in zip(unknown, stacks, strict=True)]
    features = pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(n)],
            "as_of": pd.NaT,
            "employees": employees,
            "industry": industry,
            "remote": remote,
            "technologies": technologies,
            "city": city,
        }
    )
    return Base(features, y, features["account_id"].to_numpy())


def look_up(member: Any, X: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log-odds, those of each model and scaled contributions (rows, columns) of a member."""
    parts = np.zeros(X.shape[::-1])
    raw, bags = member.add_to(parts, X, scale)
    return raw, bags, parts.T
