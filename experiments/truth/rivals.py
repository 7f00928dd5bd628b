"""What users do today, judged in the same worlds, on judging seeds, by the same truth as our profile.

python experiments/truth/rivals.py [--smoke] [--rivals shap,ebm] [--seeds 30] [--python PATH]

EBM, pysubgroup and IPSS run in a python of their own (--python: one with interpret-core, pysubgroup, ipss and
pyarrow); without it they are left out. A run replaces only the rivals it ran in rivals.json.

A rival that gives no more than a sign is read kindly: the upper half of the values (of the level codes) is
claimed to do better or worse. ``told`` is the strict reading: bands and groups of levels have no sign.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rival_methods import ELSEWHERE, HOME, SIGNLESS, TARGET, Claim, timed, widen
from run import share, summary
from worlds import FIRST_TUNING_SEED, POPULATION_SEED, _against_truth

from icp_ml.simulation import SimulatedFrame, Truth, make_frame
from icp_ml.simulation.planted import key_of

HERE = Path(__file__).resolve().parent
FIRST_SEED, ACCOUNTS = 5_000, 1_000
CELLS: dict[str, dict[str, Any]] = {"null": {"signal": "null"}, "signal": {}}
KEPT = (
    *("seeds", "any_reported", "mean_reported", "seconds", "recall", "strict_precision", "noise_share"),
    *("sign", "told", "lift_bias_points", "abs_lift_bias_points", "overstated_points", "proxies_labelled"),
)


def tables_of(claims: list[Claim]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return claims as the traits and segments tables that worlds.py judges, one row a column or tool."""
    groups = [part for part in claims if "conditions" in part]
    single = [c for part in groups for c in part["conditions"]] + [c for c in claims if "feature" in c]
    rows: dict[tuple[str, Any], Claim] = {}
    for said in single:
        if said["operator"] == "lacks":
            said = said | {"operator": "has", "direction": -said["direction"]}
        key = (said["feature"], said["value"] if said["feature"] == "technologies" else None)
        rows.setdefault(key, said | {"value": json.dumps(said["value"]), "lift": said["lift"] or 0.0})
    blank = {"lift_low": np.nan, "lift_high": np.nan, "proxy_of": "", "role": "unknown"}
    columns = ["feature", "operator", "value", "direction", "lift", "bare", *blank]
    return pd.DataFrame([row | blank for row in rows.values()], columns=columns), pd.DataFrame(groups)


def judged(sample: SimulatedFrame, claims: list[Claim], facts: Claim) -> Claim:
    """Score one rival's claims as worlds.py scores ours; keep only what the rival says at all."""
    found, groups = tables_of(claims)
    row = facts | {"reported": len(found), "segments": len(groups)}
    if facts["cell"] == "null":  # every true lift is 0
        return row | {"overstated": [abs(said["lift"]) for said in claims if said["lift"]]}
    row |= _against_truth(sample, found.assign(kind="icp"), found, groups)
    if len(groups):
        row["lift_errors"] = row["segment_lift_errors"]
    elif not any(said["lift"] for said in claims):
        row["lift_errors"] = []
    if facts["rival"] in SIGNLESS or len(groups):
        row["signs"] = []
    return row | {"covered": [], "top_covered": None} | extras(sample.truth, found, groups, facts["rival"])


@cache
def population() -> pd.DataFrame:
    """Return the companies that lifts are measured on; the same world for every signal seed."""
    return make_frame(50, seed=FIRST_SEED).truth.population(30_000, POPULATION_SEED)


def extras(truth: Truth, found: pd.DataFrame, groups: pd.DataFrame, rival: str) -> Claim:
    """Return by how much each lift is overstated in its own direction, and the strict reading of signs."""
    planted = {key_of(t["feature"], t["value"]): t for t in truth.of(TARGET)}
    overstated, told = [], []
    for row in [*found.to_dict("records"), *groups.to_dict("records")]:
        said = row if "conditions" in row else row | {"value": json.loads(row["value"])}
        true = truth.lift(said, population(), TARGET)
        if row["lift"] and not np.isnan(true):
            overstated.append(float(np.sign(row["lift"]) * (row["lift"] - true)))
        goal = None if "conditions" in row else planted.get(key_of(said["feature"], said["value"]))
        if goal and rival not in SIGNLESS and not len(groups):
            one_sided = goal["operator"] == "has" or None in goal["value"]
            right = one_sided and row["direction"] == goal["direction"]
            told.append(bool(right if row["bare"] else row["direction"] * true > 0))
    return {"overstated": overstated, "told": told}


def samples(seeds: Mapping[str, int], n: int) -> Iterator[tuple[str, int, SimulatedFrame]]:
    """Draw the worlds, the same ones for every rival."""
    for cell, arguments in CELLS.items():
        for seed in range(FIRST_SEED, FIRST_SEED + seeds[cell]):
            yield cell, seed, make_frame(n, seed=seed, **arguments)


def abroad(name: str, python: str, seeds: Mapping[str, int], n: int) -> list[Claim]:
    """Run a rival in another python: tables out as parquet, claims back as json."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        kept = {}
        for cell, seed, sample in samples(seeds, n):
            wide = widen(sample.frame, sample.features).assign(**{TARGET: sample.frame[TARGET]})
            wide.to_parquet(Path(place) / f"{cell}_{seed}.parquet")
            kept[cell, seed] = sample
        command = [python, str(HERE / "rival_methods.py"), name, place]
        subprocess.run(command, check=True)
        for (cell, seed), sample in kept.items():
            answer = json.loads((Path(place) / f"{cell}_{seed}.{name}.json").read_text(encoding="utf-8"))
            facts = {"rival": name, "cell": cell, "seed": seed, "seconds": answer["seconds"]}
            rows.append(judged(sample, answer["claims"], facts))
    return rows


def at_home(name: str, seeds: Mapping[str, int], n: int) -> list[Claim]:
    """Run a rival that needs nothing but our own dependencies."""
    rows = []
    for cell, seed, sample in samples(seeds, n):
        wide, y = widen(sample.frame, sample.features), sample.frame[TARGET].to_numpy(dtype=float)
        claims, seconds = timed(HOME[name], wide, y, seed)
        rows.append(judged(sample, claims, {"rival": name, "cell": cell, "seed": seed, "seconds": seconds}))
    return rows


def has_package(python: str | None, package: str) -> bool:
    return bool(python) and subprocess.run([python, "-c", f"import {package}"], check=False).returncode == 0


def figures(rows: list[Claim]) -> dict[str, Any]:
    """Summarise a rival's rows with the function that summarises ours, and add what only rivals need."""
    out = {cell: summary([row for row in rows if row["cell"] == cell]) for cell in CELLS}
    for cell, found in out.items():
        own = [row for row in rows if row["cell"] == cell]
        overstated = [v for row in own for v in row["overstated"]]
        found["overstated_points"] = round(100 * float(np.mean(overstated)), 2) if overstated else None
    told = [v for row in rows for v in row.get("told", [])]
    out["signal"]["told"] = share(sum(told), len(told))
    return {cell: {key: found[key] for key in KEPT if key in found} for cell, found in out.items()}


COLUMNS = {
    "P(any), no signal": ("null", "any_reported"),
    "traits on noise": ("null", "mean_reported"),
    "recall": ("signal", "recall"),
    "strict precision": ("signal", "strict_precision"),
    "sign right": ("signal", "sign"),
    "sign told": ("signal", "told"),
    "lift bias, points": ("signal", "lift_bias_points"),
    "lift overstated by": ("signal", "overstated_points"),
    "on noise": ("null", "overstated_points"),
    "proxies labelled": ("signal", "proxies_labelled"),
    "seconds": ("signal", "seconds"),
}


def table(rivals: dict[str, Any], ours: dict[str, Any] | None = None) -> str:
    """Return a markdown table; ``ours`` are the cells of result.json."""
    shown = {name: found for name, found in rivals.items() if "signal" in found}
    if ours:
        shown = {
            "icp_ml": {"null": ours.get("null, n 1,000", {}), "signal": ours.get("signal, n 1,000", {})}
        } | shown
    lines = ["| rival | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, found in shown.items():
        cells = [found[cell].get(key) for cell, key in COLUMNS.values()]
        lines.append(f"| {name} | " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one seed, only what runs in this python")
    parser.add_argument("--rivals", default=",".join([*HOME, *ELSEWHERE]))
    parser.add_argument("--seeds", type=int, default=30, help="judging seeds a cell, from 5,000 on")
    parser.add_argument("--null-seeds", type=int, default=0, help="as many without signal (default: --seeds)")
    parser.add_argument("--python", default=None, help="python with interpret-core, pysubgroup and ipss")
    parser.add_argument("--ours", type=Path, default=HERE / "result.json", help="our own cells")
    args = parser.parse_args()
    seeds = {"null": args.null_seeds or args.seeds, "signal": args.seeds}
    seeds, n = (dict.fromkeys(CELLS, 1), 300) if args.smoke else (seeds, ACCOUNTS)
    if FIRST_SEED + max(seeds.values()) > FIRST_TUNING_SEED:
        raise SystemExit("a judging run must not use a tuning seed: ask for fewer --seeds")
    out = HERE / "rivals.json"
    found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() and not args.smoke else {}
    for name in args.rivals.split(","):
        if name in HOME:
            found[name] = figures(at_home(name, seeds, n))
        elif not args.smoke and has_package(args.python, ELSEWHERE[name][0]):
            found[name] = figures(abroad(name, args.python, seeds, n))
        else:
            print(f"{name}: left out, no python with {ELSEWHERE[name][0]} (--python)", file=sys.stderr)
        if not args.smoke:
            out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    ours = json.loads(args.ours.read_text(encoding="utf-8"))["cells"] if args.ours.is_file() else None
    print(table(found, ours))


if __name__ == "__main__":
    main()
