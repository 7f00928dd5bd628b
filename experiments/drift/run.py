"""Is next year what the folds promised? Gap of AUC and log loss out of time, with and without drift.

python experiments/drift/run.py [--smoke] [--out FOLDER]

Accounts of six quarters teach, other accounts of the two quarters after them judge; with drift the effect of
one tool halves in these and a new tool spreads. More worlds without drift tell the share inside the interval
better, and so do worlds with one row per account, judged by fresh ones. Then real firms (Crunchbase 2013).
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

SEEDS, CALM = range(5_000, 5_030), (*range(20_000, 20_090), *range(30_000, 30_060))
ACCOUNTS, SNAPSHOTS, LATE = 1_200, 8, 2
SINGLE, FRESH = {400: 20, 1_000: 20, 3_000: 12}, 4_000
GAPS = ("auc", "log_loss", "calibration_slope")


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
    return {
        name: {
            **row,
            "beyond_luck": bool(row["beyond_luck"]),
            "inside": bool(row["low"] <= 0 <= row["high"]),
        }
        for name, row in found.items()
    }, model


def halves(seed: int, n: int, *, drift: bool) -> tuple[icp.Dataset, icp.Dataset, pd.DataFrame]:
    """Return half of the accounts before the last quarters, the others in them, and the newest of these."""
    frame = make_frame(n, seed=seed, snapshots=SNAPSHOTS, traps={"drift": drift}).frame
    dates = np.sort(frame["snapshot_date"].unique())
    teachers = set(frame["account_id"].unique()[::2])
    newest = frame[~frame["account_id"].isin(teachers) & (frame["snapshot_date"] == dates[-1])]
    # Kinds of columns are those of all rows, so that both halves have the same.
    whole = labelled(frame)
    learns = whole.labels["account_id"].isin(teachers)
    early = whole.labels["snapshot_date"] < dates[-LATE]
    train, test = (whole.take(np.flatnonzero(rows)) for rows in (learns & early, ~learns & ~early))
    return train, test, newest.reset_index(drop=True)


def single(seed: int, n: int) -> tuple[icp.Dataset, icp.Dataset]:
    """Return accounts with one row each, and fresh ones of the same world."""
    parts = (make_frame(n, seed=seed).frame, make_frame(FRESH, seed=seed + 500_000).frame)
    fresh = parts[1].assign(account_id="fresh " + parts[1]["account_id"])
    whole = labelled(pd.concat([parts[0], fresh], ignore_index=True).assign(snapshot_date="2025-06-30"))
    judges = whole.labels["account_id"].str.startswith("fresh ")
    train, test = (whole.take(np.flatnonzero(rows)) for rows in (~judges, judges))
    return train, test


def single_world(seed: int, n: int) -> dict[str, Any]:
    """Learn from ``n`` accounts, judge on fresh ones."""
    return {"seed": seed, "accounts": n, **gaps(*single(seed, n), seed)[0]}


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


def shares(rows: list[dict[str, Any]], lone: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how often gaps lie inside their intervals without drift, and how often drift is told."""
    calm, drifted = [row for row in rows if not row["drift"]], [row for row in rows if row["drift"]]
    counted = {f"{gap} inside, no drift": _inside(calm, gap) for gap in GAPS}
    for n in sorted({row["accounts"] for row in lone}):
        own = [row for row in lone if row["accounts"] == n]
        counted |= {f"{gap} inside, {n} accounts": _inside(own, gap) for gap in GAPS}
    counted |= {f"{gap} inside, all without drift": _inside([*calm, *lone], gap) for gap in GAPS}
    counted |= {
        "a gap beyond luck, all without drift": [_beyond(row) for row in [*calm, *lone]],
        "a gap beyond luck, drift": [_beyond(row) for row in drifted],
        "alarm, no drift": [row["alarm"] for row in calm],
        "alarm, drift": [row["alarm"] for row in drifted],
    }
    found = {}
    for name, hits in counted.items():
        low, high = wilson(sum(hits), len(hits), level=0.90)
        share = sum(hits) / max(len(hits), 1)
        found[name] = {"share": share, "low": float(low), "high": float(high), "n": len(hits)}
    return found


def _inside(rows: list[dict[str, Any]], gap: str) -> list[bool]:
    # A model that says the base rate to everyone has no slope.
    return [row[gap]["inside"] for row in rows if np.isfinite(row[gap]["gap"])]


def _beyond(row: dict[str, Any]) -> bool:
    return any(row[gap]["beyond_luck"] for gap in GAPS)


def main() -> None:
    opts = options(__doc__)
    seeds, calm, n = (SEEDS[:1], CALM[:0], 160) if opts.smoke else (SEEDS, CALM, ACCOUNTS)
    rows: list[dict[str, Any]] = []
    places = [*product(seeds, (False, True)), *product(calm, (False,))]
    with ProcessPoolExecutor(2) as pool:
        for row in pool.map(world, *zip(*places, strict=True), repeat(n)):
            rows.append(row)
            print(f"seed {row['seed']} drift {row['drift']}: {row['auc']}", file=sys.stderr, flush=True)
        sizes = {200: 1} if opts.smoke else SINGLE
        alone = [(SEEDS[0] + i, size) for size, count in sizes.items() for i in range(count)]
        lone = list(pool.map(single_world, *zip(*alone, strict=True)))
    result = {
        "accounts": n,
        "shares": shares(rows, lone),
        "crunchbase": crunchbase(opts),
        "rows": rows,
        "single": lone,
    }
    print(pd.DataFrame(result["shares"]).T.round(3).to_string())
    print(pd.DataFrame({k: v for k, v in result["crunchbase"].items() if isinstance(v, dict)}).T.round(3))
    save_result(result, __file__, opts)


if __name__ == "__main__":
    main()
