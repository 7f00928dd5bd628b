"""An account base of a given size, and what it takes to describe it: 1,000,000 accounts, 20 tools each."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

import icp_ml as icp

TOOLS = 2_000


def account_base(n_accounts: int, tools_each: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Return raw accounts, technologies and subscriptions as an export would hold them."""
    rng = np.random.default_rng(seed)
    ids = np.char.add("A", np.char.zfill(np.arange(n_accounts).astype(str), 8))
    names = np.array([f"Tool {place}" for place in range(TOOLS)])
    start = np.datetime64("2018-01-01")

    def days(n: int, span: int) -> np.ndarray:
        return (start + rng.integers(0, span, n).astype("timedelta64[D]")).astype("datetime64[ns]")

    accounts = pd.DataFrame(
        {
            "account_id": ids,
            "industry": pd.Categorical.from_codes(
                rng.integers(0, 20, n_accounts), [f"Industry {i}" for i in range(20)]
            ),
            "country": pd.Categorical.from_codes(
                rng.integers(0, 40, n_accounts), [f"C{i}" for i in range(40)]
            ),
            "employees": np.exp(rng.normal(5, 1.5, n_accounts)).round(),
            "naics": rng.integers(111111, 999999, n_accounts),
            "founded": days(n_accounts, 2000),
        }
    )
    n = n_accounts * tools_each
    popular = np.minimum((TOOLS * rng.random(n) ** 3).astype(np.int64), TOOLS - 1)
    first = days(n, 2500)
    gone = rng.random(n) < 0.3
    last = np.where(gone, first + np.timedelta64(400, "D"), np.datetime64("NaT"))
    technologies = pd.DataFrame(
        {
            "account_id": pd.Categorical.from_codes(rng.integers(0, n_accounts, n), ids).astype("str"),
            "technology": pd.Categorical.from_codes(popular, names).astype("str"),
            "first_seen": first,
            "last_seen": last,
        }
    )
    return {
        "accounts": accounts,
        "technologies": technologies,
        "subscriptions": subscriptions(ids[: min(n_accounts, 2_000)], rng),
    }


def subscriptions(ids: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return a chain of yearly subscriptions per account."""
    begun = np.datetime64("2019-01-01") + rng.integers(0, 1200, len(ids)).astype("timedelta64[D]")
    parts = []
    alive = np.ones(len(ids), dtype=bool)
    for year in range(7):
        begin = begun + np.timedelta64(365 * year, "D")
        alive = alive & (begin < np.datetime64("2025-09-30"))
        parts.append(
            pd.DataFrame(
                {
                    "account_id": ids[alive],
                    "start_date": begin[alive],
                    "end_date": (begin + np.timedelta64(365, "D"))[alive],
                    "arr": (1000 * rng.integers(1, 90, len(ids)) * 1.1**year)[alive],
                }
            )
        )
        alive = alive & (rng.random(len(ids)) < 0.85)
    return pd.concat(parts, ignore_index=True)


def measure(n_accounts: int, tools_each: int) -> dict[str, float]:
    """Return seconds of reading and of building features, and how many rows there were."""
    raw = account_base(n_accounts, tools_each)
    rows = len(raw["technologies"])
    clock = time.perf_counter()
    tables, _ = icp.read_tables(raw)
    reading = time.perf_counter() - clock
    del raw
    clock = time.perf_counter()
    features = icp.build_features(tables, as_of="2024-06-30")
    spent = time.perf_counter() - clock
    return {
        "seconds": spent,
        "read_tables_seconds": reading,
        "accounts": len(features),
        "technology_rows": rows,
    }
