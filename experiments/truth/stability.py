"""How much does the reported set change from sample to sample? Nogueira's index over resamples of accounts.

python experiments/truth/stability.py [--smoke]

Accounts are drawn with replacement; an account drawn twice stays one account with a doubled row, so that no
account confirms itself. The index is taken over all candidates that occur in every resample's table.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from worlds import FIRST_JUDGING_SEED

import icp_ml as icp
from icp_ml.simulation import make_frame
from icp_ml.statistics import nogueira_stability

HERE = Path(__file__).resolve().parent


def resample(frame: pd.DataFrame, seed: int, scheme: str) -> pd.DataFrame:
    """Return drawn accounts: ``bootstrap`` keeps those drawn, each once; ``copies`` lets copies count."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(frame), len(frame))
    if scheme == "bootstrap":
        return frame.iloc[np.unique(drawn)]
    out = frame.iloc[drawn].copy()
    out["account_id"] = [f"{number:06d}" for number in range(len(out))]
    return out


def reported(task: tuple[int, int, int, str]) -> dict[str, bool]:
    """Return whether each candidate is a trait (standing for itself or not) in one resample."""
    n, world, number, scheme = task
    frame = make_frame(n, seed=world).frame.drop(columns=["expanded", "churned_first_year"])
    dataset = icp.Dataset.from_frame(
        resample(frame, 1000 * world + number, scheme),
        account_id="account_id",
        labels={"retained": "retained"},
        technologies=["technologies"],
    )
    traits = icp.build_profile(dataset, {}, seed=0).traits
    tool = traits["value"].where(traits["feature"].eq("technologies"), "")
    missing = traits["operator"].eq("is missing").map({True: " is missing", False: ""})
    keys = traits["feature"] + tool + missing
    return dict(zip(keys, traits["kind"].isin(["icp", "anti_icp"]), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one small world, two resamples")
    args = parser.parse_args()
    n, worlds, resamples = (300, 1, 2) if args.smoke else (1000, 3, 30)
    result: dict[str, Any] = {"n_accounts": n, "worlds": worlds, "resamples": resamples}
    with ProcessPoolExecutor(max_workers=1 if args.smoke else os.cpu_count()) as pool:
        for scheme in ("bootstrap", "copies"):
            values, sizes = [], []
            for world in range(FIRST_JUDGING_SEED, FIRST_JUDGING_SEED + worlds):
                found = list(pool.map(reported, [(n, world, i, scheme) for i in range(resamples)]))
                table = pd.DataFrame(found).dropna(axis=1).astype(bool)
                values.append(nogueira_stability(table.to_numpy()))
                sizes.append(float(table.sum(axis=1).mean()))
                print(f"{scheme} world {world}: {values[-1]:.3f}", file=sys.stderr)
            result[scheme] = {
                "nogueira": [round(value, 3) for value in values],
                "mean": round(float(np.nanmean(values)), 3) if np.isfinite(values).any() else None,
                "mean_reported": round(float(np.mean(sizes)), 1),
            }
    print(json.dumps(result, indent=1))
    if not args.smoke:
        (HERE / "stability.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
