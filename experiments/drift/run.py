"""Is next year what the folds promised? Gap of AUC and log loss out of time, with and without drift.

python experiments/drift/run.py [--smoke] [--out FOLDER]

Accounts of six quarters teach, other accounts of the two quarters after them judge; with drift the effect of
one tool halves in these and a new tool spreads. More worlds without drift tell the share inside the interval
better. Then real firms (Crunchbase 2013).
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import importlib.util
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

EXPERIMENTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(EXPERIMENTS))
from harness import Options, options, save_result

import icp_ml as icp
from icp_ml.simulation import make_frame
from icp_ml.statistics import wilson

SEEDS, CALM = range(5_000, 5_030), range(20_000, 20_060)
ACCOUNTS, SNAPSHOTS, LATE = 1_200, 8, 2


def labelled(frame: pd.DataFrame) -> icp.Dataset:
    return icp.Dataset.from_frame(
        frame,
        account_id="account_id",
        labels={"retained": "retained"},
        snapshot_date="snapshot_date",
        technologies=["technologies"],
        drop=["churned_first_year", "expanded"],
    )


def gaps(train: icp.Dataset, test: icp.Dataset, seed: int) -> tuple[dict[str, Any], icp.IcpModel]:
    """Train, and hold the metrics of the folds against those of the test part."""
    model = icp.train(train, seed=seed, profile=False)
    table = icp.evaluate(model, test, seed=seed).gaps.set_index("name").drop(columns="target")
    found = {name: {key: float(value) for key, value in row.items()} for name, row in table.iterrows()}
    return {name: {**row, "inside": row["low"] <= 0 <= row["high"]} for name, row in found.items()}, model


def halves(seed: int, n: int, *, drift: bool) -> tuple[icp.Dataset, icp.Dataset, pd.DataFrame]:
    """Return half of the accounts before the last quarters, the others in them, and the newest of these."""
    frame = make_frame(n, seed=seed, snapshots=SNAPSHOTS, traps={"drift": drift}).frame
    dates = np.sort(frame["snapshot_date"].unique())
    learns = frame["account_id"].isin(set(frame["account_id"].unique()[::2]))
    early = frame["snapshot_date"] < dates[-LATE]
    newest = frame[~learns & (frame["snapshot_date"] == dates[-1])].reset_index(drop=True)
    return labelled(frame[learns & early]), labelled(frame[~learns & ~early]), newest


def world(seed: int, drift: bool, n: int) -> dict[str, Any]:
    """Learn from one half of the accounts, judge on the other half later, watch its newest quarter."""
    train, test, newest = halves(seed, n, drift=drift)
    found, model = gaps(train, test, seed)
    watched = icp.monitor(model, newest, newest[["account_id", "retained"]])
    return {"seed": seed, "drift": drift, **found, "alarm": bool(watched.alarm)}


def crunchbase(opts: Options) -> dict[str, Any]:
    """Firms of 2005-2010 teach, firms from 2011 on judge."""
    place = EXPERIMENTS / "crunchbase_2013" / "run.py"
    spec = importlib.util.spec_from_file_location("crunchbase_run", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frame = module.firms_as_of_one_year().sort_values("as_of").reset_index(drop=True)
    if opts.smoke:
        frame = frame.iloc[:: max(1, len(frame) // 800)].reset_index(drop=True)
    dataset = icp.Dataset.from_frame(
        frame, account_id="firm", labels={"retained": "alive"}, snapshot_date="as_of"
    )
    train, test = icp.split_out_of_time(dataset, test_from="2011-01-01", embargo_months=0)
    found, model = gaps(train, test, 7)
    rows, y = test.target("retained")
    newest = test.features.iloc[rows].reset_index(drop=True)
    watched = icp.monitor(
        model, newest, pd.DataFrame({"account_id": newest["account_id"], "retained": y > 0})
    )
    return {**found, "alarm": bool(watched.alarm), "train": len(train), "test": len(test)}


def shares(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how often gaps lie inside their intervals without drift, and how often drift is told."""
    calm, drifted = [row for row in rows if not row["drift"]], [row for row in rows if row["drift"]]
    counted = {
        "auc gap inside, no drift": [row["auc"]["inside"] for row in calm],
        "log loss gap inside, no drift": [row["log_loss"]["inside"] for row in calm],
        "alarm, no drift": [row["alarm"] for row in calm],
        "alarm, drift": [row["alarm"] for row in drifted],
    }
    found = {}
    for name, hits in counted.items():
        low, high = wilson(sum(hits), len(hits), level=0.90)
        found[name] = {"share": sum(hits) / len(hits), "low": float(low), "high": float(high), "n": len(hits)}
    return found


def main() -> None:
    opts = options(__doc__)
    seeds, calm, n = (SEEDS[:1], CALM[:0], 160) if opts.smoke else (SEEDS, CALM, ACCOUNTS)
    rows: list[dict[str, Any]] = []
    places = [*product(seeds, (False, True)), *product(calm, (False,))]
    with ProcessPoolExecutor(2) as pool:
        for row in pool.map(world, *zip(*places, strict=True), repeat(n)):
            rows.append(row)
            print(f"seed {row['seed']} drift {row['drift']}: {row['auc']}", file=sys.stderr, flush=True)
    result = {"accounts": n, "shares": shares(rows), "crunchbase": crunchbase(opts), "rows": rows}
    print(pd.DataFrame(result["shares"]).T.round(3).to_string())
    print(pd.DataFrame({k: v for k, v in result["crunchbase"].items() if isinstance(v, dict)}).T.round(3))
    save_result(result, __file__, opts)


if __name__ == "__main__":
    main()
