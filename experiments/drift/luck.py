"""How much more than its folds say may a model differ? The factors behind the intervals of gaps.

python experiments/drift/luck.py [--smoke]

Worlds without drift that judge nothing (seeds from 10,000 on): accounts of six quarters and the two after
them, and one row per account. Prints, for factors on the variance of the folds, the spread of gaps in their
standard errors (1 is right), the share inside the 90 % interval and the lower end of its own interval.
The factors in use are the smallest for which that end is .90 over all worlds: 90 % is then a promise.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
from run import ACCOUNTS, EXPERIMENTS, halves, single

sys.path.insert(0, str(EXPERIMENTS))
from harness import options

import icp_ml as icp
from icp_ml.model.calibration import Z90
from icp_ml.model.folds import group_codes
from icp_ml.model.metrics import metric_errors
from icp_ml.statistics import wilson

QUARTERS = range(10_000, 10_120)
SINGLE = {400: range(10_000, 10_040), 1_000: range(10_000, 10_040), 3_000: range(10_000, 10_020)}
FACTORS = (1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0)


def gaps(kind: str, n: int, seed: int) -> list[dict[str, float | str]]:
    """Return gap and errors of both sides in one world."""
    train, test = halves(seed, n, drift=False)[:2] if kind == "quarters" else single(seed, n)
    model = icp.train(train, seed=seed, profile=False, n_jobs=1).propensities["retained"]
    promised = model.cv_results_.iloc[-1]
    rows, y = test.target("retained")
    codes = group_codes(test.groups[rows], len(rows))
    came = metric_errors(y, model.decision_function(test.features.iloc[rows]), codes)
    return [
        {
            "kind": f"{kind} {n}",
            "metric": name,
            "gap": value - (1.0 if name == "calibration_slope" else promised[name]),
            "came": error,
            "folds": promised[f"{name}_error"],
        }
        for name, (value, error) in came.items()
    ]


def main() -> None:
    opts = options(__doc__)
    places = [("quarters", ACCOUNTS, seed) for seed in QUARTERS]
    places += [("single", n, seed) for n, seeds in SINGLE.items() for seed in seeds]
    if opts.smoke:
        places = [("quarters", 200, QUARTERS[0]), ("single", 200, QUARTERS[0])]
    with ProcessPoolExecutor(2) as pool:
        table = pd.DataFrame([row for rows in pool.map(gaps, *zip(*places, strict=True)) for row in rows])
    table = pd.concat([table, table.assign(kind="all")], ignore_index=True)
    for (metric, kind), own in table.groupby(["metric", "kind"]):
        for factor in FACTORS:
            # Neither side has an error where both say the base rate to everyone.
            z = (own["gap"] / np.sqrt(own["came"] ** 2 + factor * own["folds"] ** 2)).dropna()
            hits = z.abs() < Z90
            low = float(wilson(hits.sum(), len(hits), level=0.90)[0])
            inside = f"inside {hits.mean():.2f} (at least {low:.2f}) of {len(z)}"
            print(f"{metric}, {kind} x {factor}: spread {z.std():.2f}, {inside}")


if __name__ == "__main__":
    main()
