"""Does the monitor stay quiet without drift, speak with it, and know what the outcomes will be?

python experiments/truth/monitor.py [--smoke] [--out FOLDER] [--models 40] [--first 5000] [--repeated 8]

One model per seed and many quarters per model. Seeds from 10,000 tuned the monitor, those from 5,000 judge.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import icp_ml as icp
from icp_ml.simulation import VERSION, SimulatedFrame, make_frame, make_prospects
from icp_ml.statistics import wilson

HERE = Path(__file__).resolve().parent
ACCOUNTS = 1_000
QUARTERS, DRIFTED = 20, 3
TUNING = 10_000
TARGETS = {"retained": "retained", "expanded": "expanded"}
NEW_TOOL = "NovaCRM"
Rows = dict[str, list[dict[str, Any]]]


def learnt(frame: pd.DataFrame) -> icp.IcpModel:
    dated = "snapshot_date" if "snapshot_date" in frame else None
    dataset = icp.Dataset.from_frame(
        frame,
        account_id="account_id",
        labels=TARGETS,
        snapshot_date=dated,
        technologies=["technologies"],
        drop=["churned_first_year"],
    )
    return icp.train(dataset, profile=False, n_jobs=1)


def tool_adopted(frame: pd.DataFrame, rng: np.random.Generator, tool: str, share: float) -> pd.DataFrame:
    takes = rng.random(len(frame)) < share
    lists = [
        sorted({*cell, tool}) if isinstance(cell, list) and take else cell
        for cell, take in zip(frame["technologies"], takes, strict=True)
    ]
    return frame.assign(technologies=pd.Series(lists, dtype=object, index=frame.index))


def tool_gone(frame: pd.DataFrame, tool: str) -> pd.DataFrame:
    lists = [
        [item for item in cell if item != tool] if isinstance(cell, list) else cell
        for cell in frame["technologies"]
    ]
    return frame.assign(technologies=pd.Series(lists, dtype=object, index=frame.index))


def newest(base: SimulatedFrame) -> pd.DataFrame:
    frame = base.frame
    return frame[frame["snapshot_date"] == frame["snapshot_date"].max()]


def fresh(seed: int, **settings: Any) -> pd.DataFrame:
    return make_frame(ACCOUNTS, seed=seed, **settings).frame


def drifts(base: SimulatedFrame) -> dict[str, Callable[[int], pd.DataFrame]]:
    """Return kind of drift → a quarter with it, by seed; quarters without outcomes have no label columns."""

    def later(seed: int) -> pd.DataFrame:
        return newest(make_frame(ACCOUNTS, seed=seed, snapshots=4, traps={"drift": True}))

    def gone(seed: int) -> pd.DataFrame:
        frame = fresh(seed)
        return frame.assign(
            industry=frame["industry"].mask(np.random.default_rng(seed).random(len(frame)) < 0.3)
        )

    def grown(seed: int) -> pd.DataFrame:
        frame = fresh(seed)
        return frame.assign(employees=np.round(frame["employees"] * 1.5))

    return {
        "trap: new tool at 20 %, an effect halved": later,
        "the same without the tool (concept only)": lambda seed: tool_gone(later(seed), NEW_TOOL),
        "new tool at 10 %": lambda seed: tool_adopted(
            fresh(seed), np.random.default_rng(seed), NEW_TOOL, 0.10
        ),
        "a known tool, 20 % more": lambda seed: tool_adopted(
            fresh(seed), np.random.default_rng(seed), "Salesforce", 0.20
        ),
        "a known tool gone": lambda seed: tool_gone(fresh(seed), "Salesforce"),
        "employees half as many again": grown,
        "industry unknown in 30 % more": gone,
        "churn 25 instead of 15 %": lambda seed: fresh(seed, churn=0.25),
        "effects gone (odds ratio 1)": lambda seed: fresh(seed, signal="null"),
        "other companies, shift 0.25": lambda seed: make_prospects(
            base.truth, ACCOUNTS, seed=seed, shift=0.25
        ),
        "other companies, shift 0.5": lambda seed: make_prospects(base.truth, ACCOUNTS, seed=seed, shift=0.5),
    }


def looked(model: icp.IcpModel, quarter: pd.DataFrame, seed: int) -> dict[str, Any]:
    labels = quarter[["account_id", *TARGETS]] if "retained" in quarter else None
    found = icp.monitor(model, quarter, labels)
    before = icp.monitor(model, quarter) if labels is not None else found
    row: dict[str, Any] = {
        "seed": seed,
        "alarm": found.alarm,
        "alarm_before_labels": before.alarm,
        "alarm_realised": bool(found.performance["alarm"].any()),
        "which": found.drift.loc[found.drift["alarm"], "kind"].tolist()
        + (found.performance["target"] + " " + found.performance["metric"])[
            found.performance["alarm"]
        ].tolist(),
        "mix": float(found.drift.loc[found.drift["kind"] == "mix", "effect"].iloc[0]),
        "score": float(found.drift.loc[found.drift["kind"] == "score", "effect"].iloc[0]),
    }
    if labels is not None:
        for measure in found.performance.to_dict("records"):
            name = f"{measure['target']} {measure['metric']}"
            row[f"inside {name}"] = bool(measure["low"] <= measure["realised"] <= measure["high"])
            row[f"error {name}"] = float(measure["realised"] - measure["estimate"])
            row[f"width {name}"] = float(measure["high"] - measure["low"])
    return row


def new_cohorts(seed: int, quarters: int, drifted: int, into: Rows) -> None:
    """Customers that the model hasn't seen, without drift and with each kind of it."""
    base = make_frame(ACCOUNTS, seed=seed)
    model = learnt(base.frame)
    start = 1_000_000 + 1_000 * seed
    for k in range(quarters):
        into["no drift"].append(looked(model, fresh(start + k), seed))
    for k in range(max(quarters // 4, 1)):
        for n in (300, 3_000):
            quarter = make_frame(n, seed=start + 100 + k).frame
            into[f"no drift, {n:,} accounts"].append(looked(model, quarter, seed))
    for number, (kind, make) in enumerate(drifts(base).items()):
        for k in range(drifted):
            into[kind].append(looked(model, make(start + 200 + 20 * number + k), seed))


def same_accounts(seed: int, into: Rows) -> None:
    """Four later quarters of the very accounts that the model learnt from, outcomes related over time."""
    frame = make_frame(ACCOUNTS, seed=seed, snapshots=6).frame
    days = sorted(frame["snapshot_date"].unique())
    model = learnt(frame[frame["snapshot_date"].isin(days[:2])])
    for day in days[2:]:
        into["no drift, accounts learnt from"].append(
            looked(model, frame[frame["snapshot_date"] == day], seed)
        )


def share(hits: float, total: int) -> str:
    low, high = (float(bound) for bound in wilson(hits, total))
    return f"{hits / total:.3f} [{low:.3f}, {high:.3f}] n={total}"


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    n = len(rows)
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        for which in set(row["which"]):
            counts[which] += 1
    found: dict[str, Any] = {
        "models": len({row["seed"] for row in rows}),
        **{
            key: share(sum(row[key] for row in rows), n)
            for key in ("alarm", "alarm_before_labels", "alarm_realised")
        },
        "alarms_by_kind": dict(sorted(counts.items(), key=lambda item: -item[1])),
        "mean_mix": round(float(np.mean([row["mix"] for row in rows])), 4),
        "mean_score": round(float(np.mean([row["score"] for row in rows])), 4),
    }
    for key in rows[0]:
        if key.startswith("inside "):
            name = key.removeprefix("inside ")
            found[key] = share(sum(row[key] for row in rows), n)
            errors = np.array([row[f"error {name}"] for row in rows])
            width = float(np.mean([row[f"width {name}"] for row in rows]))
            found[f"error {name}"] = (
                f"mean {errors.mean():+.4f}, sd {errors.std():.4f}, interval width {width:.4f}"
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one small model, to see that it runs")
    parser.add_argument("--out", type=Path, default=None, help="folder of monitor.json (default: here)")
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--first", type=int, default=5_000, help="first seed")
    parser.add_argument("--repeated", type=int, default=8, help="models for the accounts learnt from")
    asked = parser.parse_args()
    models, repeated = (1, 1) if asked.smoke else (asked.models, asked.repeated)
    rows: Rows = defaultdict(list)
    start = time.perf_counter()
    for seed in range(asked.first, asked.first + models):
        new_cohorts(seed, 2 if asked.smoke else QUARTERS, 1 if asked.smoke else DRIFTED, rows)
        print(f"{time.perf_counter() - start:7.1f} s  seed {seed}", flush=True)
    for seed in range(asked.first, asked.first + repeated):
        same_accounts(seed, rows)
    result = {
        "version": VERSION,
        "seeds": f"{asked.first} to {asked.first + models - 1}",
        "accounts": ACCOUNTS,
        "seconds": round(time.perf_counter() - start),
        "cells": {kind: summary(found) for kind, found in rows.items()},
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    folder = asked.out or (None if asked.smoke or asked.first >= TUNING else HERE)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "monitor.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
