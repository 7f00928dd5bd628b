"""Bench: features of 1,000,000 accounts from 20,000,000 technology rows, and a dataset of 2,000 accounts.

Question: does ``build_features`` describe a million accounts in under 120 s and 8 GB, and ``build_dataset``
2,000 accounts x 8 quarterly snapshots x 60 tools in under 5 s?
"""

from __future__ import annotations

import argparse
import json
import resource
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


def peak_gb() -> float:
    """Return the highest resident memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    """Print seconds and peak memory of both lines as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a hundredth of the size")
    small = parser.parse_args().smoke
    found: dict[str, float] = {}

    tables, _ = icp.read_tables(account_base(2_000, 60))
    clock = time.perf_counter()
    snapshots = icp.quarter_ends("2022-09-30", "2024-06-30")
    dataset = icp.build_dataset(tables, snapshot_dates=snapshots, horizon_months=12)
    found |= {"build_dataset_rows": len(dataset), "build_dataset_s": round(time.perf_counter() - clock, 2)}

    raw = account_base(10_000 if small else 1_000_000, 20)
    found["technology_rows"] = len(raw["technologies"])
    found["peak_gb_raw"] = round(peak_gb(), 2)
    clock = time.perf_counter()
    tables, _ = icp.read_tables(raw)
    found["read_tables_s"] = round(time.perf_counter() - clock, 1)
    found["peak_gb_read_tables"] = round(peak_gb(), 2)
    del raw
    clock = time.perf_counter()
    features = icp.build_features(tables, as_of="2024-06-30")
    found |= {
        "accounts": len(features),
        "build_features_s": round(time.perf_counter() - clock, 1),
        "peak_gb": round(peak_gb(), 2),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
