"""Expected net revenue retention against what came, in total and by tenth of the expectation.

python experiments/nrr/run.py [--smoke] [--out FOLDER]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import options, save_result

import icp_ml as icp
from icp_ml.simulation import make_tables

SEEDS, ACCOUNTS = range(5_000, 5_030), 3_000
TRAINED = ["2021-06-30", "2022-06-30", "2023-06-30"]
TESTED = ["2024-06-30"]
TENTHS = 10


def cohort(seed: int, n: int) -> pd.DataFrame:
    """Return a cohort that the model never saw: starting and ending ARR, and the expected ratio."""
    tables = icp.read_tables(make_tables(n, seed=seed, dirty=0.0).tables)[0]
    dataset = icp.build_dataset(tables, snapshot_dates=TRAINED + TESTED, horizon_months=12)
    train, test = icp.split_out_of_time(dataset, test_from=TESTED[0])
    model = icp.train(train, seed=seed, profile=False)
    found = test.labels[["starting_arr", "ending_arr"]].astype(float)
    return found.assign(expected=model.expected_ratio(test.features), seed=seed)


def total(part: pd.DataFrame) -> tuple[float, float]:
    """Return expected and realised NRR."""
    start = part["starting_arr"]
    return float((part["expected"] * start).sum() / start.sum()), float(
        part["ending_arr"].sum() / start.sum()
    )


def noise(part: pd.DataFrame, seed: int) -> float:
    """Return the standard error of the realised NRR, by bootstrap over accounts."""
    rng = np.random.default_rng(seed)
    start, end = part["starting_arr"].to_numpy(), part["ending_arr"].to_numpy()
    draws = (rng.integers(0, len(part), len(part)) for _ in range(300))
    return float(np.std([end[rows].sum() / start[rows].sum() for rows in draws]))


def by_tenth(pooled: pd.DataFrame) -> list[dict[str, float]]:
    """Return expected and realised NRR by tenth of the expectation within each cohort."""
    rank = pooled.groupby("seed")["expected"].rank(method="first", pct=True)
    tenth = np.ceil(rank * TENTHS).astype(int)
    return [
        {"tenth": int(name), "expected": total(part)[0], "realised": total(part)[1], "accounts": len(part)}
        for name, part in pooled.groupby(tenth)
    ]


def main() -> None:
    opts = options(__doc__)
    seeds, n = (SEEDS[:2], 300) if opts.smoke else (SEEDS, ACCOUNTS)
    parts, rows = [], []
    for seed in seeds:
        part = cohort(seed, n)
        expected, realised = total(part)
        rows.append(
            {
                "seed": seed,
                "accounts": len(part),
                "expected": expected,
                "realised": realised,
                "error_points": 100 * (expected - realised),
                "realised_se_points": 100 * noise(part, seed),
            }
        )
        parts.append(part)
        print(rows[-1], file=sys.stderr, flush=True)
    pooled = pd.concat(parts, ignore_index=True)
    errors = np.array([row["error_points"] for row in rows])
    half = errors.std(ddof=1) / np.sqrt(len(errors)) * t.ppf(0.95, len(errors) - 1)
    tenths = by_tenth(pooled)
    realised = pd.Series([row["realised"] for row in tenths])
    result: dict[str, Any] = {
        "mean_error_points": float(errors.mean()),
        "low": float(errors.mean() - half),
        "high": float(errors.mean() + half),
        "share_within_2_points": float((np.abs(errors) <= 2).mean()),
        "pooled": dict(zip(("expected", "realised"), total(pooled), strict=True)),
        "monotone_rank_correlation": float(realised.corr(pd.Series(range(len(tenths))), method="spearman")),
        "tenths": tenths,
        "cohorts": rows,
    }
    print(pd.DataFrame(tenths).round(3).to_string(index=False))
    save_result(result, __file__, opts)


if __name__ == "__main__":
    main()
