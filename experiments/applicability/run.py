"""How many shifted prospects are flagged, and how many genuine customers: by kind of shift, beside rivals."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import options, save_result
from rivals import RIVALS

import icp_ml as icp
from icp_ml.simulation import Truth, make_frame, make_prospects
from icp_ml.statistics import wilson

#: The design was chosen on seeds from 10,000; these judge it.
SEEDS = range(5_000, 5_030)
ACCOUNTS = 1_000
#: Latent size of the simulated world → spread of the log of each column that follows it.
SIZED = {"employees": 1.5, "revenue_musd": 1.36, "sites": 0.77, "it_spend_kusd": 1.19}


def prospects(truth: Truth, seed: int, n: int) -> dict[str, pd.DataFrame]:
    """Return lists of prospects by kind of shift; the first are fresh customers."""
    rng = np.random.default_rng(seed)
    fresh = make_prospects(truth, n, seed=seed + 200_000, shift=0.0)
    lists = {"customers": make_prospects(truth, n, seed=seed + 100_000, shift=0.0)}
    for shift in (0.25, 0.5, 1.0):
        lists[f"simulated shift {shift}"] = make_prospects(truth, n, seed=seed + 300_000, shift=shift)
    lists["larger by 2.5 sd"] = fresh.assign(
        **{name: fresh[name] * np.exp(2.5 * spread) for name, spread in SIZED.items()}
    )
    lists["larger by 4 sd"] = fresh.assign(
        **{name: fresh[name] * np.exp(4.0 * spread) for name, spread in SIZED.items()}
    )
    lists["employees alone by 2.5 sd"] = fresh.assign(employees=fresh["employees"] * np.exp(2.5 * 1.5))
    lists["countries nobody comes from"] = fresh.assign(
        region=fresh["region"].where(fresh["region"].isna(), "Oceania")
    )
    lists["stacks of other tools"] = fresh.assign(technologies=_replaced(fresh, rng, 0.3))
    lists["shares of the tools exchanged"] = fresh.assign(technologies=_exchanged(fresh, truth, rng))
    columns = [name for name in fresh.columns if name != "account_id"]
    lists["40 % more unknown"] = fresh.assign(
        **{name: fresh[name].mask(rng.random(n) < 0.4) for name in columns}
    )
    lists["columns independent of each other"] = fresh.assign(
        **{name: fresh[name].to_numpy()[rng.permutation(n)] for name in columns}
    )
    return lists


def _replaced(frame: pd.DataFrame, rng: np.random.Generator, share: float) -> list[list[str] | None]:
    return [
        None
        if tools is None
        else [tool if rng.random() > share else f"Unheard {rng.integers(30)}" for tool in tools]
        for tools in frame["technologies"]
    ]


def _exchanged(frame: pd.DataFrame, truth: Truth, rng: np.random.Generator) -> list[list[str] | None]:
    names = truth.world.tools()
    other = dict(zip(names, rng.permutation(names).tolist(), strict=True))
    return [None if tools is None else [other[tool] for tool in tools] for tools in frame["technologies"]]


def judge(seed: int, n: int) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (kind, method) → rows flagged and rows, on one simulated base."""
    simulated = make_frame(n, seed=seed)
    dataset = icp.Dataset.from_frame(
        simulated.frame,
        account_id="account_id",
        labels={"retained": "retained"},
        technologies=["technologies"],
        drop=["expanded", "churned_first_year"],
    )
    model = icp.train(dataset, seed=seed, profile=False, n_jobs=1)
    rivals = {name: rival(simulated.frame[simulated.features]) for name, rival in RIVALS.items()}
    counts = {}
    for kind, rows in prospects(simulated.truth, seed, n).items():
        told = icp.applicability(model, rows)["applicability"]
        counts[kind, "icp_ml"] = (int((told != "in").sum()), n)
        counts[kind, "icp_ml, out"] = (int((told == "out").sum()), n)
        for name, flags in rivals.items():
            counts[kind, name] = (int(flags(rows).sum()), n)
    return counts


def table(found: dict[tuple[str, str], list[tuple[int, int]]]) -> list[dict[str, Any]]:
    """Return one row per kind and method: the share flagged with Wilson's 90 % interval."""
    rows = []
    for (kind, method), counts in found.items():
        flagged, total = (sum(part) for part in zip(*counts, strict=True))
        low, high = wilson(flagged, total)
        rows.append(
            {
                "kind": kind,
                "method": method,
                "flagged": flagged / total,
                "low": float(low),
                "high": float(high),
                "rows": total,
                "seeds": len(counts),
            }
        )
    return rows


def main() -> None:
    opts = options(__doc__ or "")
    seeds, n = (SEEDS[:1], 300) if opts.smoke else (SEEDS, ACCOUNTS)
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    with warnings.catch_warnings():
        # levels and tools nobody had are what this is about
        warnings.simplefilter("ignore", icp.InputWarning)
        for seed in seeds:
            for key, count in judge(seed, n).items():
                found.setdefault(key, []).append(count)
            print(f"seed {seed}", file=sys.stderr, flush=True)
    rows = table(found)
    shares = pd.DataFrame(rows).pivot_table(index="kind", columns="method", values="flagged", sort=False)
    print(shares.round(3).to_string())
    save_result({"accounts": n, "seeds": [seeds[0], seeds[-1]], "shares": rows}, __file__, opts)


if __name__ == "__main__":
    main()
