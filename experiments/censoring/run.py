"""Unfinished horizons: how wrong is the average chance when they count as stayed, and does it come right?

python experiments/censoring/run.py [--smoke] [--out FOLDER]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import options, save_result

import icp_ml as icp
from icp_ml.simulation import make_frame

SEEDS = range(5_000, 5_024)
HORIZON, ACCOUNTS, FRESH = 12, 1_500, 4_000
#: Share of the year's hazard that is over after each month: half of it waits for the renewal at month 12.
SPENT = np.concatenate([np.linspace(0.0, 0.5, HORIZON), [1.0]])
KEYS = ["account_id", "retained", "expanded", "churned_first_year"]


@dataclass(frozen=True)
class Cut:
    """Accounts that were followed until a day of the calendar: what is known of them, and what is true."""

    features: pd.DataFrame
    size: np.ndarray
    followed: np.ndarray
    left: np.ndarray


def cut_off(seed: int, n: int, *, mixed: bool) -> tuple[Cut, Any]:
    """Simulate accounts that started in the last two years, and cut all of them off today.

    With ``mixed`` the newer an account, the smaller: the accounts whose year isn't over are others.
    """
    base = make_frame(n, seed=seed, churn=0.20, signal="strong")
    rng = np.random.default_rng(seed + 300_000)
    stays = base.truth.probability(base.complete, "retained")
    spent = np.log(rng.random(n)) / np.log(stays)
    month = np.searchsorted(SPENT, spent, side="left")
    rank = base.complete["employees"].rank(pct=True).to_numpy()
    age = rank * 0.8 + 0.2 * rng.random(n) if mixed else rng.random(n)
    months = 1 + np.floor(24 * np.clip(age, 0, 1 - 1e-9)).astype(int)
    if mixed:
        months = np.maximum(1, np.where(rng.random(n) < 0.25, 1 + rng.integers(0, 24, n), months))
    seen = np.minimum(month, months)
    left = (month <= months) & (month <= HORIZON)
    followed = np.minimum(seen, HORIZON)
    size = np.digitize(rank, [0.25, 0.5, 0.75])
    return Cut(base.frame.drop(columns=KEYS), size, followed, left), base.truth


def chances(cut: Cut, fresh: pd.DataFrame, *, mixed: bool, seed: int) -> dict[str, np.ndarray]:
    """Return the chance to leave of fresh accounts by each way to treat what isn't finished."""
    finished = cut.left | (cut.followed >= HORIZON)
    settings: dict[str, Any] = {"candidates": ("logistic",), "n_bags": 2, "n_jobs": 1, "random_state": seed}

    def fitted(rows: np.ndarray) -> np.ndarray:
        model = icp.PropensityClassifier(**settings)
        model.fit(cut.features.iloc[rows].reset_index(drop=True), cut.left[rows].astype(int), groups=rows)
        return model.predict_proba(fresh)[:, 1]

    strata = cut.size if mixed else None
    weights = icp.censoring_weights(cut.followed, cut.left, HORIZON, strata=strata)
    hazard = icp.HazardClassifier(horizon=HORIZON, **settings)
    hazard.fit(cut.features, cut.followed, cut.left)
    return {
        "counted as stayed": fitted(np.arange(len(cut.left))),
        "left out, leavers kept": fitted(np.flatnonzero(finished)),
        "weights": fitted(icp.rows_by_weight(weights, seed=seed)),
        "hazard": hazard.predict_proba(fresh)[:, 1],
    }


def study(seed: int, n: int, *, mixed: bool) -> list[dict[str, Any]]:
    """Return error of the mean chance and log loss against the truth, one row for each way."""
    cut, truth = cut_off(seed, n, mixed=mixed)
    fresh = make_frame(FRESH, seed=seed + 100_000, churn=0.20, signal="strong")
    true = 1.0 - truth.probability(fresh.complete, "retained")
    rows = []
    for way, chance in chances(cut, fresh.frame.drop(columns=KEYS), mixed=mixed, seed=seed).items():
        inside = np.clip(chance, 1e-9, 1 - 1e-9)
        loss = -(true * np.log(inside) + (1 - true) * np.log(1 - inside)).mean()
        found = {"seed": seed, "mixed": mixed, "way": way, "error": float((chance - true).mean())}
        rows.append({**found, "true": float(true.mean()), "log_loss": float(loss)})
    unfinished = float((~cut.left & (cut.followed < HORIZON)).mean())
    return [{**row, "unfinished": unfinished} for row in rows]


def main() -> None:
    opts = options(__doc__)
    seeds = SEEDS[:2] if opts.smoke else SEEDS
    n = 500 if opts.smoke else ACCOUNTS
    rows: list[dict[str, Any]] = []
    for mixed in (False, True):
        for seed in seeds:
            rows += study(seed, n, mixed=mixed)
    table = pd.DataFrame(rows)
    summary = []
    for (mixed, way), part in table.groupby(["mixed", "way"], sort=False):
        half = 100 * part["error"].std() / np.sqrt(len(part)) * t.ppf(0.95, len(part) - 1)
        low, high = 100 * part["error"].mean() - half, 100 * part["error"].mean() + half
        row = {"mixed": bool(mixed), "way": way, "error_points": 100 * part["error"].mean()}
        row |= {"low": float(low), "high": float(high), "spread": 100 * part["error"].std()}
        row |= {"log_loss": part["log_loss"].mean(), "unfinished": part["unfinished"].mean()}
        summary.append({**row, "true": part["true"].mean(), "seeds": len(part)})
    print(pd.DataFrame(summary).round(3).to_string(index=False))
    save_result({"accounts": n, "summary": summary, "rows": rows}, __file__, opts)


if __name__ == "__main__":
    main()
