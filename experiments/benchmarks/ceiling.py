"""What a model could reach: share of the oracle's skill that missing fields and few accounts leave.

python experiments/benchmarks/ceiling.py [--smoke]

The oracle knows every field. "sees" knows the true chances given the fields that models see; "told" is a
logistic regression on the true conditions, which it needn't find. The worlds are those that judge. Writes
ceiling.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from judge import expected_log_loss
from simulated import FIRST_SEED, FRESH, SEEDS
from sklearn.linear_model import LogisticRegression

from icp_ml.simulation import make_frame
from icp_ml.simulation.planted import holds

HERE = Path(__file__).resolve().parent
INVERSE_PENALTY = 1.0


def reached(n: int, seed: int) -> dict[str, float]:
    """Return the shares of one world."""
    learn, fresh = make_frame(n, seed=seed), make_frame(FRESH, seed=seed + 500_000)
    true, planted = learn.truth.probability(fresh.complete), learn.truth.of("retained")
    y = learn.frame["retained"].to_numpy(dtype=float)
    met, new = (
        np.column_stack([holds(frame, condition) for condition in planted])
        for frame in (learn.frame, fresh.frame)
    )
    usual = np.nanmean(met, axis=0)
    told = LogisticRegression(C=INVERSE_PENALTY).fit(np.where(np.isnan(met), usual, met), y)
    said = {
        "sees": learn.truth.probability(fresh.frame),
        "told": told.predict_proba(np.where(np.isnan(new), usual, new))[:, 1],
    }
    constant, oracle = expected_log_loss(true, np.full(FRESH, y.mean())), expected_log_loss(true, true)
    shares = {name: (constant - expected_log_loss(true, p)) / (constant - oracle) for name, p in said.items()}
    return {"n": n, "seed": seed, **shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one world of 400 accounts, nothing written")
    worlds = {400: 1} if parser.parse_args().smoke else SEEDS
    places = [(n, FIRST_SEED + i) for n, count in worlds.items() for i in range(count)]
    table = pd.DataFrame([reached(n, seed) for n, seed in places])
    grouped = table.drop(columns="seed").groupby("n")
    print(pd.concat({"mean": grouped.mean(), "se": grouped.sem()}, axis=1).round(3).to_string())
    if len(places) > 1:
        (HERE / "ceiling.json").write_text(
            json.dumps(table.round(4).to_dict("records"), indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
