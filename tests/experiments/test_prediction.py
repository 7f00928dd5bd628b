"""The experiments on prediction run in their short form, and the bench takes up where it was cut."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
DATA = Path(os.environ.get("ICP_ML_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the public data sets are not beside the repository"
)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


def smoke(script: str, *more: str) -> str:
    command = [sys.executable, str(EXPERIMENTS / script), "--smoke", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@needs_data
@pytest.mark.slow
def test_the_bench_fits_all_on_the_same_rows_sums_up_folds_and_ranks() -> None:
    said = smoke("benchmarks/run.py")
    assert "telco 2018 300" in said
    assert '"log_loss": {' in said
    assert "logistic" in said
    assert '"within_90"' in said


@pytest.mark.slow
def test_candidates_are_compared_on_worlds_that_judge_nothing() -> None:
    said = smoke("benchmarks/candidates.py")
    assert "bands" in said
    assert "both" in said


def test_what_a_model_could_reach_is_less_than_the_oracle() -> None:
    sees, told = (float(part) for part in smoke("benchmarks/ceiling.py").splitlines()[-1].split()[1:3])
    assert 0.5 < sees < 1
    assert told < sees


@pytest.mark.slow
def test_net_revenue_retention_is_expected_for_a_cohort_never_seen(tmp_path: Path) -> None:
    smoke("nrr/run.py", "--out", str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert abs(result["mean_error_points"]) < 15
    assert len(result["tenths"]) == 10


@needs_data
@pytest.mark.slow
def test_gaps_out_of_time_have_intervals(tmp_path: Path) -> None:
    smoke("drift/run.py", "--out", str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert set(result["shares"]) >= {"auc inside, no drift", "log_loss inside, 200 accounts", "alarm, drift"}
    assert all(row["auc"]["low"] <= row["auc"]["gap"] <= row["auc"]["high"] for row in result["rows"])


@pytest.mark.slow
def test_the_luck_of_teachers_is_measured() -> None:
    said = smoke("drift/luck.py").splitlines()
    assert said[0].startswith("auc, all x 1.0: spread")
    assert sum("log_loss, single 200 x 4.0" in line for line in said) == 1


@needs_data
@pytest.mark.slow
def test_sets_without_signal_say_so(tmp_path: Path) -> None:
    smoke("ravenstack/no_signal.py", "--out", str(tmp_path))
    for part in json.loads((tmp_path / "no_signal.json").read_text(encoding="utf-8")).values():
        assert part["low"] < 0.6
        assert part["high"] > 0.4


def test_measures_of_the_bench() -> None:
    judge = module("judge")
    rng = np.random.default_rng(0)
    true = rng.uniform(0.05, 0.95, 4000)
    y = (rng.random(4000) < true).astype(float)
    good = judge.judged(y, true, true, 0.5)
    assert good["skill"] == 1.0
    assert good["slope_low"] < 1 < good["slope_high"]
    assert good["ece"] < 0.03
    steep = judge.judged(y, 1 / (1 + np.exp(-2 * np.log(true / (1 - true)))))
    assert steep["slope_high"] < 0.6
    assert np.isnan(judge.judged(y, np.full(4000, 0.5))["slope"])


def test_rivals_are_held_against_on_the_folds_in_common() -> None:
    import pandas as pd

    cells = [
        {"model": model, "set": "t", "n": "all", "fold": fold, "auc": auc, "log_loss": 0.4, "skill": np.nan}
        | {"seconds": folds + fold}
        for model, auc, folds in (("icp_ml", 0.8, 3), ("forest", 0.7, 2))
        for fold in range(folds)
    ]
    every, whole = module("run").beside(pd.DataFrame(cells))
    assert (every["part"], whole["part"]) == ("all public", "t all")
    assert whole["folds"] == 2
    assert whole["auc"] == pytest.approx(0.1)
    assert (whole["auc_higher"], whole["log_loss_lower"]) == (1.0, 0.0)
    assert (whole["seconds"], whole["rival_seconds"]) == (3.5, 2.5)


def test_cells_that_are_done_are_not_done_again(tmp_path: Path) -> None:
    import pandas as pd

    module("judge")
    models = module("models")
    rng = np.random.default_rng(0)
    y = (rng.random(80) < 0.5).astype(float)
    pd.DataFrame({"x": y + rng.normal(size=80), "__outcome": y}).to_parquet(tmp_path / "t.parquet")
    tasks = [
        {"set": "t", "n": "80", "fold": k, "file": "t.parquet", "categories": [],
         "train": list(range(60)), "test": list(range(60, 80))}
        for k in range(2)
    ]  # fmt: skip
    cells = tmp_path / "cells"
    for count in (1, 2):
        (tmp_path / "tasks.json").write_text(json.dumps(tasks[:count]), encoding="utf-8")
        models.run(tmp_path, "logistic", cells)
        rows = models.read_cells(cells / "logistic.json")
        assert [row["fold"] for row in rows] == list(range(count))
    first = rows[0]["seconds"]
    models.run(tmp_path, "logistic", cells)
    assert models.read_cells(cells / "logistic.json")[0]["seconds"] == first
