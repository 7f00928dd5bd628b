"""``icp-ml audit``: what a training would meet, without training and without customers' values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from icp_ml.cli import main

pytestmark = pytest.mark.mlflow


def renewers(tables: dict[str, pd.DataFrame]) -> pd.Series:
    """Accounts with more than one term."""
    terms = tables["subscriptions"].groupby("account_id").size()
    return tables["accounts"]["account_id"].map(terms) > 1


def plant(world: Any, folder: Path, leak: str) -> Path:
    """Lay out a base in which a column or a tool knows, or nearly knows, who renewed."""
    settings = world.lay_out(folder, "2025-09-30", "2023-06-30", accounts=300)
    tables = {path.stem: pd.read_csv(path) for path in (folder / "crm").glob("*.csv")}
    knows = renewers(tables)
    if leak == "a column that nearly knows":
        wrong = np.random.default_rng(0).random(len(knows)) < 0.02
        told = np.where(knows ^ wrong, f"{world.MARKER}-yes", f"{world.MARKER}-no")
        tables["accounts"] = tables["accounts"].assign(secret=told)
    if leak == "a tool":
        wrong = np.random.default_rng(0).random(len(knows)) < 0.02
        users = tables["accounts"]["account_id"][knows ^ wrong]
        more = pd.DataFrame({"account_id": users, "technology": f"{world.MARKER}-portal"})
        tables["technologies"] = pd.concat([tables["technologies"], more])
    for name, table in tables.items():
        table.to_csv(folder / "crm" / f"{name}.csv", index=False)
    return settings


def audit(settings: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["audit", "--config", str(settings), *words])


def test_an_honest_base_ends_with_0_and_says_what_it_holds(world: Any, tmp_path: Path) -> None:
    done = audit(plant(world, tmp_path, "none"))
    assert done.exit_code == 0, done.output
    assert "rows of" in done.stdout
    assert "retained:" in done.stdout
    assert world.MARKER not in done.output


@pytest.mark.parametrize("leak", ["a column that nearly knows", "a tool"])
def test_a_suspicion_names_the_column_and_no_value(world: Any, tmp_path: Path, leak: str) -> None:
    settings = plant(world, tmp_path, leak)
    done = audit(settings)
    assert done.exit_code in (2, 3), done.output
    assert world.MARKER not in done.output
    assert ("a tool in technologies" if leak == "a tool" else "secret") in done.stdout
    assert audit(settings, "--suspect-exit", "0").exit_code in (0, 2)
    assert world.MARKER in audit(settings, "--values").stdout


def test_json_carries_the_same_without_values(world: Any, tmp_path: Path) -> None:
    done = audit(plant(world, tmp_path, "a tool"), "--json")
    state = json.loads(done.stdout)
    assert state["accounts"] > 100
    assert {finding["severity"] for finding in state["findings"]} & {"refuse", "quarantine"}
    assert world.MARKER not in done.output


@pytest.mark.parametrize("leak", ["a column that nearly knows", "a tool"])
def test_a_retraining_says_nothing_of_values_that_leak(
    world: Any, tmp_path: Path, leak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = plant(world, tmp_path, leak)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    done = CliRunner().invoke(main, ["retrain", "--config", str(settings)])
    said = "out of the fit" in done.stderr or "know the outcome" in done.stderr
    assert said, done.output[-2000:]
    assert "icp-ml audit" in done.stderr
    assert world.MARKER not in done.output


def test_tables_that_cant_be_read_end_with_2(tmp_path: Path) -> None:
    settings = tmp_path / "icp.toml"
    settings.write_text('[data]\nsource = "nowhere"\n', encoding="utf-8")
    assert audit(settings).exit_code == 2
