"""icp_ml's classifier against rivals: same rows, same folds, one thread each, a cell at a time.

python experiments/benchmarks/run.py [--smoke] [--python PATH] [--models icp_ml,catboost] [--sets TEXT]
    [--sizes 300,1000,3000,all] [--folds N] [--work FOLDER] [--table]

Each finished fold is one row of cells/MODEL.json; what is there isn't done again, so a run may be cut and
resumed. --python names a python that has the models that this one lacks. --table only sums up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from harness import data_folder
from judge import Z90
from models import read_cells
from models import run as run_model
from sets import SETS, Set
from simulated import FIRST_SEED, SEEDS, task_of

CELLS = HERE / "cells"
HOME = ("icp_ml", "lightgbm", "lightgbm tuned", "forest", "logistic")
FOLDS, MOST_ROWS = 5, 50_000
Z95 = 1.959963984540054
#: Published figures of the 2018 Telco are five folds, three times.
REPEATS = {("telco 2018", "all"): 3}


def tasks_of(table: Set, size: str, folder: Path, folds: int = FOLDS) -> list[dict[str, Any]]:
    """Write rows of a set to a folder and deal them into folds; none if the set is smaller than the size."""
    rows = np.sort(np.random.default_rng(0).permutation(len(table.outcome))[:MOST_ROWS])
    if size != "all":
        if len(rows) <= int(size):
            return []
        rows = np.sort(np.random.default_rng(int(size)).choice(rows, int(size), replace=False))
    frame = table.features.iloc[rows].reset_index(drop=True)
    y = table.outcome[rows]
    file = f"{table.name.replace(' ', '_')}_{size}.parquet"
    pd.concat([frame, pd.Series(y, name="__outcome")], axis=1).to_parquet(folder / file, index=False)
    repeats = REPEATS.get((table.name, size), 1)
    dealt = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=0).split(frame, y)
    common = {"set": table.name, "n": size, "file": file, "categories": list(table.categories)}
    return [{**common, "fold": k, "train": a.tolist(), "test": b.tolist()} for k, (a, b) in enumerate(dealt)]


def first_things_first(task: dict[str, Any]) -> tuple[int, int, int]:
    """Two folds of everything small, then two of everything large, then the rest."""
    size = MOST_ROWS if task["n"] == "all" else int(task["n"])
    fold = task["fold"] - (FIRST_SEED if task["set"] == "simulated" else 0)
    return (int(size > 3000) if fold < 2 else 2, fold, size)


def prepare(folder: Path, sets: str, sizes: list[str], folds: int) -> None:
    """Write all tasks: public sets, and simulated worlds as one more."""
    tasks: list[dict[str, Any]] = []
    data = data_folder()
    for read in SETS:
        table = read(data)
        if sets in table.name:
            for size in sizes:
                tasks += tasks_of(table, size, folder)
    if sets in "simulated":
        tasks += [task_of(n, FIRST_SEED + i, folder) for n, count in SEEDS.items() for i in range(count)]
    wanted = [task for task in sorted(tasks, key=first_things_first) if _fold(task) < folds]
    (folder / "tasks.json").write_text(json.dumps(wanted), encoding="utf-8")


def _fold(task: dict[str, Any]) -> int:
    return 0 if task["set"] == "simulated" else int(task["fold"])


def all_cells(cells: Path) -> pd.DataFrame:
    """Return every row found so far, with the model's name."""
    parts = [
        pd.DataFrame(read_cells(file)).assign(model=file.stem.replace("_", " ").replace("icp ml", "icp_ml"))
        for file in sorted(cells.glob("*.json"))
    ]
    table = pd.concat(parts, ignore_index=True)
    return table if "skill" in table else table.assign(skill=np.nan)


def comparable(table: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """Keep the folds that every one of the models has done."""
    part = table[table["model"].isin(models)]
    counts = part.groupby(["set", "n", "fold"])["model"].transform("nunique")
    return part[counts == len(models)]


def ranks(table: pd.DataFrame, metric: str) -> dict[str, float]:
    """Mean rank of each model over sets and sizes; 1 is best."""
    wide = table.groupby(["set", "n", "model"])[metric].mean().unstack("model")
    ranked = wide.rank(axis=1, ascending=metric != "auc").mean()
    return {str(name): round(float(value), 2) for name, value in ranked.sort_values().items()}


def beside(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Hold icp_ml against each rival on the folds that both have done: per size, whole sets by name."""
    part = table.assign(
        part=np.where(
            (table["n"] == "all") | (table["set"] == "simulated"), table["set"] + " " + table["n"], table["n"]
        )
    )
    keys, metrics = ["part", "set", "n", "fold"], ["auc", "log_loss", "skill"]
    ours = part[part["model"] == "icp_ml"].set_index(keys)
    rows = []
    for rival, cells in part[part["model"] != "icp_ml"].groupby("model"):
        theirs = cells.set_index(keys)
        less = (ours[metrics] - theirs[metrics]).dropna(subset=["auc"])
        less = less.join(ours["seconds"]).join(theirs["seconds"].rename("rival_seconds"))
        public = less[less.index.get_level_values("set") != "simulated"].reset_index()
        groups = [("all public", public), *less.reset_index().groupby("part")]
        for name, own in groups:
            row = {"rival": rival, "part": name, "folds": len(own)}
            for metric in metrics:
                row |= {metric: own[metric].mean(), f"{metric}_sem": own[metric].sem()}
            row |= {"auc_higher": (own["auc"] > 0).mean(), "log_loss_lower": (own["log_loss"] < 0).mean()}
            rows.append(row | own[["seconds", "rival_seconds"]].mean().to_dict())
    return pd.DataFrame(rows).round(4).to_dict("records")


def slope_shares(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return how often 90 % and 95 % intervals of the calibration slope hold 1, per model and size."""
    distance = (table["slope"] - 1).abs() / (table["slope_high"] - table["slope"])
    kind = np.where(table["set"] == "simulated", "simulated ", "") + table["n"].astype(str)
    judged = table.assign(kind=kind, within_90=distance <= 1, within_95=distance <= Z95 / Z90)
    judged = pd.concat([judged, judged.assign(kind="over all")])
    parts = judged.groupby(["model", "kind"])
    shares = parts[["within_90", "within_95"]].mean().round(3).join(parts.size().rename("folds"))
    return {
        str(model): own.droplevel("model").to_dict("index") for model, own in shares.groupby(level="model")
    }


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return means and spreads over folds, mean ranks, and how often the slope's interval holds 1."""
    public = table[table["set"] != "simulated"]
    metrics = ["auc", "log_loss", "brier", "ece", "slope", "seconds"]
    grouped = public.groupby(["set", "n", "model"])[metrics]
    spread = grouped.std().rename(columns=lambda column: f"{column}_sd")
    means = grouped.mean().join(spread).join(grouped.size().rename("folds")).round(4).reset_index()
    skill = table[table["set"] == "simulated"].groupby(["n", "model"])["skill"]
    shares = skill.agg(["mean", "sem", "size"]).round(4).reset_index()
    return {
        "mean_rank": {metric: _ranks_by_size(public, metric) for metric in ("auc", "log_loss", "brier")},
        "slope_interval_holds_1": slope_shares(table),
        "skill": shares.to_dict("records"),
        "icp_ml_less_rival": beside(table),
        "rows": means.to_dict("records"),
    }


def _ranks_by_size(public: pd.DataFrame, metric: str) -> dict[str, dict[str, float]]:
    # A model that has done a few folds only would leave no others to compare the rest on.
    done = public["model"].value_counts()
    full = comparable(public, sorted(done.index[done >= done.max() / 2]))
    found = {"over all": ranks(full, metric)} if len(full) else {}
    return found | {str(n): ranks(part, metric) for n, part in full.groupby("n")}


def show(table: pd.DataFrame, found: dict[str, Any]) -> None:
    """Print what was found."""
    pd.set_option("display.width", 250)
    for metric in ("auc", "log_loss"):
        pivot = table.pivot_table(index=["set", "n"], columns="model", values=metric)
        print(f"\n{metric}\n{pivot.round(4).to_string()}")
    skill = pd.DataFrame(found["skill"])
    if len(skill):
        print(f"\nskill\n{skill.pivot_table(index='n', columns='model', values='mean').to_string()}")
    print(f"\nicp_ml less rival\n{pd.DataFrame(found['icp_ml_less_rival']).to_string(index=False)}")
    print(json.dumps({key: found[key] for key in ("mean_rank", "slope_interval_holds_1")}, indent=1))


def run(folder: Path, models: list[str], python: str | None, cells: Path) -> None:
    """Run models one after the other; those that aren't at home in the other python."""
    for model in models:
        if model in HOME or python is None:
            run_model(folder, model, cells)
        else:
            command = [python, str(HERE / "models.py"), str(folder), model, str(cells)]
            subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one set, 300 rows, two folds, two models")
    parser.add_argument("--python", default=None, help="python with catboost, xgboost and interpret-core")
    parser.add_argument("--models", default=",".join(HOME), help="which, separated by commas")
    parser.add_argument("--sets", default="", help="only sets whose name contains this")
    parser.add_argument("--sizes", default="300,1000,3000,all", help="rows taken of each set")
    parser.add_argument("--folds", type=int, default=REPEATS["telco 2018", "all"] * FOLDS)
    parser.add_argument("--work", type=Path, default=None, help="keep the tasks here and use what is there")
    parser.add_argument("--cells", type=Path, default=CELLS, help="folder of finished rows")
    parser.add_argument("--table", action="store_true", help="only sum up what is there")
    args = parser.parse_args()
    if args.smoke:
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name), "telco 2018", ["300"], 2)
            run(Path(name), ["icp_ml", "logistic"], None, Path(name) / "cells")
            table = all_cells(Path(name) / "cells")
            show(table, summary(table))
        return
    if not args.table:
        with tempfile.TemporaryDirectory() as name:
            folder = args.work or Path(name)
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "tasks.json").exists():
                prepare(folder, args.sets, args.sizes.split(","), args.folds)
            run(folder, args.models.split(","), args.python, args.cells)
    table = all_cells(args.cells)
    found = summary(table)
    show(table, found)
    (HERE / "result.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
