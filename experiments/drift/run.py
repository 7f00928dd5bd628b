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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

EXPERIMENTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(EXPERIMENTS))
from harness import Options, options, save_result

import icp_ml as icp
from icp_ml.simulation import make_frame
from icp_ml.statistics import wilson

SEEDS, CALM = range(5_000, 5_030), range(20_000, 20_060)
ACCOUNTS, SNAPSHOTS, LATE = 1_200, 8, 2
Z90, Z95 = 1.6448536269514722, 1.959963984540054
DRAWS = 200


def labelled(frame: pd.DataFrame) -> icp.Dataset:
    return icp.Dataset.from_frame(
        frame,
        account_id="account_id",
        labels={"retained": "retained"},
        snapshot_date="snapshot_date",
        technologies=["technologies"],
        drop=["churned_first_year", "expanded"],
    )


def errors(y: np.ndarray, p: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, tuple[float, float]]:
    """Return each metric and its standard error by bootstrap over accounts."""
    rng = np.random.default_rng(seed)
    codes = np.unique(groups, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    starts = np.r_[0, np.cumsum(np.bincount(codes))]
    metrics = {"auc": roc_auc_score, "log_loss": log_loss}
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(DRAWS):
        picks = rng.integers(0, len(starts) - 1, len(starts) - 1)
        rows = np.concatenate([order[starts[i] : starts[i + 1]] for i in picks])
        if 0 < y[rows].mean() < 1:
            for name, metric in metrics.items():
                drawn[name].append(float(metric(y[rows], p[rows])))
    return {name: (float(metrics[name](y, p)), float(np.std(drawn[name]))) for name in metrics}


def gaps(train: icp.Dataset, test: icp.Dataset, seed: int) -> tuple[dict[str, Any], icp.IcpModel]:
    """Train, and hold the metrics of the folds against those of the test part."""
    model = icp.train(train, seed=seed, profile=False)
    propensity = model.propensities["retained"]
    rows, y = train.target("retained")
    promised = errors(y, expit(propensity.oof_log_odds_), train.groups[rows], seed)
    rows, y = test.target("retained")
    chance = propensity.predict_proba(test.features.iloc[rows])[:, 1]
    came = errors(y, chance, test.groups[rows], seed)
    found: dict[str, Any] = {}
    for name in promised:
        gap = came[name][0] - promised[name][0]
        half = Z90 * float(np.hypot(came[name][1], promised[name][1]))
        found[name] = {
            "folds": promised[name][0],
            "out_of_time": came[name][0],
            "gap": gap,
            "low": gap - half,
            "high": gap + half,
            "inside": bool(abs(gap) <= half),
            "inside_95": bool(abs(gap) <= half * Z95 / Z90),
        }
    return found, model


def world(seed: int, n: int, *, drift: bool) -> dict[str, Any]:
    """Learn from one half of the accounts before the last quarters, judge on the other half in them."""
    base = make_frame(n, seed=seed, snapshots=SNAPSHOTS, traps={"drift": drift})
    frame = base.frame
    dates = np.sort(frame["snapshot_date"].unique())
    accounts = frame["account_id"].unique()
    learns = frame["account_id"].isin(set(accounts[::2]))
    early = frame["snapshot_date"] < dates[-LATE]
    train, test = labelled(frame[learns & early]), labelled(frame[~learns & ~early])
    found, model = gaps(train, test, seed)
    newest = frame[~learns & (frame["snapshot_date"] == dates[-1])].reset_index(drop=True)
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
        "auc gap inside 95 %, no drift": [row["auc"]["inside_95"] for row in calm],
        "log loss gap inside 95 %, no drift": [row["log_loss"]["inside_95"] for row in calm],
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
    for seed, drift in [*product(seeds, (False, True)), *product(calm, (False,))]:
        rows.append(world(seed, n, drift=drift))
        print(f"seed {seed} drift {drift}: {rows[-1]['auc']}", file=sys.stderr, flush=True)
    result = {"accounts": n, "shares": shares(rows), "crunchbase": crunchbase(opts), "rows": rows}
    print(pd.DataFrame(result["shares"]).T.round(3).to_string())
    print(pd.DataFrame({k: v for k, v in result["crunchbase"].items() if isinstance(v, dict)}).T.round(3))
    save_result(result, __file__, opts)


if __name__ == "__main__":
    main()
