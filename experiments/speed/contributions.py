"""Scores with reasons from tables, against LightGBM and shap: medians and ratios of interleaved repeats.

python experiments/speed/contributions.py [--smoke] [--write] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

HERE = Path(__file__).resolve().parent
CATEGORIES = (5, 12, 30, 60, 120, 300)
N_NUMERIC, N_FLAGS = 12, 60
MODELS = {"300x31": (300, 31), "150x15": (150, 15)}
ONE = {"num_threads": 1, "verbosity": -1}
BARS = {
    "300x31": {"top5_to_predict": 0.75, "compile_seconds": 3.0},
    "150x15": {"top5_to_predict": 0.30, "compile_seconds": 1.0},
}


def make_rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """12 numbers, 6 categories of up to 300 levels, 60 flags of 1-30 %; 8 % missing; outcome 0 or 1."""
    rng, law = np.random.default_rng(seed), np.random.default_rng(5)
    X = np.empty((n, N_NUMERIC + len(CATEGORIES) + N_FLAGS))
    flags = X[:, -N_FLAGS:]
    X[:, :N_NUMERIC] = np.exp(rng.normal(size=(n, N_NUMERIC)) * 1.2 + 3)
    for j, levels in enumerate(CATEGORIES):
        X[:, N_NUMERIC + j] = (
            np.minimum(rng.zipf(1.3, n) - 1, levels - 1) if levels > 30 else rng.integers(0, levels, n)
        )
    flags[:] = rng.random((n, N_FLAGS)) < law.uniform(0.01, 0.3, N_FLAGS)
    z = 0.6 * np.log(X[:, 0]) - 0.5 * np.log(X[:, 1]) * flags[:, 2] + 0.4 * np.sin(X[:, 2] / 20)
    z += law.normal(size=300)[X[:, 17].astype(int)] * 0.5 + law.normal(size=30)[X[:, 14].astype(int)] * 0.4
    z += flags @ (law.normal(size=N_FLAGS) * 0.5)
    y = (z - np.median(z) + rng.logistic(size=n) > 0).astype(float)
    body = X[:, :-N_FLAGS]
    body[rng.random(body.shape) < 0.08] = np.nan
    flags[rng.random(n) < 0.08] = np.nan
    return X, y


def train(trees: int, leaves: int, native: bool, n: int) -> Any:
    import lightgbm

    X, y = make_rows(n, 0)
    columns = list(range(N_NUMERIC, N_NUMERIC + len(CATEGORIES))) if native else []
    data = lightgbm.Dataset(X, label=y, params=ONE, categorical_feature=columns)
    params = {**ONE, "objective": "binary", "num_leaves": leaves, "learning_rate": 0.05}
    return lightgbm.train(params, data, num_boost_round=trees)


def race(runs: dict[str, tuple[Callable[[], Any], int]], repeats: int) -> dict[str, dict[str, float]]:
    """Return microseconds of CPU and wall per row: each contender in turn, then again, medians."""
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (run, n) in runs.items():
            start, ticks = time.perf_counter(), time.process_time()
            run()
            cpu[name].append((time.process_time() - ticks) / n * 1e6)
            wall[name].append((time.perf_counter() - start) / n * 1e6)
    return {
        name: {"cpu": statistics.median(cpu[name]), "wall": statistics.median(wall[name])} for name in runs
    }


def measure(name: str, native: bool, smoke: bool, repeats: int) -> dict[str, Any]:
    """One model: exactness, ratios against LightGBM, threads, compile time, memory, one row."""
    import icp_ml as icp
    from icp_ml.model.fasttree.bags import BaggedTrees
    from icp_ml.model.fasttree.parse import parse_model

    trees, leaves = (10, 7) if smoke else MODELS[name]
    booster = train(trees, leaves, native, 1000 if smoke else 20_000)
    X, _ = make_rows(2000 if smoke else 40_000, 1)
    few = X[: 20 if smoke else 200]
    icp.FastTreeContributions(booster)  # so that numba's compiled code is on disk
    start, ticks = time.perf_counter(), time.process_time()
    fast = icp.FastTreeContributions(booster)
    compiled = {"compile_seconds": time.process_time() - ticks, "compile_wall": time.perf_counter() - start}
    single = icp.FastTreeContributions(booster, dtype="float32")
    plain = icp.FastTreeContributions(booster, backend="numpy")
    saved = BaggedTrees([parse_model(booster.model_to_string())])
    parts = np.zeros((X.shape[1], len(X)))
    double = icp.FastTreeContributions(booster, n_jobs=2)
    wanted = booster.predict(few, pred_contrib=True, num_threads=1)
    runs: dict[str, tuple[Callable[[], Any], int]] = {
        "lightgbm_predict": (lambda: booster.predict(X, num_threads=1), len(X)),
        "top5": (lambda: fast.top(X, 5), len(X)),
        "top5_two_threads": (lambda: double.top(X, 5), len(X)),
        "top5_float32": (lambda: single.top(X, 5), len(X)),
        "matrix": (lambda: fast.contributions(X), len(X)),
        "saved_model": (lambda: saved.add_to(parts, X, 1.0), len(X)),
        "saved_model_score_alone": (lambda: saved.raw_bags(X), len(X)),
        "top5_numpy": (lambda: plain.top(X[:10_000], 5), len(X[:10_000])),
        "pred_contrib": (lambda: booster.predict(few, pred_contrib=True, num_threads=1), len(few)),
        "one_row": (lambda: fast.top(X[:1], 5), 1),
    }
    for run, _n in runs.values():
        run()
    took = race(runs, repeats)
    per_rows = race({str(n): (lambda n=n: fast.top(X[:n], 5), n) for n in (100, 1000, 10_000)}, repeats)
    cpu = {key: value["cpu"] for key, value in took.items()}
    return {
        **compiled,
        "difference": float(np.abs(fast.contributions(few) - wanted).max()),
        "difference_float32": float(np.abs(single.contributions(few) - wanted).max()),
        "microseconds_per_row": took,
        "microseconds_per_row_by_rows": {n: value["cpu"] for n, value in per_rows.items()},
        "top5_to_predict": cpu["top5"] / cpu["lightgbm_predict"],
        "matrix_to_predict": cpu["matrix"] / cpu["lightgbm_predict"],
        "score_alone_to_contributions": cpu["saved_model_score_alone"] / cpu["saved_model"],
        "numpy_to_predict": cpu["top5_numpy"] / cpu["lightgbm_predict"],
        "pred_contrib_to_top5": cpu["pred_contrib"] / cpu["top5"],
        "pred_contrib_to_numpy": cpu["pred_contrib"] / cpu["top5_numpy"],
        "two_threads_faster": took["top5"]["wall"] / took["top5_two_threads"]["wall"],
        "one_row_milliseconds": took["one_row"]["wall"] / 1e3,
        "table_mb": fast.table_bytes / 2**20,
        **against_shap(booster, fast, X, native, smoke),
    }


def against_shap(booster: Any, fast: Any, X: np.ndarray, native: bool, smoke: bool) -> dict[str, Any]:
    """Few rows with shap; interventional only on numeric models, where shap is right."""
    import icp_ml as icp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap
    few, background = X[:5] if smoke else X[:60], X[-100:]
    explainer = shap.TreeExplainer(booster)
    runs: dict[str, tuple[Callable[[], Any], int]] = {
        "shap": (lambda: explainer.shap_values(few), len(few)),
        "top5": (lambda: fast.top(X, 5), len(X)),
    }
    took = race(runs, 3)
    found = {"shap_to_top5": took["shap"]["cpu"] / took["top5"]["cpu"]}
    start = time.process_time()
    against = icp.FastTreeContributions(booster, background=background)
    found["background_tables_seconds"] = time.process_time() - start
    ours = against.contributions(few)
    found["interventional_additivity"] = float(np.abs(ours.sum(axis=1) - fast.predict_raw(few)).max())
    if native:
        return found
    other = shap.TreeExplainer(booster, background, feature_perturbation="interventional")
    took = race(
        {
            "shap": (lambda: other.shap_values(few), len(few)),
            "ours": (lambda: against.contributions(X), len(X)),
        },
        3,
    )
    theirs = np.asarray(other.shap_values(few))
    found["interventional_difference"] = float(np.abs(ours[:, :-1] - theirs).max())
    total = theirs.sum(axis=1) + float(np.asarray(other.expected_value).reshape(-1)[0])
    found["shap_interventional_additivity"] = float(np.abs(total - fast.predict_raw(few)).max())
    found["interventional_microseconds"] = took["ours"]["cpu"]
    found["shap_to_interventional"] = took["shap"]["cpu"] / took["ours"]["cpu"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part")
    args = parser.parse_args()
    if args.part:
        name, kind = args.part.split("/")
        found = measure(name, kind == "native", args.smoke, 1 if args.smoke else args.repeats)
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    result = {}
    lines = (
        "top5_to_predict",
        "pred_contrib_to_top5",
        "shap_to_top5",
        "two_threads_faster",
        "compile_seconds",
    )
    print(f"{'model':<16}" + "".join(f"{line:>22}" for line in (*lines, "one_row_milliseconds")))
    models = list(MODELS)[:1] if args.smoke else MODELS  # in the short form they are alike
    for part in [f"{name}/{kind}" for name in models for kind in ("native", "numeric")]:
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--part",
            part,
            "--repeats",
            str(args.repeats),
        ]
        done = subprocess.run(
            [*command, *(["--smoke"] if args.smoke else [])], check=True, capture_output=True, text=True
        )
        row = json.loads(done.stdout.splitlines()[-1])
        result[part] = {**row, "bars": BARS[part.split("/")[0]]}
        print(f"{part:<16}" + "".join(f"{row[line]:>22.3g}" for line in (*lines, "one_row_milliseconds")))
    if args.write and not args.smoke:
        (HERE / "contributions.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
