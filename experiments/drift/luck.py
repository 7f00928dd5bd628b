"""How much more than its folds say may a model differ? The factors behind the intervals of gaps.

python experiments/drift/luck.py [--smoke]

Worlds without drift that judge nothing (seeds from 10,000 on). Prints, for factors on the variance of the
folds, the spread of gaps in their standard errors (1 is right) and the share inside the 90 % interval.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

import numpy as np
import pandas as pd
from run import ACCOUNTS, EXPERIMENTS, halves

sys.path.insert(0, str(EXPERIMENTS))
from harness import options

import icp_ml as icp
from icp_ml.model.calibration import Z90
from icp_ml.model.folds import group_codes
from icp_ml.model.metrics import metric_errors

SEEDS = range(10_000, 10_060)
FACTORS = (1.0, 1.3, 1.6, 2.0, 2.5, 3.0)


def gaps(seed: int, n: int) -> list[dict[str, float | str]]:
    """Return gap and errors of both sides in one world."""
    train, test, _ = halves(seed, n, drift=False)
    model = icp.train(train, seed=seed, profile=False).propensities["retained"]
    promised = model.cv_results_.iloc[-1]
    rows, y = test.target("retained")
    codes = group_codes(test.groups[rows], len(rows))
    came = metric_errors(y, model.decision_function(test.features.iloc[rows]), codes)
    return [
        {"metric": name, "gap": value - promised[name], "came": error, "folds": promised[f"{name}_error"]}
        for name, (value, error) in came.items()
    ]


def main() -> None:
    opts = options(__doc__)
    seeds, n = (SEEDS[:2], 200) if opts.smoke else (SEEDS, ACCOUNTS)
    with ProcessPoolExecutor(2) as pool:
        table = pd.DataFrame([row for rows in pool.map(gaps, seeds, repeat(n)) for row in rows])
    for (metric, own), factor in [(part, factor) for part in table.groupby("metric") for factor in FACTORS]:
        z = own["gap"] / np.sqrt(own["came"] ** 2 + factor * own["folds"] ** 2)
        print(f"{metric} x {factor}: spread {z.std():.2f}, inside {(z.abs() < Z90).mean():.2f} of {len(z)}")


if __name__ == "__main__":
    main()
