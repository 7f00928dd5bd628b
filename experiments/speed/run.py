"""Speeds and memory of the main line, each part in a process of its own so that its peak memory is its own.

python experiments/speed/run.py [--smoke] [--repeats 3] [--part NAME]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def base(smoke: bool) -> tuple[Any, dict[str, Any]]:
    """Tables of 2,000 accounts with 60 tools, and the settings of a dataset of 8 quarterly snapshots."""
    import icp_ml as icp
    from icp_ml.simulation import make_tables

    world = make_tables(200 if smoke else 2000, seed=1)
    days = icp.quarter_ends("2023-12-31" if smoke else "2022-06-30", "2024-03-31")
    return icp.read_tables(world.tables)[0], {"snapshot_dates": days, "horizon_months": 12}


def build_dataset(smoke: bool) -> dict[str, float]:
    """Tables to dataset."""
    import icp_ml as icp

    tables, settings = base(smoke)
    start = time.perf_counter()
    dataset = icp.build_dataset(tables, **settings)
    return {"seconds": time.perf_counter() - start, "rows": len(dataset)}


def train_with_profile(smoke: bool) -> dict[str, float]:
    """The same base: dataset to model with profile, both targets."""
    import icp_ml as icp

    tables, settings = base(smoke)
    dataset = icp.build_dataset(tables, **settings)
    start = time.perf_counter()
    model = icp.train(dataset, seed=7)
    return {
        "seconds": time.perf_counter() - start,
        "rows": len(dataset),
        "candidates": len(model.profile.traits),
    }


def profile(smoke: bool) -> dict[str, float]:
    """1,000 accounts, 8 snapshots each, both targets: dataset to profile."""
    import icp_ml as icp
    from icp_ml.simulation import make_frame

    n, snapshots = (300, 2) if smoke else (1000, 8)
    dataset = icp.Dataset.from_frame(
        make_frame(n, seed=1, snapshots=snapshots).frame,
        account_id="account_id",
        labels={"retained": "retained", "expanded": "expanded"},
        snapshot_date="snapshot_date",
        technologies=["technologies"],
        drop=["churned_first_year"],
    )
    start = time.perf_counter()
    found = icp.build_profile(dataset, {}, seed=7)
    return {
        "seconds": time.perf_counter() - start,
        "rows": len(dataset),
        "candidates": len(found.traits),
    }


def features_at_scale(smoke: bool) -> dict[str, float]:
    """1,000,000 accounts and 20,000,000 technology rows to a features frame."""
    sys.path.insert(0, str(HERE))
    from features_at_scale import measure

    return measure(2_000 if smoke else 1_000_000, 20)


def command_line_help(smoke: bool) -> dict[str, float]:
    """icp-ml --help, a cold process."""
    command = [str(Path(sys.executable).with_name("icp-ml")), "--help"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"seconds": time.perf_counter() - start}


PARTS: dict[str, tuple[Callable[[bool], dict[str, float]], float, float]] = {
    # name: (what runs, bar in seconds, bar in GB)
    "build_dataset": (build_dataset, 5.0, 8.0),
    "train_with_profile": (train_with_profile, 90.0, 8.0),
    "profile": (profile, 90.0, 8.0),
    "features_at_scale": (features_at_scale, 120.0, 8.0),
    "command_line_help": (command_line_help, 1.0, 1.0),
}


def run_part(name: str, smoke: bool) -> dict[str, float]:
    command = [sys.executable, str(HERE / "run.py"), "--part", name, *(["--smoke"] if smoke else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=sorted(PARTS))
    args = parser.parse_args()
    if args.part:
        found = PARTS[args.part][0](args.smoke)
        peak = max(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
        )
        print(json.dumps({**found, "peak_gb": peak / 1024**2}))
        return
    result = {}
    print(f"{'part':<22}{'seconds (median)':>18}{'bar':>8}{'peak GB':>10}{'bar':>6}")
    for name, (_, seconds, memory) in PARTS.items():
        runs = [run_part(name, args.smoke) for _ in range(1 if args.smoke else args.repeats)]
        row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        result[name] = {
            **row,
            "all_seconds": [run["seconds"] for run in runs],
            "bar_seconds": seconds,
            "bar_gb": memory,
        }
        print(f"{name:<22}{row['seconds']:>18.2f}{seconds:>8.0f}{row['peak_gb']:>10.2f}{memory:>6.0f}")
    if not args.smoke:
        (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
