"""What each candidate is worth alone and what the mixture adds: share of the oracle's skill.

python experiments/benchmarks/candidates.py [--smoke] [--worlds N] [--families NAME,NAME]

Worlds are those for tuning: seeds from 10,000 on, which judge nothing. Writes candidates.json; what isn't
asked for stays as it is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import pandas as pd
from judge import judged
from simulated import task_of

import icp_ml as icp
from icp_ml.model.candidates import DEFAULT_CANDIDATES

HERE = Path(__file__).resolve().parent
FIRST_SEED = 10_000
WITHOUT_BANDS = tuple(name for name in DEFAULT_CANDIDATES if name != "bands")
FAMILIES = {name: (name,) for name in (*DEFAULT_CANDIDATES, "ebm")} | {
    "mixture": DEFAULT_CANDIDATES,
    "mixture without bands": WITHOUT_BANDS,
    "mixture with ebm": (*DEFAULT_CANDIDATES, "ebm"),
}


def skills(n: int, seed: int, families: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the skill of each family in one world."""
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(n, seed, Path(folder))
        frame = pd.read_parquet(Path(folder) / task["file"])
    y, true = frame.pop("__outcome").to_numpy(), frame.pop("__chance").to_numpy()
    found: dict[str, Any] = {"n": n, "seed": seed}
    for name, candidates in families.items():
        model = icp.PropensityClassifier(candidates=candidates, n_jobs=1).fit(frame[:n], y[:n])
        said = model.predict_proba(frame[n:])[:, 1]
        found[name] = judged(y[n:], said, true[n:], float(y[:n].mean()))["skill"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one world of 300 accounts, nothing written")
    parser.add_argument("--worlds", type=int, default=12, help="worlds of 400 and of 1,000 accounts")
    parser.add_argument("--families", default=",".join(FAMILIES), help="which, separated by commas")
    args = parser.parse_args()
    file = HERE / "candidates.json"
    if args.smoke:
        table = pd.DataFrame([skills(300, FIRST_SEED, {"bands": ("bands",), "both": ("additive", "bands")})])
    else:
        places = [(n, FIRST_SEED + i) for n in (400, 1000) for i in range(args.worlds)]
        with ProcessPoolExecutor(2) as pool:
            asked = {name: FAMILIES[name] for name in args.families.split(",")}
            table = pd.DataFrame(pool.map(skills, *zip(*places, strict=True), repeat(asked)))
        table = table.round(4).set_index(["n", "seed"])
        if file.exists():
            table = table.combine_first(pd.read_json(file).set_index(["n", "seed"]))
        table = table.reindex(columns=list(FAMILIES)).reset_index()
    grouped = table.drop(columns="seed").groupby("n")
    shown = pd.concat({"mean": grouped.mean(), "se": grouped.sem()}, axis=1).stack(level=1, future_stack=True)
    print(shown.round(3).to_string())
    if not args.smoke:
        rows = json.loads(table.to_json(orient="records"))
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
