"""Secrets in every column of every table: none of them is in a bundle, a registry, a report or a log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import icp_ml as icp
from icp_ml.cli import main
from icp_ml.config import load_config

pytestmark = [pytest.mark.mlflow, pytest.mark.slow]

STORE = "mlflow.db"
#: Columns of scores that repeat an account's own cells to whoever has the account.
OWN = ("account_id", "reason", "risk")
MODEL = ("--config", "icp.toml", "--model", "models:/icp/1")
COMMANDS = (
    ("audit", "--config", "icp.toml"),
    ("retrain", "--config", "icp.toml"),
    ("profile", *MODEL),
    ("profile", *MODEL, "--json"),
    ("evaluate", *MODEL),
    ("report", *MODEL, "--out", "report.html"),
    ("score", *MODEL, "--data", "crm", "--as-of", "2025-09-30", "--out", "scores"),
    ("monitor", *MODEL, "--data", "crm", "--as-of", "2024-09-30"),
    ("monitor", *MODEL, "--data", "crm", "--as-of", "2024-09-30", "--json"),
    ("history", "--config", "icp.toml"),
)


def written(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file that isn't input, as text; of scores all but what is the account's own."""
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.is_relative_to(folder / "crm"):
            continue
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
            others = [name for name in table if not name.startswith(OWN) or "scores" not in file.parts]
            yield str(file.relative_to(folder)), table[others].to_csv()
        else:
            yield str(file.relative_to(folder)), file.read_bytes().decode("latin-1")


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_is_written_or_said_holds_a_cell_of_few_accounts(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    world.lay_out(tmp_path, "2025-09-30", "2023-06-30", tables=world.marked())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    said = {}
    for command in COMMANDS:
        done = CliRunner().invoke(main, list(command))
        assert done.exit_code in (0, 3, 2 * (command[0] == "history")), (
            command,
            done.output[-2000:],
            done.exception,
        )
        said[" ".join(command)] = done.output
    store = load_config(tmp_path / "icp.toml").tracking_uri
    icp.save(icp.load("models:/icp/1", tracking_uri=store), tmp_path / "bundle")
    said["file descriptors"] = "".join(capfd.readouterr())
    files = dict(written(tmp_path))
    kinds = {Path(name).name for name in files}
    assert {STORE, "report.html", "model.json", "profile.json", "model_card.md", "scores.parquet"} <= kinds
    found = [
        (place, secret, text[max(text.find(secret) - 60, 0) :][:120])
        for place, text in (files | said).items()
        for secret in world.SECRETS
        if secret in text or secret.encode().hex() in text
    ]
    assert found == []
