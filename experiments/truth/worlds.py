"""The cells of the truth suite, and how one profile is scored against what was planted.

Seeds from 6,000 to 9,999 judge and were never looked at while the engine was built; it was tuned on seeds
from 10,000 on, and seeds from 0 and from 5,000 judged earlier versions. The simulator's version is in
result.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

import icp_ml as icp
from icp_ml.insight.examine import SPENT
from icp_ml.simulation import SimulatedFrame, make_frame
from icp_ml.statistics import benjamini_hochberg

FIRST_JUDGING_SEED = 6_000
FIRST_TUNING_SEED = 10_000
POPULATION_SEED = 424_242
TARGET = "retained"


@dataclass(frozen=True)
class Cell:
    """One kind of world and how many judging seeds it gets."""

    name: str
    seeds: int
    n: int = 1000
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def null(self) -> bool:
        """True where nothing is planted, so that every trait is false."""
        return self.arguments.get("signal") == "null"

    def draw(self, seed: int) -> SimulatedFrame:
        """Return the sample of a seed."""
        return make_frame(self.n, seed=seed, **self.arguments)


NULL = {"signal": "null"}
CELLS = (
    Cell("null, n 300", 200, 300, NULL),
    Cell("null, n 1,000", 200, 1000, NULL),
    Cell("null, n 3,000", 200, 3000, NULL),
    Cell("null, missing not at random", 200, 1000, {**NULL, "traps": {"missing_by_size": 0.3}}),
    Cell("null, 4 snapshots an account", 200, 500, {**NULL, "snapshots": 4}),
    Cell("signal, n 400", 60, 400),
    Cell("signal, n 1,000", 100, 1000),
    Cell("signal, n 3,000", 30, 3000),
    Cell("interaction only", 60, 1000, {"interaction_only": True, "signal": "strong"}),
    Cell("interaction added", 30, 1000, {"interaction": True}),
)


def dataset_of(sample: SimulatedFrame) -> icp.Dataset:
    """Return the sample's table as a dataset for retention only."""
    frame = sample.frame.drop(columns=["expanded", "churned_first_year"])
    dates = "snapshot_date" if "snapshot_date" in frame else None
    return icp.Dataset.from_frame(
        frame,
        account_id="account_id",
        labels={TARGET: TARGET},
        snapshot_date=dates,
        technologies=["technologies"],
    )


def judge(cell: Cell, seed: int) -> dict[str, Any]:
    """Run one profile and score it; plain numbers only."""
    if seed >= FIRST_TUNING_SEED:
        raise ValueError("a judging run must not use a tuning seed")
    sample = cell.draw(seed)
    profile = icp.build_profile(dataset_of(sample), {}, seed=seed)
    traits = profile.traits
    found = traits[traits["kind"].isin(["icp", "anti_icp"])]
    row: dict[str, Any] = {
        "cell": cell.name,
        "seed": seed,
        "reported": len(found),
        "segments": len(profile.segments),
    }
    if not cell.null:
        row |= _against_truth(sample, traits, found, profile.segments)
        row["oracle_hits"] = _oracle_hits(sample, traits)
    return row


def _against_truth(
    sample: SimulatedFrame, traits: pd.DataFrame, found: pd.DataFrame, segments: pd.DataFrame
) -> dict[str, Any]:
    truth = sample.truth
    population = truth.population(30_000, POPULATION_SEED)
    claims = [_claim(row) for row in found.to_dict("records")]
    kinds = [truth.kind_of(TARGET, claim["feature"], claim["value"]) for claim in claims]
    proxy = found["proxy_of"].fillna("").ne("").to_numpy() if len(found) else np.zeros(0, bool)
    planted = {(t["feature"], t["value"] if t["operator"] == "has" else None): t for t in truth.of(TARGET)}
    hits, jaccards, signs, errors, covered = 0, [], [], [], []
    top = found["lift"].abs().idxmax() if len(found) else None
    top_covered = None
    for (position, row), claim, kind in zip(found.iterrows(), claims, kinds, strict=True):
        true_lift = truth.lift(claim, population, TARGET)
        if np.isnan(true_lift):
            continue  # a claim on missing values: the population has none
        inside = bool(row["lift_low"] <= true_lift <= row["lift_high"])
        errors.append(row["lift"] - true_lift)
        covered.append(inside)
        if position == top:
            top_covered = inside
        if kind != "planted":
            continue
        hits += 1
        goal = planted[(claim["feature"], claim["value"] if claim["operator"] == "has" else None)]
        ours, theirs = truth.mask(claim, population), truth.mask(goal, population)
        same = int(row["direction"]) * true_lift > 0
        if int(row["direction"]) != int(goal["direction"]):
            ours, theirs = ~ours, theirs  # the same condition told from its other side
        if claim["operator"] in ("between", "in"):
            jaccards.append(float((ours & theirs).sum() / max(1, (ours | theirs).sum())))
        signs.append(same)
    followers = [i for i, kind in enumerate(kinds) if kind in ("proxy", "confounded")]
    originals = [i for i, kind in enumerate(kinds) if kind == "planted"]
    confounded = [i for i, kind in enumerate(kinds) if kind == "confounded"]
    best = _segments(sample, segments, population)
    return {
        "planted": len(planted),
        "hits": hits,
        "noise": kinds.count("null"),
        "proxies": len(followers),
        "standing": int((found["role"] != "unknown").sum()),
        "standing_right": int(sum(found["role"].iloc[i] != "unknown" and not proxy[i] for i in originals)),
        "kept": int((~proxy).sum()),
        "kept_right": int(sum(not proxy[i] for i in originals)),
        "proxies_labelled": int(sum(proxy[i] for i in followers)),
        "planted_labelled": int(sum(proxy[i] for i in originals)),
        "confounded": len(confounded),
        "confounded_labelled": int(sum(proxy[i] for i in confounded)),
        "jaccards": jaccards,
        "signs": signs,
        "lift_errors": errors,
        "covered": covered,
        "top_covered": top_covered,
        **best,
    }


def _oracle_hits(sample: SimulatedFrame, traits: pd.DataFrame) -> int:
    """Count planted traits that pass the same rate when one need not search for their conditions.

    Nobody can know the conditions; it's what the accounts of this world could show at best.
    """
    planted = {
        (t["feature"], t["value"] if t["operator"] == "has" else None): t for t in sample.truth.of(TARGET)
    }
    outcome = sample.frame[TARGET].to_numpy(dtype=float)
    tests, others = [], []
    for row in traits.to_dict("records"):
        claim = _claim(row)
        goal = planted.get((claim["feature"], claim["value"] if claim["operator"] == "has" else None))
        if goal is None or claim["operator"] == "is missing":
            others.append(row["p_value"])
            continue
        known = sample.frame[claim["feature"]].notna().to_numpy() & ~np.isnan(outcome)
        held = np.asarray(sample.truth.mask(goal, sample.frame), dtype=bool)
        yes, no = outcome[known & held], outcome[known & ~held]
        error = outcome[known].std() * np.sqrt(1 / max(len(yes), 1) + 1 / max(len(no), 1))
        tests.append(float(2 * ndtr(-abs(yes.mean() - no.mean()) / error)))
    q_values = benjamini_hochberg(np.array(tests + others))
    return int((q_values[: len(tests)] <= 0.10 * SPENT).sum())


def _segments(sample: SimulatedFrame, segments: pd.DataFrame, population: pd.DataFrame) -> dict[str, Any]:
    """Compare segments with the planted conjunction, and with the planted form of their own conditions."""
    truth = sample.truth
    goals = [segment for segment in truth.segments if segment["target"] == TARGET]
    planted = {(t["feature"], t["value"] if t["operator"] == "has" else None): t for t in truth.of(TARGET)}
    planted |= {
        (c["feature"], c["value"] if c["operator"] == "has" else None): c
        for goal in goals
        for c in goal["conditions"]
    }
    lift_errors, overlap, own = [], 0.0, []
    for row in segments.to_dict("records"):
        conditions = icp_json(row["conditions"])
        members = truth.mask({"conditions": conditions}, population)
        if members.any():
            lift_errors.append(float(row["lift"] - truth.lift(members, population, TARGET)))
        aims = []
        for condition in conditions:
            goal = planted.get(
                (condition["feature"], condition["value"] if condition["operator"] == "has" else None)
            )
            if goal is not None:
                held, aim = truth.mask(condition, population), truth.mask(goal, population)
                aims.append(max(aim, ~aim, key=lambda side: _overlap(held, side)))
        own.append(_overlap(members, np.all(aims, axis=0)) if aims else 0.0)
        overlap = max([overlap] + [_overlap(members, truth.mask(goal, population)) for goal in goals])
    return {
        "segment_lift_errors": lift_errors,
        "segment_jaccard": overlap,
        "segment_own_jaccards": own,
    }


def _overlap(one: Any, other: Any) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _claim(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"feature": row["feature"], "operator": row["operator"], "value": icp_json(row["value"])}


def icp_json(value: object) -> Any:
    """Return a JSON cell of the profile's tables as python."""
    import json

    return json.loads(value) if isinstance(value, str) else value
