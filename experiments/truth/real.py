"""Real data: do the traits found on one half hold on the other, and what is found when labels are shuffled?

python experiments/truth/real.py [--smoke] [--splits 10] [--permutations 40] [--half 400] [--sets telco,bank]

The public sets are looked for where the other experiments look; what is absent is skipped, with the reason.
A run replaces only the sets it ran in real.json.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from harness import data_folder
from run import share

import icp_ml as icp
from icp_ml.insight.predicates import Predicate

ALPHA = 0.05
SAAS_POST_SALE = (
    "csat_score",
    "articles_viewed",
    "smartphone_notifications_viewed",
    "marketing_emails_clicked",
    "minutes_customer_support",
    "months_active",
)


@dataclass(frozen=True)
class Source:
    """One public set: where it lies, how many accounts a half gets, how it becomes a labelled dataset."""

    file: str
    half: int
    target: str
    dataset: Callable[[pd.DataFrame], icp.Dataset]


def telco(frame: pd.DataFrame) -> icp.Dataset:
    """2018 Telco, every published column."""
    frame["stayed"] = frame.pop("churn").eq("No").astype(int)
    return labelled(frame, {"retained": "stayed"})


def saas(frame: pd.DataFrame) -> icp.Dataset:
    """SaaS simulation without tenure and what is known after the sale; product modules as technologies."""
    frame["stayed"] = 1 - frame.pop("churned").astype(int)
    modules = [name for name in frame if name.startswith("product_") and name != "product_data_storage"]
    frame["modules"] = [
        [f"{name.removeprefix('product_')} {state}" for name, state in row.items() if state != "No"]
        for row in frame[modules].to_dict("records")
    ]
    frame = frame.drop(columns=[*modules, *SAAS_POST_SALE])
    return labelled(frame, {"retained": "stayed"}, technologies=["modules"])


def bank(frame: pd.DataFrame) -> icp.Dataset:
    """Bank marketing without the duration of the call, which is known only once the answer is."""
    frame["bought"] = frame.pop("deposit").eq("yes").astype(int)
    return labelled(frame.drop(columns="duration"), {"expanded": "bought"})


def labelled(frame: pd.DataFrame, labels: dict[str, str], **more: Any) -> icp.Dataset:
    frame.insert(0, "account", [f"R{i:06d}" for i in range(len(frame))])
    return icp.Dataset.from_frame(frame, account_id="account", labels=labels, **more)


SOURCES = {
    "telco": Source("ibm_telco_2018_classic/wa_churn.csv.gz", 2_000, "retained", telco),
    "saas": Source("saas_b2b_pysurvival/churn.csv.gz", 1_000, "retained", saas),
    "bank": Source("bank_marketing/bank.csv.gz", 3_000, "expanded", bank),
}


def read(source: Source) -> icp.Dataset | str:
    """Return the dataset of a source, or why there is none."""
    try:
        path = data_folder() / source.file
    except SystemExit:
        return "no public data here"
    if not path.is_file():
        return f"no {source.file} among the public data"
    return source.dataset(pd.read_csv(path))


def reported(dataset: icp.Dataset, seed: int) -> list[dict[str, Any]]:
    """Return the confirmed traits of a profile."""
    traits = icp.build_profile(dataset, {}, seed=seed).traits
    return traits[traits["kind"].isin(["icp", "anti_icp"])].to_dict("records")


def replicate(row: dict[str, Any], other: icp.Dataset, target: str) -> dict[str, Any] | None:
    """Test one reported trait on accounts that had no part in it; None where nobody there can be judged."""
    value = json.loads(row["value"]) if isinstance(row["value"], str) else row["value"]
    held = Predicate.from_dict({**row, "value": value}).mask(other.features)
    rows, y = other.target(target)
    held = held[rows]
    inside, outside = y[held == 1], y[held == 0]
    if not len(inside) or not len(outside):
        return None
    table = [[part.sum(), len(part) - part.sum()] for part in (inside, outside)]
    direction = int(row["direction"])
    side = "greater" if direction > 0 else "less"
    return {
        "trait": row["trait"],
        "confirmed": bool(fisher_exact(table, alternative=side)[1] < ALPHA),
        "same_direction": bool(direction * (inside.mean() - outside.mean()) > 0),
        "overstated": float(direction * (row["lift"] - (inside.mean() - y.mean()))),
    }


def one_split(dataset: icp.Dataset, source: Source, half: int, seed: int) -> list[dict[str, Any]]:
    """Find traits on a random half, test each on another, and on all accounts outside the first."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    first, second, rest = (
        dataset.take(part) for part in (order[:half], order[half : 2 * half], order[half:])
    )
    out = []
    for row in reported(first, seed):
        found, wider = (replicate(row, other, source.target) for other in (second, rest))
        if found and wider:
            out.append(found | {"on_the_rest": wider["confirmed"]})
    return out


def permuted(dataset: icp.Dataset, source: Source, half: int, seed: int) -> int:
    """Return how many traits are reported on a half whose labels were shuffled among its accounts."""
    rng = np.random.default_rng(seed)
    part = dataset.take(rng.permutation(len(dataset))[:half])
    part.labels[source.target] = part.labels[source.target].to_numpy()[rng.permutation(len(part))]
    return len(reported(part, seed))


def study(name: str, source: Source, dataset: icp.Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one set."""
    half, start = min(args.half or source.half, len(dataset) // 2), time.perf_counter()
    splits = []
    for seed in range(args.splits):
        splits.append(one_split(dataset, source, half, seed))
        print(f"{name}: split {seed + 1}/{args.splits}, {len(splits[-1])} traits", file=sys.stderr)
    counts = []
    for seed in range(args.permutations):
        counts.append(permuted(dataset, source, half, 1_000 + seed))
        print(f"{name}: permutation {seed + 1}/{args.permutations}, {counts[-1]} traits", file=sys.stderr)
    flat = [row for rows in splits for row in rows]
    failed = pd.Series([row["trait"] for row in flat if not row["confirmed"]], dtype=str).value_counts()
    shares = [float(np.mean([row["confirmed"] for row in rows])) for rows in splits if rows]
    return {
        "accounts_a_half": half,
        "splits": len(splits),
        "traits_a_split": round(float(np.mean([len(rows) for rows in splits])), 1),
        "confirmed": share(sum(row["confirmed"] for row in flat), len(flat)),
        "confirmed_on_the_rest": share(sum(row["on_the_rest"] for row in flat), len(flat)),
        "worst_split": round(min(shares), 3) if shares else None,
        "same_direction": share(sum(row["same_direction"] for row in flat), len(flat)),
        "lift_overstated_points": round(100 * float(np.mean([row["overstated"] for row in flat])), 2)
        if flat
        else None,
        "not_confirmed": failed.head(8).to_dict(),
        "permutations": len(counts),
        "permuted_any_trait": share(sum(count > 0 for count in counts), len(counts)),
        "seconds_a_profile": round((time.perf_counter() - start) / max(1, len(splits) + len(counts)), 2),
    }


COLUMNS = {
    "accounts a half": "accounts_a_half",
    "traits a split": "traits_a_split",
    "confirmed on the other half": "confirmed",
    "on all the rest": "confirmed_on_the_rest",
    "worst split": "worst_split",
    "same direction": "same_direction",
    "lift overstated, points": "lift_overstated_points",
    "any trait, labels shuffled": "permuted_any_trait",
}


def table(results: dict[str, Any]) -> str:
    """Return a markdown table of the sets that ran."""
    lines = ["| set | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, found in results.items():
        cells = [found.get(key, "-") for key in COLUMNS.values()]
        lines.append(f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one split, one permutation, few accounts")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--permutations", type=int, default=40)
    parser.add_argument("--half", type=int, default=0, help="accounts a half (default: the set's own number)")
    parser.add_argument("--sets", default=",".join(SOURCES))
    args = parser.parse_args()
    if args.smoke:
        args.splits, args.permutations, args.half = 1, 1, 400
    out = HERE / "real.json"
    results = json.loads(out.read_text(encoding="utf-8")) if out.is_file() and not args.smoke else {}
    for name in args.sets.split(","):
        dataset = read(SOURCES[name])
        if isinstance(dataset, str):
            print(f"{name}: skipped, {dataset}")
            continue
        title = f"{name}, {args.half} a half" if args.half and not args.smoke else name
        results[title] = study(name, SOURCES[name], dataset, args)
        if not args.smoke:
            out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
