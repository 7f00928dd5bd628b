"""Every experiment runs in its short form, on real public data where they are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ICP_ML_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the public data sets are not beside the repository"
)


def smoke(name: str, out: Path) -> dict[str, object]:
    command = [sys.executable, str(ROOT / "experiments" / name / "run.py"), "--smoke", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def estimates(part: dict[str, object], name: str) -> list[float]:
    return [row["estimate"] for row in part["metrics"] if row["name"] == name]  # type: ignore[attr-defined]


@needs_data
@pytest.mark.parametrize("name", ["telco_2018", "saas_b2b", "crunchbase_2013"])
def test_experiments_on_real_tables_run(name: str, tmp_path: Path) -> None:
    result = smoke(name, tmp_path)
    part = result if "metrics" in result else next(iter(result.values()))
    assert all(0 < value < 1 for value in estimates(part, "auc"))  # type: ignore[arg-type]


@needs_data
def test_a_table_without_signal_yields_no_trait(tmp_path: Path) -> None:
    result = smoke("ravenstack", tmp_path)
    for part in (result["by_arr"], result["by_flag"]):
        assert part["traits_found"] == 0  # type: ignore[index]
    assert 0.4 < estimates(result["by_flag"], "auc")[0] < 0.6  # type: ignore[arg-type]


def run_smoke(folder: str) -> str:
    command = [sys.executable, str(ROOT / "experiments" / folder / "run.py"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_truth_suite_prints_error_rates_with_their_n() -> None:
    said = run_smoke("truth")
    assert "null, n 300" in said
    assert "any_reported" in said
    assert "n=2" in said
    assert "recall" in said


def test_the_truth_suite_has_accounts_that_grow_older() -> None:
    command = [sys.executable, str(ROOT / "experiments" / "truth" / "ageing.py"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"contradictions": 0' in done.stdout
    assert "signal, n 400, 4 snapshots" in done.stdout


@pytest.mark.slow
def test_the_speed_suite_prints_every_part_beside_its_bar() -> None:
    said = run_smoke("speed")
    parts = {line.split()[0] for line in said.splitlines()}
    assert parts >= {
        "build_dataset", "train_with_profile", "profile", "features_at_scale", "command_line_help"
    }  # fmt: skip


def test_the_stability_of_the_reported_set_is_measured() -> None:
    command = [sys.executable, str(ROOT / "experiments" / "truth" / "stability.py"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["resamples"] == 2
    assert len(found["bootstrap"]["nogueira"]) == 1


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("contributions.py", "pred_contrib"),
        ("rivals.py", "pred_contrib_to_this"),
        pytest.param("score_base.py", "faster_than_today_at_small_base", marks=pytest.mark.slow),
        ("tables.py", '"rows_scored": 3000'),
        pytest.param("spark.py", "rows_per_second_and_core", marks=pytest.mark.slow),
    ],
)
def test_each_bench_of_speed_runs_in_short(script: str, said: str) -> None:
    command = [sys.executable, str(ROOT / "experiments" / "speed" / script), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert said in done.stdout


@pytest.mark.slow
@pytest.mark.mlflow
def test_hostile_strings_are_shown_by_every_output_and_obeyed_by_none() -> None:
    command = [sys.executable, str(ROOT / "experiments" / "faults" / "hostile.py"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["executed"], found["raw"]) == (0, 0)
    assert found["csv"]["rows"] == found["csv"]["duckdb_rows"] == found["parquet"]["rows"] == 200
