"""How often are the profile's claims wrong? Error rates on simulated worlds, on judging seeds.

python experiments/truth/run.py [--smoke] [--cells TEXT] [--share 0.1] [--write]
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from worlds import CELLS, FIRST_JUDGING_SEED, Cell, judge

from icp_ml.simulation import VERSION
from icp_ml.statistics import wilson

HERE = Path(__file__).resolve().parent


def one(task: tuple[Cell, int]) -> dict[str, Any]:
    start = time.perf_counter()
    row = judge(*task)
    return {**row, "seconds": time.perf_counter() - start}


def share(hits: float, total: float) -> str:
    if not total:
        return "-"
    low, high = (float(bound) for bound in wilson(hits, total))
    return f"{hits / total:.3f} [{low:.3f}, {high:.3f}] n={int(total)}"


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one cell as text with intervals and n."""
    out: dict[str, Any] = {
        "seeds": len(rows),
        "any_reported": share(sum(row["reported"] > 0 for row in rows), len(rows)),
        "mean_reported": round(float(np.mean([row["reported"] for row in rows])), 2),
        "any_segment": share(sum(row["segments"] > 0 for row in rows), len(rows)),
        "seconds": round(float(np.median([row["seconds"] for row in rows])), 2),
    }
    if "hits" not in rows[0]:
        return out
    total = {
        key: sum(row[key] for row in rows)
        for key in rows[0]
        if isinstance(rows[0][key], int) and key not in ("seed", "top_covered")
    }
    flat = {
        key: [value for row in rows for value in row[key]]
        for key in (
            "jaccards",
            "signs",
            "lift_errors",
            "covered",
            "segment_lift_errors",
            "segment_own_jaccards",
        )
    }
    oracle = total.get("oracle_hits")
    tops = [row["top_covered"] for row in rows if row["top_covered"] is not None]
    return out | {
        "recall": share(total["hits"], total["planted"]),
        **({"recall_of_an_oracle": share(oracle, total["planted"])} if oracle is not None else {}),
        "strict_precision": share(total["kept_right"], total["kept"]),
        "precision_with_a_role": share(total["standing_right"], total["standing"]),
        "noise_share": share(total["noise"], total["reported"]),
        "sign": share(sum(flat["signs"]), len(flat["signs"])),
        "jaccard_mean": round(float(np.mean(flat["jaccards"])), 3) if flat["jaccards"] else None,
        "jaccard_median": round(float(np.median(flat["jaccards"])), 3) if flat["jaccards"] else None,
        "lift_bias_points": round(100 * float(np.mean(flat["lift_errors"])), 2)
        if flat["lift_errors"]
        else None,
        "abs_lift_bias_points": round(100 * float(np.mean(np.abs(flat["lift_errors"]))), 2)
        if flat["lift_errors"]
        else None,
        "lift_coverage": share(sum(flat["covered"]), len(flat["covered"])),
        "top_lift_coverage": share(sum(tops), len(tops)),
        "proxies_labelled": share(total["proxies_labelled"], total["proxies"]),
        "planted_kept": share(total["hits"] - total["planted_labelled"], total["hits"]),
        "confounded_labelled": share(total["confounded_labelled"], total["confounded"]),
        "segment_found": share(sum(row["segment_jaccard"] >= 0.5 for row in rows), len(rows)),
        "segment_jaccard_mean": round(float(np.mean([row["segment_jaccard"] for row in rows])), 3),
        "segment_own_jaccard_mean": round(float(np.mean(flat["segment_own_jaccards"])), 3)
        if flat["segment_own_jaccards"]
        else None,
        "segment_lift_bias_points": round(100 * float(np.mean(flat["segment_lift_errors"])), 2)
        if flat["segment_lift_errors"]
        else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two seeds of the small cells")
    parser.add_argument("--cells", default="", help="only cells whose name contains this")
    parser.add_argument("--share", type=float, default=1.0, help="share of the judging seeds")
    parser.add_argument("--write", action="store_true", help="put the result into result.json")
    args = parser.parse_args()
    cells = [cell for cell in CELLS if args.cells in cell.name]
    if args.smoke:
        cells = [cell for cell in cells if cell.n <= 500]
    tasks = [
        (cell, FIRST_JUDGING_SEED + number)
        for cell in cells
        for number in range(2 if args.smoke else max(2, round(args.share * cell.seeds)))
    ]
    rows: dict[str, list[dict[str, Any]]] = {cell.name: [] for cell in cells}
    start, done = time.perf_counter(), 0
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for future in as_completed([pool.submit(one, task) for task in tasks]):
            row = future.result()
            rows[row["cell"]].append(row)
            done += 1
            if done % 20 == 0 or done == len(tasks):
                spent = time.perf_counter() - start
                left = spent * len(tasks) / done - spent
                print(f"{done}/{len(tasks)} profiles, {spent:.0f} s, {left:.0f} s left", file=sys.stderr)
    result = {
        "simulator": VERSION,
        "q": 0.10,
        "cells": {name: summary(found) for name, found in rows.items() if found},
    }
    for name, figures in result["cells"].items():
        print(f"\n{name}")
        for key, value in figures.items():
            print(f"  {key:<26}{value}")
    if args.write and not args.smoke:
        (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
