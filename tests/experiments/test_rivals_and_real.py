"""The rivals and the real-data halves run in their short form and print each figure with its n."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRUTH = ROOT / "experiments" / "truth"
DATA = Path(os.environ.get("ICP_ML_DATA", ROOT.parent / "shared" / "data"))


def said_by(script: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, str(TRUTH / script), "--smoke", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def cells(said: str, name: str) -> list[str]:
    row = next(line for line in said.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def kept(name: str) -> bytes | None:
    path = TRUTH / name
    return path.read_bytes() if path.is_file() else None


def test_rivals_are_judged_in_our_worlds_and_those_elsewhere_are_left_out_by_name() -> None:
    before = kept("rivals.json")
    said = said_by("rivals.py")
    titles = cells(said, "rival")
    for rival in ("shap", "thresholds", "stability", "univariate"):
        row = dict(zip(titles, cells(said, rival), strict=True))
        assert row["P(any), no signal"].endswith("n=1")
        assert row["recall"].endswith("n=6")
    # ten traits on pure noise, whatever the data say
    assert dict(zip(titles, cells(said, "shap"), strict=True))["traits on noise"] == "10.0"
    for rival in ("ebm", "pysubgroup", "ipss"):
        assert f"{rival}: left out" in said
    assert kept("rivals.json") == before


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not beside the repository")
def test_real_halves_are_tested_on_each_other_and_against_shuffled_labels() -> None:
    before = kept("real.json")
    said = said_by("real.py")
    for name in ("telco", "saas", "bank"):
        row = cells(said, name)
        assert row[1] == "400"
        assert row[-1].endswith("n=1")
    assert kept("real.json") == before


def test_absent_data_are_skipped_with_the_reason(tmp_path: Path) -> None:
    said = said_by("real.py", ICP_ML_DATA=str(tmp_path))
    assert "telco: skipped, no ibm_telco_2018_classic/wa_churn.csv.gz among the public data" in said
    assert "bank: skipped" in said
