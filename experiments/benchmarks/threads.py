"""What a fit costs: 5,000 accounts with 80 columns, alone and beside busy neighbours; and a million accounts.

python experiments/benchmarks/threads.py [--smoke] [--million] [--out FOLDER]

Seconds are wall and CPU of ``train(profile=False)``; neighbours are processes that do nothing but count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import icp_ml as icp

HERE = Path(__file__).resolve().parent
COLUMNS = 80
NEIGHBOUR = "while True: pass"


def accounts(n: int, seed: int = 10_000) -> icp.Dataset:
    """Return accounts of 50 numbers (a tenth missing), 20 yes/no columns and 10 categories."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, 50)).astype(np.float64)
    flags = rng.random((n, 20)) < rng.uniform(0.02, 0.5, 20)
    levels = np.minimum(rng.zipf(1.5, size=(n, 10)), 60)
    score = 0.6 * numbers[:, 0] + 0.5 * (numbers[:, 1] > 0) * flags[:, 0] + 0.4 * (levels[:, 0] < 3) + 1.2
    stays = rng.random(n) < 1 / (1 + np.exp(-score))
    grows = stays & (rng.random(n) < 1 / (1 + np.exp(-numbers[:, 2] + 1)))
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    columns: dict[str, Any] = {"account_id": np.arange(n).astype(str)}
    columns |= {f"number_{j}": numbers[:, j] for j in range(50)}
    columns |= {f"flag_{j}": flags[:, j] for j in range(20)}
    names = np.array([f"level {k}" for k in range(61)], dtype=object)
    columns |= {f"category_{j}": names[levels[:, j]] for j in range(10)}
    frame = pd.DataFrame({**columns, "retained": stays, "expanded": grows})
    targets = {"retained": "retained", "expanded": "expanded"}
    return icp.Dataset.from_frame(frame, account_id="account_id", labels=targets)


def timed(dataset: icp.Dataset) -> dict[str, float]:
    """Return wall and CPU seconds of one training without profile."""
    wall, cpu = time.perf_counter(), time.process_time()
    icp.train(dataset, seed=1, profile=False)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def beside(neighbours: int, dataset: icp.Dataset) -> dict[str, float]:
    """Return the seconds of a training while other processes keep as many cores busy."""
    busy = [subprocess.Popen([sys.executable, "-c", NEIGHBOUR]) for _ in range(neighbours)]
    try:
        return timed(dataset)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="400 accounts, one neighbour")
    parser.add_argument("--million", action="store_true", help="only 1,000,000 accounts, once")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of threads.json or million.json")
    args = parser.parse_args()
    found: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    if args.million:
        dataset = accounts(1_000_000)
        found |= {"accounts": len(dataset), **timed(dataset)}
        found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    else:
        dataset = accounts(400 if args.smoke else 5_000)
        timed(accounts(200))
        found |= {"accounts": len(dataset), "columns": COLUMNS}
        for neighbours in (0, 1) if args.smoke else (0, 1, 2):
            found[f"{neighbours} neighbours"] = beside(neighbours, dataset)
            print(neighbours, found[f"{neighbours} neighbours"], file=sys.stderr, flush=True)
    text = json.dumps(found, indent=1)
    print(text)
    if not args.smoke:
        name = "million.json" if args.million else "threads.json"
        (args.out / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
