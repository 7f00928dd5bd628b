"""How often are claims wrong on accounts that grow older over many snapshots? Judging seeds, as in run.py.

python experiments/truth/ageing.py [--smoke] [--cells TEXT] [--share 0.1] [--write]
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from run import share

import icp_ml as icp
from icp_ml.simulation.ageing import AgeingBase, make_ageing, meets

HERE = Path(__file__).resolve().parent
FIRST_JUDGING_SEED, FIRST_TUNING_SEED = 6_000, 10_000
POPULATION, POPULATION_SEED = 40_000, 424_242
MOVING = {
    "static": (),
    "ageing date": ("founded",),
    "tools adopted": ("tools",),
    "growing sizes": ("sizes",),
    "all": ("founded", "tools", "sizes"),
}
HAZARDS = {"constant": ("constant", "monthly"), "falling": ("falling", "mixed")}


@dataclass(frozen=True)
class Cell:
    """One kind of world and how many judging seeds it gets."""

    name: str
    seeds: int
    n: int
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def null(self) -> bool:
        """True where nothing is planted."""
        return self.arguments.get("signal", "null") == "null"


def _cells() -> tuple[Cell, ...]:
    out = []
    for n in (300, 1000, 3000):
        for snapshots in (4, 12, 20, 26):
            for moving, columns in MOVING.items():
                for hazard, (kind, terms) in HAZARDS.items():
                    world = {"snapshots": snapshots, "moving": columns, "hazard": kind, "terms": terms}
                    name = f"null, n {n:,}, {snapshots} snapshots, {moving}, {hazard} hazard"
                    out.append(Cell(name, 200, n, world))
    for n in (400, 1000, 3000):
        for snapshots in (4, 20):
            world = {
                "snapshots": snapshots,
                "moving": MOVING["all"],
                "hazard": "falling",
                "terms": "mixed",
                "signal": "medium",
            }
            out.append(Cell(f"signal, n {n:,}, {snapshots} snapshots", 60, n, world))
    return tuple(out)


CELLS = _cells()


def dataset_of(base: AgeingBase) -> icp.Dataset:
    """Return the rows as a dataset with the tenure that they were drawn with."""
    return icp.Dataset.from_frame(
        base.frame,
        account_id="account_id",
        labels={"retained": "retained"},
        snapshot_date="snapshot_date",
        customer_since="customer_since",
        horizon_months=12,
        technologies=["technologies"],
    )


def judge(cell: Cell, seed: int) -> dict[str, Any]:
    """Run one profile and hold it against what was planted; plain numbers only."""
    if seed >= FIRST_TUNING_SEED:
        raise ValueError("a judging run must not use a tuning seed")
    start = time.process_time()
    base = make_ageing(cell.n, seed=seed, **cell.arguments)
    profile = icp.build_profile(dataset_of(base), {}, seed=seed, n_jobs=1)
    found = profile.traits[profile.traits["kind"].isin(["icp", "anti_icp"])]
    row: dict[str, Any] = {
        "cell": cell.name,
        "seed": seed,
        "reported": len(found),
        "segments": len(profile.segments),
        "contradictions": int((np.sign(profile.traits["lift"]) * profile.traits["direction"] < 0).sum()),
        "seconds": time.process_time() - start,
    }
    return row if cell.null else row | _against_truth(cell, base, found)


def _against_truth(cell: Cell, base: AgeingBase, found: pd.DataFrame) -> dict[str, Any]:
    people = population(cell)
    planted = {(trait["feature"], _tool(trait)): trait for trait in base.traits}
    hits, signs, covered, errors, kept, kept_right = 0, [], [], [], 0, 0
    for claim in found.to_dict("records"):
        condition = {**claim, "value": json.loads(claim["value"])}
        if claim["operator"] == "is missing":
            continue
        truth = true_lift(people, condition)
        covered.append(bool(claim["lift_low"] <= truth <= claim["lift_high"]))
        errors.append(float(claim["lift"] - truth))
        mine = (claim["feature"], _tool(condition)) in planted
        hits += mine
        if mine:
            signs.append(bool(claim["direction"] * truth > 0))
        if not claim["proxy_of"]:
            kept += 1
            kept_right += mine
    return {
        "planted": len(planted),
        "hits": hits,
        "signs": signs,
        "covered": covered,
        "lift_errors": errors,
        "kept": kept,
        "kept_right": kept_right,
    }


def _tool(trait: Mapping[str, Any]) -> Any:
    return trait["value"] if trait["feature"] == "technologies" else None


@lru_cache(maxsize=8)
def population(cell: Cell) -> pd.DataFrame:
    """Return the rows of 40,000 accounts of the cell's world, each with the mean outcome of its risk set."""
    frame = make_ageing(POPULATION, seed=POPULATION_SEED, **cell.arguments).frame
    tenure = (frame["snapshot_date"] - frame["customer_since"]).dt.days // 91
    usual = frame.groupby(["snapshot_date", tenure])["retained"].transform("mean")
    return frame.assign(expected=usual)


def true_lift(people: pd.DataFrame, condition: Mapping[str, Any]) -> float:
    """Outcome share of the rows that meet a condition less that of their risk sets."""
    held = meets({str(name): people[name].to_numpy() for name in people}, condition)
    return float((people["retained"] - people["expected"])[held].mean())


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one cell as text with intervals and n."""
    out: dict[str, Any] = {
        "seeds": len(rows),
        "any_reported": share(sum(row["reported"] > 0 for row in rows), len(rows)),
        "any_segment": share(sum(row["segments"] > 0 for row in rows), len(rows)),
        "contradictions": sum(row["contradictions"] for row in rows),
        "cpu_seconds": round(float(np.median([row["seconds"] for row in rows])), 2),
    }
    if "hits" not in rows[0]:
        return out
    total = {key: sum(row[key] for row in rows) for key in ("planted", "hits", "kept", "kept_right")}
    flat = {key: [x for row in rows for x in row[key]] for key in ("signs", "covered", "lift_errors")}
    return out | {
        "recall": share(total["hits"], total["planted"]),
        "strict_precision": share(total["kept_right"], total["kept"]),
        "sign": share(sum(flat["signs"]), len(flat["signs"])),
        "lift_coverage": share(sum(flat["covered"]), len(flat["covered"])),
        "lift_bias_points": round(100 * float(np.mean(flat["lift_errors"])), 2)
        if flat["lift_errors"]
        else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two seeds of the smallest cells")
    parser.add_argument("--cells", default="", help="only cells whose name holds all of these words, by +")
    parser.add_argument("--share", type=float, default=1.0, help="share of the judging seeds")
    parser.add_argument("--write", action="store_true", help="put the cells that were run into ageing.json")
    args = parser.parse_args()
    cells = [cell for cell in CELLS if all(word in cell.name for word in args.cells.split("+"))]
    if args.smoke:
        cells = [cell for cell in cells if cell.n <= 400 and "4 snapshots" in cell.name][-2:]
    tasks = [
        (cell, FIRST_JUDGING_SEED + number)
        for cell in cells
        for number in range(2 if args.smoke else max(2, round(args.share * cell.seeds)))
    ]
    rows: dict[str, list[dict[str, Any]]] = {cell.name: [] for cell in cells}
    done = 0
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for future in as_completed([pool.submit(judge, *task) for task in tasks]):
            row = future.result()
            rows[row["cell"]].append(row)
            done += 1
            if done % 50 == 0 or done == len(tasks):
                print(f"{done}/{len(tasks)} profiles", file=sys.stderr)
    figures = {name: summary(found) for name, found in rows.items() if found}
    for name, cell_figures in figures.items():
        print(name, json.dumps(cell_figures))
    if args.write and not args.smoke:
        file = HERE / "ageing.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        file.write_text(json.dumps(known | figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
