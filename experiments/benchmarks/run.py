"""icp_ml's classifier against rivals with their defaults: same rows, same folds, one thread each.

python experiments/benchmarks/run.py [--smoke] [--python PATH] [--sizes 300,1000,3000,10000] [--sets TEXT]
    [--rivals catboost,lightgbm]

--python names a python that has catboost, xgboost and interpret-core; without it those rivals are left out.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from harness import data_folder
from models import run as run_rival
from sets import SETS, Set

import icp_ml as icp

HOME = ("lightgbm", "forest", "logistic")
ELSEWHERE = {"catboost": "catboost", "xgboost": "xgboost", "ebm": "interpret"}
FOLDS = 5


def tasks_of(table: Set, n: int, folder: Path, folds: int) -> list[dict[str, Any]]:
    """Write ``n`` rows of a set to a folder and deal them into folds."""
    rows = np.arange(len(table.outcome))
    if n < len(rows):
        rows = np.sort(np.random.default_rng(n).choice(rows, n, replace=False))
    frame = table.features.iloc[rows].reset_index(drop=True)
    y = table.outcome[rows]
    file = f"{table.name.replace(' ', '_')}_{len(rows)}.parquet"
    frame.assign(__outcome=y).to_parquet(folder / file, index=False)
    dealt = StratifiedKFold(folds, shuffle=True, random_state=0).split(frame, y)
    common = {"set": table.name, "n": len(rows), "file": file, "categories": list(table.categories)}
    return [{**common, "train": a.tolist(), "test": b.tolist()} for a, b in dealt]


def ours(folder: Path, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fit icp_ml's classifier on every task."""
    out = []
    for number, task in enumerate(tasks):
        frame = pd.read_parquet(folder / task["file"])
        y = frame.pop("__outcome").to_numpy()
        start = time.perf_counter()
        model = icp.PropensityClassifier(n_jobs=1).fit(frame.iloc[task["train"]], y[task["train"]])
        chances = model.predict_proba(frame.iloc[task["test"]])[:, 1]
        out.append({"seconds": time.perf_counter() - start, "chances": chances.tolist()})
        print(f"icp_ml {number + 1}/{len(tasks)} {task['set']} n={task['n']}", file=sys.stderr)
    return out


def rivals_of(smoke: bool, python: str | None, wanted: str = "") -> list[str]:
    """Return the rivals to run: those asked for, of those that can."""
    can = [*HOME[-1:]] if smoke else [*HOME, *(ELSEWHERE if python else ())]
    return [name for name in can if not wanted or name in wanted.split(",")]


def answers(
    folder: Path, tasks: list[dict[str, Any]], rivals: list[str], python: str | None
) -> dict[str, list[dict[str, Any]]]:
    """Fit every model on every task; rivals that need another python run there."""
    (folder / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    found = {"icp_ml": ours(folder, tasks)}
    for rival in rivals:
        if rival in HOME:
            run_rival(folder, rival)
        else:
            subprocess.run([str(python), str(HERE / "models.py"), str(folder), rival], check=True)
        found[rival] = json.loads((folder / f"{rival}.json").read_text(encoding="utf-8"))
    return found


def judged(folder: Path, tasks: list[dict[str, Any]], found: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """Return AUC, log loss, Brier score and seconds of each model and task."""
    rows = []
    for name, answers in found.items():
        for number, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
            y = pd.read_parquet(folder / task["file"], columns=["__outcome"])["__outcome"].to_numpy()
            true, chance = y[task["test"]], np.clip(np.array(answer["chances"]), 1e-6, 1 - 1e-6)
            rows.append(
                {
                    "model": name,
                    "set": task["set"],
                    "n": task["n"],
                    "fold": number % FOLDS,
                    "auc": roc_auc_score(true, chance),
                    "log_loss": log_loss(true, chance),
                    "brier": brier_score_loss(true, chance),
                    "seconds": answer["seconds"],
                }
            )
    return pd.DataFrame(rows)


def ranks(table: pd.DataFrame, metric: str) -> dict[str, float]:
    """Mean rank of each model over sets and sizes; 1 is best."""
    wide = table.groupby(["set", "n", "model"])[metric].mean().unstack("model")
    return dict(wide.rank(axis=1, ascending=metric != "auc").mean().round(2).sort_values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="one set, 300 rows, two folds, rivals of this python"
    )
    parser.add_argument("--python", default=None, help="python with catboost, xgboost and interpret-core")
    parser.add_argument("--sizes", default="300,1000,3000,10000", help="rows taken of each set")
    parser.add_argument("--sets", default="", help="only sets whose name contains this")
    parser.add_argument("--rivals", default="", help="only these, separated by commas")
    args = parser.parse_args()
    sizes = [300] if args.smoke else [int(size) for size in args.sizes.split(",")]
    data = data_folder()
    with tempfile.TemporaryDirectory() as name:
        folder, tasks = Path(name), []
        for read in SETS[:1] if args.smoke else SETS:
            table = read(data)
            if args.sets in table.name:
                wanted = sorted({min(n, len(table.outcome)) for n in sizes})
                for n in wanted:
                    tasks += tasks_of(table, n, folder, 2 if args.smoke else FOLDS)
        found = answers(folder, tasks, rivals_of(args.smoke, args.python, args.rivals), args.python)
        table = judged(folder, tasks, found)
    means = table.groupby(["set", "n", "model"])[["auc", "log_loss", "brier", "seconds"]]
    spread = means.std().rename(columns=lambda column: f"{column}_sd")
    shown = means.mean().join(spread).round(4).reset_index()
    result = {
        "folds": FOLDS,
        "mean_rank": {metric: ranks(table, metric) for metric in ("auc", "log_loss", "brier")},
        "rows": shown.to_dict("records"),
    }
    for metric in ("auc", "log_loss"):
        print(
            f"\n{metric}\n{shown.pivot_table(index=['set', 'n'], columns='model', values=metric).to_string()}"
        )
    print(json.dumps(result["mean_rank"], indent=1))
    if not args.smoke and not args.sets:
        (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
