"""Tripwires: which leaks are caught, by which wire, and how often is an honest column left out?

python experiments/tripwires/run.py [--smoke] [--out FOLDER]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from harness import data_folder, options, save_result
from planted import CLEAN, HARDER, PLANTED, clean_world
from sets import SETS

import icp_ml as icp
from icp_ml.statistics import wilson

#: Limits were chosen on the public sets and on seeds below 100; these judge them.
SEEDS, WORLDS = range(5_000, 5_020), range(5_100, 5_160)
ACCOUNTS = 1_000


def alarms(dataset: icp.Dataset) -> dict[str, list[str]]:
    """Return the columns that are refused or left out, with the wires that said so."""
    found: dict[str, list[str]] = {}
    for finding in icp.find_tripwires(dataset):
        if finding.severity != "note":
            found.setdefault(finding.column, []).append(finding.wire)
    return found


def on_public_sets(smoke: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what was caught in sets with their leaks, and what was left out of the sets without them."""
    folder, leaky, clean = data_folder(), [], []
    names = ("Telco 2020", "SBA case", "RavenStack") if smoke else tuple(SETS)
    for name in names:
        source = SETS[name]
        honest = source.dataset(folder, leaks=())
        clean.append({"set": name, "columns": len(honest.schema.names), "false_alarms": alarms(honest)})
        if not source.leaks:
            continue
        dataset = source.dataset(folder, leaks=source.leaks)
        found, there = alarms(dataset), [name for name in source.leaks if name in dataset.schema.names]
        row = {"set": name, "leaks": len(there), "caught": {k: found[k] for k in there if k in found}}
        row["missed"] = [k for k in there if k not in found]
        row["false_alarms"] = {k: v for k, v in found.items() if k not in there}
        leaky.append(row)
        print(f"{name}: {len(row['caught'])} of {len(there)} leaks caught; missed {row['missed']}")
    return leaky, clean


def on_planted(smoke: bool) -> list[dict[str, Any]]:
    """Return how often each planted leak was caught, by which wires, and how often another column was."""
    rows = []
    for kind, group in (("planted", PLANTED), ("harder", HARDER)):
        for name, plant in group.items():
            caught, others, wires = 0, 0, Counter[str]()
            seeds = SEEDS[:1] if smoke else SEEDS
            for seed in seeds:
                dataset, column = plant(seed, ACCOUNTS)
                found = alarms(dataset)
                caught += column in found
                others += any(other != column for other in found)
                wires.update(set(found.get(column, [])))
            low, high = wilson(caught, len(seeds))
            row = {"leak": name, "kind": kind, "n": len(seeds), "caught": caught, "others": others}
            rows.append({**row, "low": float(low), "high": float(high), "wires": dict(wires)})
            print(f"{name}: caught {caught} of {len(seeds)}, others {others}, {dict(wires)}")
    return rows


def on_clean_worlds(smoke: bool) -> list[dict[str, Any]]:
    """Return what was left out of simulated bases without a leak."""
    seeds = WORLDS[: len(CLEAN)] if smoke else WORLDS
    rows = []
    for number, seed in enumerate(seeds):
        dataset = clean_world(number, seed)
        found = alarms(dataset)
        rows.append(
            {"world": number % len(CLEAN), "columns": len(dataset.schema.names), "false_alarms": found}
        )
        if found:
            print(f"false alarm in world {CLEAN[number % len(CLEAN)]}: {found}")
    return rows


def rate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the shares of bases and of columns with a false alarm, with Wilson's 90 % interval."""
    bad, columns = sum(bool(row["false_alarms"]) for row in rows), sum(row["columns"] for row in rows)
    bad_columns = sum(len(row["false_alarms"]) for row in rows)
    low, high = wilson(bad, len(rows))
    shares = {"bases": len(rows), "with_alarm": bad, "share": bad / len(rows), "low": float(low)}
    return {**shares, "high": float(high), "columns": columns, "columns_with_alarm": bad_columns}


def main() -> None:
    opts = options(__doc__)
    leaky, clean = on_public_sets(opts.smoke)
    planted = on_planted(opts.smoke)
    worlds = on_clean_worlds(opts.smoke)
    shares = {"public": rate(clean), "simulated": rate(worlds), "all": rate([*clean, *worlds])}
    print(shares)
    result = {"public_leaks": leaky, "planted": planted, "false_alarms": shares, "public_clean": clean}
    save_result({**result, "worlds_with_alarm": [r for r in worlds if r["false_alarms"]]}, __file__, opts)


if __name__ == "__main__":
    main()
