"""Share of the oracle's log-loss skill that each model keeps, on simulated accounts whose chances are known.

python experiments/benchmarks/simulated.py [--smoke] [--python PATH]

Skill is (base - model) / (base - oracle): log losses expected under the true chance of 4,000 fresh accounts
of the same world, with missing values as in training. The oracle knows the complete accounts. Judging seeds
from 5,000 on; tools are yes/no columns for every model, ours included.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
from run import answers, rivals_of

from icp_ml.simulation import SimulatedFrame, make_frame

FIRST_SEED = 5_000
SEEDS = {400: 12, 1000: 12, 3000: 6}
FRESH = 4_000
NOT_FEATURES = ["account_id", "technologies", "retained", "expanded", "churned_first_year"]


def flat(frame: pd.DataFrame, tools: list[str]) -> pd.DataFrame:
    """Return features with a column per tool; unknown stacks are missing."""
    stacks = frame["technologies"]
    known = stacks.notna().to_numpy()
    held = {
        f"uses {tool}": [
            float(tool in stack) if is_known else np.nan
            for stack, is_known in zip(stacks, known, strict=True)
        ]
        for tool in tools
    }
    return pd.concat([frame.drop(columns=NOT_FEATURES).reset_index(drop=True), pd.DataFrame(held)], axis=1)


def task_of(n: int, seed: int, folder: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Write one world: ``n`` accounts to learn from and fresh ones to judge by; return their true chances."""
    learn = make_frame(n, seed=seed)
    fresh: SimulatedFrame = make_frame(FRESH, seed=seed + 500_000)
    counts = learn.frame["technologies"].explode().value_counts()
    tools = sorted(counts[counts >= 10].index)
    x = pd.concat([flat(learn.frame, tools), flat(fresh.frame, tools)], ignore_index=True)
    texts = [c for c in x if not pd.api.types.is_numeric_dtype(x[c]) and not pd.api.types.is_bool_dtype(x[c])]
    for column in x:
        if column in texts:
            x[column] = x[column].astype(object).where(x[column].notna(), None)
        else:
            x[column] = x[column].astype("float64")
    y = np.concatenate([learn.frame["retained"], fresh.frame["retained"]]).astype(float)
    file = f"world_{n}_{seed}.parquet"
    x.assign(__outcome=y).to_parquet(folder / file, index=False)
    rows = {"train": list(range(n)), "test": list(range(n, n + FRESH))}
    chance = learn.truth.probability(fresh.complete)
    return {"set": "simulated", "n": n, "file": file, "categories": texts, **rows}, chance


def expected_log_loss(true: np.ndarray, said: np.ndarray) -> float:
    said = np.clip(said, 1e-6, 1 - 1e-6)
    return float(-(true * np.log(said) + (1 - true) * np.log(1 - said)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one world of 400, rivals of this python")
    parser.add_argument("--python", default=None, help="python with catboost, xgboost and interpret-core")
    args = parser.parse_args()
    seeds = {400: 1} if args.smoke else SEEDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [task_of(n, FIRST_SEED + i, folder) for n, count in seeds.items() for i in range(count)]
        tasks = [task for task, _ in made]
        found = answers(folder, tasks, rivals_of(args.smoke, args.python), args.python)
        rows = []
        for number, (task, true) in enumerate(made):
            y = pd.read_parquet(folder / task["file"], columns=["__outcome"])["__outcome"].to_numpy()
            base = expected_log_loss(true, np.full(FRESH, y[task["train"]].mean()))
            oracle = expected_log_loss(true, true)
            for model, said_by in found.items():
                said = np.array(said_by[number]["chances"])
                skill = (base - expected_log_loss(true, said)) / (base - oracle)
                auc = roc_auc_score(y[task["test"]], said)
                rows.append({"model": model, "n": task["n"], "skill": skill, "auc": auc})
    table = pd.DataFrame(rows).groupby(["n", "model"])
    shown = table.mean().join(table["skill"].sem().rename("skill_se")).round(3).reset_index()
    print(shown.pivot_table(index="n", columns="model", values=["skill", "auc"]).to_string())
    if not args.smoke:
        result = {"seeds": {str(n): count for n, count in seeds.items()}, "rows": shown.to_dict("records")}
        (HERE / "simulated.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
