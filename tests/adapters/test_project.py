"""``mlflow run`` on the project, and no customer's value in anything a retraining says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from icp_ml.adapters.mlflow import MlflowTracker
from icp_ml.cli import main

pytestmark = pytest.mark.mlflow

ROOT = Path(__file__).resolve().parents[2]


def test_every_entry_point_calls_a_command_with_options_it_has() -> None:
    points = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
    assert set(points) >= {"retrain", "score", "audit", "profile"}
    for name, point in points.items():
        program, verb, *words = point["command"].split()
        assert (program, verb) == ("icp-ml", name)
        known = {option for parameter in main.commands[verb].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
        given = {word.strip("{}") for word in words if word.startswith("{")}
        assert given == set(point["parameters"])


@pytest.mark.slow
def test_mlflow_run_retrains_in_its_own_run_and_says_nothing_of_any_customer(
    world: Any, tmp_path: Path
) -> None:
    config = world.lay_out(tmp_path, "2025-09-30", "2023-06-30", accounts=150)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowTracker(tracking_uri=uri).tidy()
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_LOGGING_LEVEL": "DEBUG",
        "PYTHONWARNINGS": "default",
    }
    command = [str(bin_folder / "mlflow"), "run", str(ROOT), "-e", "retrain", "--env-manager", "local"]
    command += ["-P", f"config={config}", "--experiment-name", "nightly"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert "icp/1 is the champion" in said
    assert world.MARKER not in said
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("nightly").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert client.get_model_version_by_alias("icp", "champion").run_id == run.info.run_id
    assert run.data.tags["icp.outcome"].startswith("promoted: first model")
    assert client.get_experiment_by_name("icp") is None


def leaky(tables: dict[str, pd.DataFrame], marker: str) -> dict[str, pd.DataFrame]:
    """Give accounts a column that knows how many terms they had."""
    terms = tables["subscriptions"].groupby("account_id").size()
    count = tables["accounts"]["account_id"].map(terms)
    accounts = tables["accounts"].assign(secret=np.where(count > 1, f"{marker}-x", f"{marker}-y"))
    return {**tables, "accounts": accounts}


@pytest.mark.parametrize("case", ["too few", "no accounts of the terms", "leak", "text for money"])
def test_no_error_of_a_retraining_names_a_customers_value(world: Any, tmp_path: Path, case: str) -> None:
    config = world.lay_out(tmp_path, "2025-09-30", "2023-06-30", accounts=15 if case == "too few" else 60)
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "crm").glob("*.csv")}
    if case == "no accounts of the terms":
        tables["subscriptions"]["account_id"] = "none-" + tables["subscriptions"]["account_id"].str[-5:]
    if case == "text for money":
        tables["subscriptions"]["arr"] = world.MARKER
    if case == "leak":
        tables = leaky(tables, world.MARKER)
    for name, table in tables.items():
        table.to_csv(tmp_path / "crm" / f"{name}.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        result = CliRunner().invoke(main, ["retrain", "--config", str(config)])
    assert result.exit_code == 2, result.output[-2000:]
    assert "error:" in result.stderr
    assert world.MARKER not in result.output
